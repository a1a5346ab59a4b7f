"""Trees of the code: the previous release, and this one as the next release."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from chat_api.folders import migration_ids
from chat_api.settings import Settings
from tests.support.processes import ROOT, environment
from tests.support.programs import program

PREVIOUS = "3eec5ebf9414334880c00dcff633633a224dec6b"
"""The commit of the release before this one. When a release is out, set it to that one's (docs/releasing.md):
from then on the tests hold the next one to working beside it.
"""

CODE = ("chat_api", "migrations", "sql")


def previous(folder: Path) -> Path:
    """The previous release's tree, below `folder`. Without git or its history, the test is skipped."""
    if not (ROOT / ".git").exists():
        pytest.skip("the previous release's code comes from the git history, which isn't here")
    tree = folder / "previous"
    # The folder may belong to another user, as in a container.
    git = [program("git"), "-c", f"safe.directory={ROOT}", "-C", str(ROOT)]
    # Not a tar archive: the safe way to extract one, `filter`, came with Python 3.11.4.
    done = subprocess.run(
        [*git, "archive", "--format=zip", PREVIOUS, *CODE], capture_output=True, check=False
    )
    assert done.returncode == 0, f"fetch the history (git fetch --unshallow --tags): {done.stderr.decode()}"
    with zipfile.ZipFile(io.BytesIO(done.stdout)) as archive:
        archive.extractall(tree)
    return tree


def following(folder: Path, version: str, **migrations: str) -> Path:
    """This tree with a later version and more migrations, given as verb_noun=SQL."""
    for part in CODE:
        shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "chat_api" / "__init__.py").write_text(f'"""The chat API."""\n\n__version__ = "{version}"\n')
    last = migration_ids()[-1]
    for number, (name, text) in enumerate(migrations.items(), 9000):
        stem = f"{number}.{name.replace('_', '-')}"
        (folder / "migrations" / f"{stem}.sql").write_text(f"-- depends: {last}\n{text}")
        last = stem
    return folder


async def run(tree: Path, settings: Settings, *arguments: str) -> str:
    """Run a command of that tree, which must succeed, and return its output."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "chat_api",
        *arguments,
        cwd=tree,
        env=environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


def replace_code(place: Path, tree: Path) -> None:
    """Replace the code under a running service, as `pip install --upgrade` does."""
    for part in CODE:
        (place / part).rename(place / f"{part}.old")
        shutil.copytree(tree / part, place / part)
