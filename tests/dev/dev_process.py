"""`python -m chat_api dev` as a process that the test starts."""

import asyncio
import os
import re
import signal
import sys
from pathlib import Path
from typing import Self

READY = "Ctrl-C ends it"


class DevProcess:
    """The command with `arguments`. Its output is read line by line, and leaving its context ends it."""

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
        """Read until a line contains `words`, and return it. The first start may have to fetch the model."""
        assert self._process.stdout is not None
        async with asyncio.timeout(seconds):
            async for line in self._process.stdout:
                self.said += line.decode()
                if words in line.decode():
                    return line.decode()
        raise AssertionError(f"it never said {words!r}, but:\n{self.said}")

    async def end(self, number: int, seconds: float) -> int:
        """Send a signal, and return the exit status within `seconds`."""
        self._process.send_signal(number)
        return await self.wait(seconds)

    async def wait(self, seconds: float = 60) -> int:
        """Wait for the exit status, at most `seconds`."""
        async with asyncio.timeout(seconds):
            said, _ = await self._process.communicate()
        self.said += said.decode()
        assert self._process.returncode is not None
        return self._process.returncode

    @property
    def page(self) -> str:
        """The printed address of the page."""
        return self._printed(r"^  page +(\S+)$")

    @property
    def token(self) -> str:
        """The printed token."""
        return self._printed(r"^  token +(\S+)$")

    @property
    def key_line(self) -> str:
        """The printed command that makes an API key."""
        return self._printed(r"^  API key +(.*)$")

    @property
    def curl_line(self) -> str:
        """The printed curl line, to paste into bash."""
        return self._printed(r"^(T=.*)$")

    def _printed(self, pattern: str) -> str:
        found = re.findall(pattern, self.said, re.MULTILINE)
        assert found, self.said
        return str(found[-1])
