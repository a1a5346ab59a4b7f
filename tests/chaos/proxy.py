"""A TCP proxy between the workers and the database, whose connections can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import Self


class Proxy:
    """Copies bytes between its port and another on loopback."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut(1.0)

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def cut(self, share: float) -> int:
        """Reset about this share of the connections; how many."""
        doomed = [writer for writer in self._writers if random.random() < share]
        for writer in doomed:
            writer.transport.abort()
        return len(doomed)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            await asyncio.gather(_copy(reader, back), _copy(there, writer))
        finally:
            self._writers.discard(writer)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.transport.abort()
