"""The packed client, installed from its tarball as a user does it."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.browser.packages.application import NPM, Application, installed, program
from tests.browser.site import Site
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


@pytest.fixture(scope="session")
async def sources(application: Application, checkout: Path) -> list[str]:
    """The applications of pages/, with the examples of docs/packages.md: their names."""
    shutil.copytree(Path(__file__).parent / "pages", application.folder / "pages")
    examples = re.findall(r"```jsx\n(.*?)```", (checkout / "docs" / "packages.md").read_text(), re.DOTALL)
    for name, text in zip(("react", "ai-sdk"), examples, strict=True):
        application.write(f"pages/docs/{name}.jsx", text)
    return sorted(path.stem for path in (application.folder / "pages").glob("*.html"))


async def build(application: Application, to: str, names: list[str], alias: dict[str, str]) -> Path:
    """Build applications with Vite for development, in which React checks more."""
    settings = {
        "configFile": False,
        "logLevel": "error",  # a package of useChat's is warned about
        "mode": "development",
        "root": "pages",
        "base": "./",
        "resolve": {"alias": alias},
        "build": {
            "outDir": f"../{to}",
            "emptyOutDir": True,
            "minify": False,
            "rolldownOptions": {"input": {name: f"pages/{name}.html" for name in names}},
        },
    }
    text = f"import {{ build }} from 'vite'; await build({json.dumps(settings)})"
    await application.run("env", "NODE_ENV=development", *program(text))
    return application.folder / to


@pytest.fixture(scope="session")
async def built(application: Application, sources: list[str]) -> Path:
    """The applications, built."""
    return await build(application, "built", sources, {})


@pytest.fixture(scope="session")
async def built_for_18(application: Application, sources: list[str]) -> Path:
    """The one with the hooks, built with React 18."""
    assert "conversation" in sources
    alias = {"react-dom": "react-dom-18", "react": "react-18"}
    return await build(application, "built-18", ["conversation"], alias)


@pytest.fixture
def pages(site: Site, built: Path) -> str:
    """Where another site serves those applications."""
    site.files["/pages/"] = built
    return f"{site.url}/pages"
