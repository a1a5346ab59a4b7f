"""`chat-api serve` in a process of its own, as an operator runs it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any, Self

import aiohttp

from chat_api.dev.tether import tethered
from chat_api.settings import Settings


def environment(settings: Settings | None = None, **variables: str) -> dict[str, str]:
    """These settings as environment variables, without this process's own."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    given = {} if settings is None else settings.model_dump(exclude_unset=True)
    for name, value in given.items():
        text = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        kept[name.upper()] = text
    return {**kept, "PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONWARNINGS": "error", **variables}


class Service:
    """A running server. Leaving the context sends SIGTERM, and then `status` is its exit status.

    It listens on a port of 127.0.0.1, on a given Unix socket, or on one of its own. `http` connects to it.
    """

    def __init__(self, env: dict[str, str], *, port: int | None = None, socket: Path | None = None) -> None:
        # Not in the test's folder, because a socket's path must be short.
        self._folder = tempfile.TemporaryDirectory(dir="/tmp", prefix="chat-api-")
        self.socket = socket or Path(self._folder.name) / "socket"
        self._port = port
        self._env = env
        self._log = Path(self._folder.name) / "log"
        self.status: int | None = None
        self.log_at_end = ""

    async def __aenter__(self) -> Self:
        where = ["--unix-socket", str(self.socket)] if self._port is None else ["--port", str(self._port)]
        command = [sys.executable, "-m", "chat_api", "serve", *where]
        self.http = aiohttp.ClientSession(
            f"http://127.0.0.1:{self._port or 80}",
            connector=aiohttp.UnixConnector(str(self.socket)) if self._port is None else None,
        )
        with self._log.open("wb") as log:
            # Nothing after this can fail. If the test run is killed, the server ends with it.
            self._process = await asyncio.create_subprocess_exec(
                *tethered(command, signal.SIGKILL),
                env=self._env,
                cwd=self._folder.name,
                stderr=log,
                stdout=log,
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.http.close()
        try:
            await self.end()
            self.log_at_end = self.log
        finally:
            self._folder.cleanup()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def ready(self, address: str = "/api/health") -> None:
        """Wait until it answers. Fails after half a minute, for a busy machine, or when it ends."""
        async with asyncio.timeout(30):
            while self._process.returncode is None:
                try:
                    async with self.http.get(address) as response:
                        if response.status == 200:
                            return
                except aiohttp.ClientConnectionError:
                    pass  # not listening yet
                await asyncio.sleep(0.01)
        raise AssertionError(f"it ended with {self._process.returncode}: {self.log}")

    async def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal if it still runs, wait until it has ended, and return its exit status."""
        if self._process.returncode is None:
            self._process.send_signal(number)
        return await self.ended()

    async def ended(self) -> int:
        """Wait until it has ended, and return its exit status."""
        try:
            async with asyncio.timeout(15):
                self.status = await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
            raise AssertionError(f"it did not end: {self.log}") from None
        return self.status

    @property
    def log(self) -> str:
        """Everything that it has written so far."""
        return self._log.read_text()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Its log lines; each must be JSON."""
        return [json.loads(line) for line in self.log.splitlines()]
