"""The network between a browser and the service, with everything that networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Literal, Self

UPGRADE = b"upgrade: websocket"
PIECE_SECONDS = 0.0005  # else the browser gets several pieces in one
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Wire:
    """Passes bytes to an address of 127.0.0.1, until it is told to be a bad network.

    `upgrades`: what becomes of WebSocket handshakes: passed, refused as proxies do, or never answered.
    `piece`: how many bytes of an answer are passed at once. `lose_answer_to`: what a browser sends with
    these bytes arrives, and the connection breaks before the answer; once, `losses` counts. `requests`: the
    first line of each connection; `refused`: how many were not made.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self.upgrades: Literal["pass", "refuse", "hang"] = "pass"
        self.piece = 65536
        self.lose_answer_to: bytes | None = None
        self.losses = 0
        self.requests: list[str] = []
        self.refused = 0
        self._away = False
        self._connections: dict[asyncio.Task[None], _Connection] = {}

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    @property
    def address(self) -> str:
        """The service's address through this wire."""
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._connections)

    @property
    def upgrades_asked(self) -> int:
        """How many WebSocket handshakes came."""
        return sum("/api/ws" in line for line in self.requests)

    async def cut(self) -> None:
        """The network is away: every connection breaks, no new one is made."""
        self._away = True
        await self.drop()

    async def drop(self) -> None:
        """Every connection breaks, and may be made anew."""
        tasks = list(self._connections)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def mend(self) -> None:
        """The network is back."""
        self._away = False

    def forget(self) -> None:
        """The connections that there are pass nothing any more, and nobody is told."""
        for connection in self._connections.values():
            connection.forgotten = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            self.refused += 1
            writer.transport.abort()
            return
        connection = _Connection(self, reader, writer)
        task = asyncio.create_task(connection.run(*self._upstream))
        self._connections[task] = connection
        task.add_done_callback(self._connections.pop)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task

    def loses(self, data: bytes) -> bool:
        """Whether the answer to this is to be lost; true once."""
        if self.lose_answer_to is None or self.lose_answer_to not in data:
            return False
        self.lose_answer_to = None
        self.losses += 1
        return True


class _Connection:
    """One of the browser's."""

    def __init__(self, wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._wire = wire
        self._reader, self._writer = reader, writer
        self.forgotten = False
        self._is_losing = False

    async def run(self, host: str, port: int) -> None:
        """Pass on what comes, until one end closes or this is cancelled."""
        upstream = None
        try:
            first = await self._reader.read(65536)
            self._wire.requests.append(first.partition(b"\r\n")[0].decode())
            if UPGRADE in first.lower() and self._wire.upgrades != "pass":
                await self._block()
                return
            answers, upstream = await asyncio.open_connection(host, port)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(first, upstream))
                group.create_task(self._answer(answers))
        except* (_BrokenError, ConnectionError):
            pass
        finally:
            for end in (self._writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _block(self) -> None:
        if self._wire.upgrades == "hang":
            await asyncio.Event().wait()
        self._writer.write(REFUSAL)
        await self._writer.drain()

    async def _ask(self, data: bytes, upstream: asyncio.StreamWriter) -> None:
        while data:
            self._is_losing = self._is_losing or self._wire.loses(data)
            if not self.forgotten:
                upstream.write(data)
                await upstream.drain()
            data = await self._reader.read(65536)
        raise _BrokenError

    async def _answer(self, answers: asyncio.StreamReader) -> None:
        self._writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while data := await answers.read(65536):
            if self._is_losing:  # the service has done what it was asked
                raise _BrokenError
            if not self.forgotten:
                await self._pass(data, self._wire.piece)
        raise _BrokenError

    async def _pass(self, data: bytes, size: int) -> None:
        for start in range(0, len(data), size):
            self._writer.write(data[start : start + size])
            await self._writer.drain()
            if size < len(data):
                await asyncio.sleep(PIECE_SECONDS)


class _BrokenError(Exception):
    """One end is closed."""
