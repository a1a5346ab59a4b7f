"""The network between a browser and the service, with everything that networks do."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Literal, Self

UPGRADE = b"upgrade: websocket"
PIECE_SECONDS = 0.0005  # else the browser gets several pieces in one


class Wire:
    """Passes bytes to an address of 127.0.0.1, until it is told to be a bad network.

    `upgrades`: what becomes of WebSocket handshakes: passed, refused as proxies do, or never answered.
    `piece`: how many bytes of an answer are passed at once. `lose_answer_to`: what a browser sends with
    these bytes arrives, and the connection breaks before the answer; once. `requests`: the first line of
    each connection.
    """

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self.upgrades: Literal["pass", "refuse", "hang"] = "pass"
        self.piece = 65536
        self.lose_answer_to: bytes | None = None
        self.lost = asyncio.Event()
        self.requests: list[str] = []
        self._away = False
        self._flows = asyncio.Event()
        self._flows.set()
        self._tasks: set[asyncio.Task[None]] = set()

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
        return len(self._tasks)

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
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def mend(self) -> None:
        """The network is back."""
        self._away = False
        self._flows.set()

    def freeze(self) -> None:
        """Nothing passes, and nobody is told."""
        self._flows.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            writer.transport.abort()
            return
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await asyncio.shield(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = None
        try:
            first = await reader.read(65536)
            self.requests.append(first.partition(b"\r\n")[0].decode())
            if UPGRADE in first.lower() and self.upgrades != "pass":
                await self._block(writer)
                return
            answers, upstream = await asyncio.open_connection(*self._upstream)
            writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(first, reader, upstream))
                group.create_task(self._answer(answers, writer))
        except* (_BrokenError, ConnectionError):
            pass
        finally:
            for end in (writer, upstream):
                if end is not None:
                    end.transport.abort()

    async def _block(self, writer: asyncio.StreamWriter) -> None:
        if self.upgrades == "hang":
            await asyncio.Event().wait()
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        await writer.drain()

    async def _ask(self, data: bytes, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        while data:
            await self._flows.wait()
            if self.lose_answer_to is not None and self.lose_answer_to in data:
                self.lose_answer_to = None
                self.lost.set()
            upstream.write(data)
            await upstream.drain()
            data = await reader.read(65536)
        raise _BrokenError

    async def _answer(self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await answers.read(65536):
            await self._flows.wait()
            if self.lost.is_set():  # the service has done what it was asked
                self.lost.clear()
                raise _BrokenError
            for start in range(0, len(data), self.piece):
                writer.write(data[start : start + self.piece])
                await writer.drain()
                if self.piece < len(data):
                    await asyncio.sleep(PIECE_SECONDS)
        raise _BrokenError


class _BrokenError(Exception):
    """One end is closed."""
