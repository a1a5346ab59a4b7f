"""A worker of `serve --workers`, seen by the supervisor: started, asked to end, buried."""

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

READY, DRAIN = b"r", b"d"  # what is said on the lifeline


class WorkerProcess:
    """The program `chat_api.serving.worker`, tied to this process by a socket pair, its lifeline.

    The lifeline breaks when either side dies, by whatever signal and on every system: the supervisor hears
    of its worker's end in it, and the worker of the supervisor's. To be made within a running event loop.
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
                start_new_session=True,  # Ctrl-C is the supervisor's, who passes it on
            )
        self._serves: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.watching = asyncio.create_task(self._watch(), name=f"worker-{number}")

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def age(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self._began

    async def serves(self, seconds: float) -> bool:
        """True once it serves; False when it ended first, or when it took too long and was killed."""
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.shield(self._serves)
        except TimeoutError:
            self.kill()
            return False

    async def end(self) -> int:
        """Wait for its end: its exit status, or minus the number of the signal that ended it."""
        return await asyncio.shield(self.watching)

    def drain(self) -> None:
        """Ask it to end, listening until it has."""
        with contextlib.suppress(OSError):  # it is dead
            self._lifeline.send(DRAIN)

    def retire(self) -> None:
        """Ask it to end, and leave those who come to others."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it on the spot."""
        self._process.kill()

    async def _watch(self) -> int:
        try:
            self._serves.set_result(await self._hear() == READY)
            while await self._hear():
                pass
            return await asyncio.to_thread(self._process.wait)
        finally:
            self._lifeline.close()

    async def _hear(self) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(self._lifeline, 1)
        except ConnectionResetError:  # it died before it read what it was told
            return b""


def _path_options() -> list[str]:
    """Let the worker import what this process does: the current folder only where that is on its path."""
    return [] if str(Path.cwd()) in sys.path or "" in sys.path else ["-P"]
