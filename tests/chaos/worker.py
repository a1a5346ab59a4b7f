"""One `chat-api serve` process, restarted whenever it is killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import aiohttp

from chat_api.dev.tether import tethered
from tests.support.wire import DatabaseWire

START_SECONDS = 60


class Worker:
    """A worker. `wires`: its own to each database server, which cut off this worker alone."""

    def __init__(self, port: int, environment: dict[str, str], log: Path, wires: list[DatabaseWire]) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.wires = wires
        self._port = port
        self._environment = {**environment, "LOG_LEVEL": "WARNING"}
        self._log = log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int:
        """The process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it isn't running."""
        return self._process is None or self._process.returncode is not None

    async def start(self) -> None:
        """Start it without waiting until it serves."""
        command = [sys.executable, "-m", "chat_api", "serve", "--port", str(self._port)]
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *tethered(command, signal.SIGKILL), env=self._environment, stderr=log
            )

    def complaints(self) -> list[str]:
        """The error lines in its log."""
        lines = self._log.read_text().splitlines()
        return [line for line in lines if '"level":"error"' in line or "Traceback" in line]

    async def serves(self, session: aiohttp.ClientSession) -> None:
        """Wait until it answers."""
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    async with session.get(f"{self.url}/api/health"):
                        return
                except aiohttp.ClientConnectorError:
                    await asyncio.sleep(0.1)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal, and wait until it has ended."""
        assert self._process is not None
        if not self.has_ended:
            self._process.send_signal(number)
        await self._process.wait()
