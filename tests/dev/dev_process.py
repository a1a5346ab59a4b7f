"""`python -m chat_api dev` as a process of the test's."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Self

READY = "Ctrl-C ends it"


class DevProcess:
    """The command with `arguments`; what it prints is read line by line. Leaving its context ends it."""

    def __init__(self, data_dir: Path, *arguments: str, **environment: str) -> None:
        self.said = ""
        self._command = [sys.executable, "-m", "chat_api", "dev", "--data-dir", str(data_dir), *arguments]
        self._environment = os.environ | environment

    async def __aenter__(self) -> Self:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=self._environment,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.send_signal(signal.SIGINT)
        try:
            async with asyncio.timeout(20):
                await self._process.communicate()
        except TimeoutError:
            self._process.kill()  # its children end with it
            await self._process.communicate()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def until(self, words: str, seconds: float = 60) -> str:
        """Read until a line holds `words`; that line. The first start may have to fetch the model."""
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            async for line in self._process.stdout:
                self.said += line.decode()
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"it never said {words!r}, but:\n{self.said}")

    async def end(self, number: int, seconds: float) -> int:
        """Send a signal; the exit status, within `seconds`."""
        self._process.send_signal(number)
        return await self.wait(seconds)

    async def wait(self, seconds: float = 60) -> int:
        """The exit status, within `seconds`."""
        async with asyncio.timeout(seconds):
            said, _ = await self._process.communicate()
        self.said += said.decode()
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def page(self) -> str:
        """The page's address that it printed."""
        return self._printed(r"^  page +(\S+)$")

    @property
    def token(self) -> str:
        """The token that it printed."""
        return self._printed(r"^  token +(\S+)$")

    @property
    def curl_line(self) -> str:
        """The line to paste into bash."""
        return self._printed(r"^(T=.*)$")

    def _printed(self, pattern: str) -> str:
        found = re.findall(pattern, self.said, re.MULTILINE)
        assert found, self.said
        return str(found[-1])
