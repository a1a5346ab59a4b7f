"""A user's application: a folder in which the packed client is installed, beside packages of npm."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.programs import missing

NPM = Path(sys.prefix) / "npm"
SECONDS = 60  # for a program on a busy machine


@dataclass(frozen=True)
class Application:
    """Its programs end when they are done, or fail after a minute."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file of the application."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    async def run(self, *command: str | Path) -> str:
        """Run a program that must succeed without a complaint, and return what it prints."""
        status, printed, complaints = await self.outcome(*command)
        assert status == 0, printed + complaints
        assert complaints == "", complaints
        return printed

    async def outcome(self, *command: str | Path) -> tuple[int | None, str, str]:
        """Run a program: its exit status, what it prints, and what it complains of."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(self.folder)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(SECONDS):
                printed, complaints = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return process.returncode, printed.decode(), complaints.decode()


def installed(name: str) -> Path:
    """A file or folder that npm has installed. If it is missing, the test is skipped, or fails on CI."""
    path = NPM / "node_modules" / name
    if not path.exists():
        missing(f"npm's package {name.partition('/')[0]} is not installed here: make test-npm")
    return path


def node(version: int) -> Path:
    """The program node of this version; 24 is the one beside Python."""
    if version == 24:
        return Path(sys.executable).with_name("node")
    is_arm = os.uname().machine in ("aarch64", "arm64")
    return installed(f"node{version}{'-arm' if is_arm else ''}/bin/node")


def tool(name: str) -> list[str | Path]:
    """The command of a package's program."""
    return [node(24), installed(f".bin/{name}")]


def program(text: str) -> list[str | Path]:
    """The command that runs a module."""
    return [node(24), "--input-type=module", "--eval", text]
