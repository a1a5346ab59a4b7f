"""The packed client, installed from its tarball as a user does it."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.packages.application import NPM, Application, installed
from tools.npm_package import pack


@pytest.fixture(scope="session")
def tarball(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make npm` makes."""
    return pack(tmp_path_factory.mktemp("npm"))


@pytest.fixture(scope="session")
async def application(tarball: Path, worker_id: str) -> AsyncIterator[Application]:
    """A package of the user's, with the tarball installed. It finds what npm has in .venv/npm, too."""
    installed("vite")
    application = Application(NPM / "applications" / worker_id)
    shutil.rmtree(application.folder, ignore_errors=True)
    application.write("package.json", '{"name": "application", "private": true, "type": "module"}')
    application.write(".npmrc", "audit=false\nfund=false\nupdate-notifier=false\n")
    await application.run("npm", "install", "--silent", "--offline", "--no-package-lock", str(tarball))
    yield application
    shutil.rmtree(application.folder)
