"""The service as real processes: started, signalled, stopped in the middle, killed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

import aiohttp
from pydantic import SecretStr

from chat_api.dev.tether import tethered
from chat_api.settings import Settings
from tests.dev.processes import parents

ROOT = Path(__file__).parents[2]
SECONDS = 20  # what a process may take to start or to end on a busy machine


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """The variables that make these settings."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    values = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
    }
    return {**os.environ, **values, **more}


class Service:
    """`python -m chat_api serve` in a folder, on a unix socket or a port, until its context or test ends.

    `session` speaks to it, a connection for each request, so that any of its workers may answer. `tree` has
    the code.
    """

    def __init__(
        self,
        settings: Settings,
        *options: str,
        port: int | None = None,
        tree: Path = ROOT,
        **variables: str,
    ) -> None:
        self._settings = settings
        self._options = options
        self._port = port
        self._tree = tree
        self._variables = variables
        self._stack = AsyncExitStack()
        self._states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.session: aiohttp.ClientSession
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        await self.launch()
        await self.told("READY=1")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            for pid in [*await self.workers(), self.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        await self._process.wait()
        self._states.close()
        await self._stack.aclose()

    async def launch(self) -> None:
        """Start it, and don't wait until it is ready."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-")))
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._states.setblocking(False)
        self._states.bind(str(folder / "notify"))
        self._path = folder / "listen"
        where = ["--unix-socket", str(self._path)] if self._port is None else ["--port", str(self._port)]
        self.session = await self._stack.enter_async_context(self.connect(force_close=True))
        command = [sys.executable, "-m", "chat_api", "serve", *where, *self._options]
        self._process = await asyncio.create_subprocess_exec(
            *tethered(command, signal.SIGKILL),
            cwd=self._tree,
            env=environment(
                self._settings,
                NOTIFY_SOCKET=str(folder / "notify"),
                TMPDIR=str(self.temporary),
                **self._variables,
            ),
            stdin=subprocess.DEVNULL,
        )

    def connect(self, *, force_close: bool = False) -> aiohttp.ClientSession:
        """A session of one's own, which keeps its connections."""
        connector = (
            aiohttp.UnixConnector(str(self._path), force_close=force_close)
            if self._port is None
            else aiohttp.TCPConnector(force_close=force_close)
        )
        return aiohttp.ClientSession(f"http://127.0.0.1:{self._port or 80}", connector=connector)

    @property
    def pid(self) -> int:
        """Its process id: the supervisor's, where there are workers."""
        return self._process.pid

    async def told(self, state: str, seconds: float = SECONDS) -> None:
        """Until it told systemd so."""
        heard = b""
        async with asyncio.timeout(seconds):
            while state not in heard.decode().splitlines():
                heard = await asyncio.get_running_loop().sock_recv(self._states, 1000)

    async def ended(self) -> int:
        """Its exit status."""
        async with asyncio.timeout(SECONDS):
            return await self._process.wait()

    async def workers(self) -> list[int]:
        """The process ids of its children."""
        return await children(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)


def lives(pid: int) -> bool:
    """Whether there is such a process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def children(pid: int) -> list[int]:
    """The process ids of a process's children that aren't ending, in the order of their start."""
    return sorted(child for child, parent in parents(ending=False).items() if parent == pid)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody uses just now, and that the system gives no connection of its own."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Ask until the answer is true; there is no event between processes."""
    async with asyncio.timeout(SECONDS):
        while not (answer := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer


async def open_conversation(session: Any, user: dict[str, str]) -> str:
    """A new conversation's path."""
    async with session.post("/api/conversations", headers=user) as response:
        assert response.status == 201, await response.text()
        return f"/api/conversations/{(await response.json())['id']}"
