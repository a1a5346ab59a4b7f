"""A worker of `serve --workers`, as its supervisor sees it: started, asked to end, and awaited."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

READY, DRAIN = b"r", b"d"  # what the two sides write to the lifeline
FIRST = "CHAT_API_FIRST"
"""The variable that the first new worker after SIGHUP gets. Workers of an earlier release ignore it."""


class WorkerProcess:
    """The program `chat_api.serving.worker`, tied to this process by a socket pair, its lifeline.

    The lifeline breaks when either side dies, by whatever signal and on every system. So the supervisor
    notices its worker's end, and the worker its supervisor's. Needs a running event loop.
    """

    def __init__(
        self, number: int, listeners: Sequence[socket.socket], environment: Mapping[str, str]
    ) -> None:
        self.number = number
        self._began = time.monotonic()
        self._lifeline, theirs = socket.socketpair()
        self._lifeline.setblocking(False)
        descriptors = [theirs.fileno(), *(listener.fileno() for listener in listeners)]
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, *_path_options(), "-m", "chat_api.serving.worker", str(number)]
                + [str(descriptor) for descriptor in descriptors],
                env=environment,
                pass_fds=descriptors,
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C goes to the supervisor, which passes it on
            )
        self._serves: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.watching = asyncio.create_task(self._watch(), name=f"worker-{number}")

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since the worker was started."""
        return time.monotonic() - self._began

    async def serves(self, seconds: float) -> bool:
        """Wait until it serves. False if it ended first, or took longer than `seconds` and was killed."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._serves)
        except TimeoutError:
            self.kill()
            return False

    async def end(self) -> int:
        """Wait until it has ended. Returns its exit status, or minus the signal that ended it."""
        return await asyncio.shield(self.watching)

    def drain(self) -> None:
        """Ask it to end, and to keep listening until then."""
        with contextlib.suppress(OSError):  # it is dead already
            self._lifeline.send(DRAIN)

    def retire(self) -> None:
        """Ask it to end, and to leave new connections to other workers."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it immediately."""
        self._process.kill()

    async def _watch(self) -> int:
        try:
            self._serves.set_result(await self._receive() == READY)
            while await self._receive():
                pass
            return await asyncio.to_thread(self._process.wait)
        finally:
            self._lifeline.close()

    async def _receive(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._lifeline, 1)
        except ConnectionResetError:  # it died before it read what was sent to it
            return b""


def _path_options() -> list[str]:
    """Give the worker this process's import path: the current folder only if that is on it."""
    return [] if str(Path.cwd()) in sys.path or "" in sys.path else ["-P"]
