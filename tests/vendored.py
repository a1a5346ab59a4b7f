"""What the page takes from elsewhere: fetched by `make vendor`, checked by the tests.

vendor.json says which version of which npm package, and which of its files go by which name; SHA256SUMS.txt,
in the form of sha256sum, says what is in them. To take a newer version, change vendor.json (and the README
beside it) and run `make vendor`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from chat_api.folders import web_dir

FOLDER = web_dir() / "vendor"
SUMS = "SHA256SUMS.txt"


def packages() -> dict[str, dict[str, Any]]:
    """The packages by their npm names."""
    listed: dict[str, dict[str, Any]] = json.loads((FOLDER / "vendor.json").read_text())
    return listed


def sums() -> dict[str, str]:
    """The SHA-256 of each vendored file, as it is noted."""
    pairs = (line.split(maxsplit=1) for line in (FOLDER / SUMS).read_text().splitlines())
    return {name: digest for digest, name in pairs}


def digests() -> dict[str, str]:
    """The SHA-256 of each vendored file, as it is."""
    names = sorted(name for package in packages().values() for name in package["files"].values())
    return {name: hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() for name in names}


def fetch() -> None:
    """Fetch every package anew from npm, and note the sums of its files."""
    for name, package in packages().items():
        wanted = f"{name}@{package['version']}"
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                ["npm", "pack", "--silent", wanted], cwd=folder, check=True, capture_output=True, text=True
            )
            with tarfile.open(Path(folder) / done.stdout.strip()) as archive:
                for source, target in package["files"].items():
                    member = archive.extractfile(f"package/{source}")
                    assert member is not None, f"{wanted} has no file {source}"
                    (FOLDER / target).write_bytes(member.read())
        sys.stdout.write(f"{wanted}\n")
    lines = [f"{digest}  {name}\n" for name, digest in digests().items()]
    (FOLDER / SUMS).write_text("".join(lines))


if __name__ == "__main__":
    fetch()
