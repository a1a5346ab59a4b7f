"""The service as real processes that tests start, signal, suspend and kill."""

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
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
from pydantic import SecretStr

from chat_api.dev.tether import tethered
from chat_api.settings import Settings
from tests.dev.processes import parents

ROOT = Path(__file__).parents[2]
SECONDS = 20  # for a process to start or end on a busy machine


def environment(settings: Settings, **more: str) -> dict[str, str]:
    """These settings as environment variables."""
    given = {name: getattr(settings, name) for name in settings.model_fields_set}
    values = {
        name.upper(): value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in given.items()
    }
    return {**os.environ, **values, **more}


class Service:
    """`python -m chat_api serve` in a folder, on a unix socket or a port, until its context or test ends.

    `session` sends each request over a new connection, so that any of the workers may answer. `tree` is the
    folder with the code, `stderr` a descriptor, and `prefix` a program that runs the command.
    """

    def __init__(
        self,
        settings: Settings,
        *options: str,
        port: int | None = None,
        tree: Path = ROOT,
        stderr: int | None = None,
        prefix: tuple[str, ...] = (),
        **variables: str,
    ) -> None:
        self._settings = settings
        self._options = options
        self._port = port
        self._tree = tree
        self._stderr = stderr
        self._prefix = prefix
        self._variables = variables
        self._stack = AsyncExitStack()
        self._states = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.session: aiohttp.ClientSession
        self._process: asyncio.subprocess.Process

    async def __aenter__(self) -> Self:
        await self.launch()
        await self.notified("READY=1")
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
        """Start it without waiting until it is ready."""
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="chat-")))
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self._states.setblocking(False)
        self._states.bind(str(folder / "notify"))
        self._path = folder / "listen"
        where = ["--unix-socket", str(self._path)] if self._port is None else ["--port", str(self._port)]
        self.session = await self._stack.enter_async_context(self.connect(force_close=True))
        command = [*self._prefix, sys.executable, "-m", "chat_api", "serve", *where, *self._options]
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
            stderr=self._stderr,
        )

    def connect(self, *, force_close: bool = False) -> aiohttp.ClientSession:
        """A separate session, which keeps its connections."""
        connector = (
            aiohttp.UnixConnector(str(self._path), force_close=force_close)
            if self._port is None
            else aiohttp.TCPConnector(force_close=force_close)
        )
        return aiohttp.ClientSession(f"http://127.0.0.1:{self._port or 80}", connector=connector)

    @property
    def pid(self) -> int:
        """The process id; with several workers, that of the supervisor."""
        return self._process.pid

    async def notified(self, state: str, seconds: float = SECONDS) -> None:
        """Wait until it has sent systemd this notification."""
        heard = b""
        async with asyncio.timeout(seconds):
            while state not in heard.decode().splitlines():
                heard = await asyncio.get_running_loop().sock_recv(self._states, 1000)

    async def ended(self, seconds: float = SECONDS) -> int:
        """Wait until it has ended, and return its exit status."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    async def workers(self) -> list[int]:
        """The workers' process ids."""
        return await children(self.pid)

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)


def lives(pid: int) -> bool:
    """Whether the process exists."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def children(pid: int) -> list[int]:
    """The ids of a process's children that aren't ending, in the order in which they started."""
    return sorted(child for child, parent in parents(ending=False).items() if parent == pid)


@asynccontextmanager
async def stopped(pid: int) -> AsyncIterator[None]:
    """A process and its children, stopped meanwhile. They go on when this one is killed, too."""
    os.kill(pid, signal.SIGSTOP)  # first, so that it starts no other
    pids = [pid, *await children(pid)]
    # Else they couldn't even end: a stopped process gets its signals when it goes on.
    script = 'trap "" INT TERM; read line; kill -CONT "$@"'
    waker = await asyncio.create_subprocess_exec(
        *("sh", "-c", script, "sh", *map(str, pids)),
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert waker.stdin is not None
    try:
        for each in pids:
            os.kill(each, signal.SIGSTOP)
        yield
    finally:
        waker.stdin.close()
        await waker.wait()


def resident_megabytes(pid: int) -> float:
    """What a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def processor_seconds(pid: int) -> float:
    """What a process has taken of the processors, which other processes don't make longer."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def free_port() -> int:
    """A free port of 127.0.0.1, outside the range from which the system takes ports for connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


async def until(condition: Callable[[], Awaitable[Any]]) -> Any:
    """Poll until a condition is true, because processes have no shared event to await."""
    async with asyncio.timeout(SECONDS):
        while not (answer := await condition()):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return answer


async def open_conversation(session: Any, user: dict[str, str]) -> str:
    """Create a conversation, and return its path."""
    async with session.post("/api/conversations", headers=user) as response:
        assert response.status == 201, await response.text()
        return f"/api/conversations/{(await response.json())['id']}"
