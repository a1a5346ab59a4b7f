"""A wire between the service and PostgreSQL that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit


class Proxy:
    """Passes bytes to a PostgreSQL server's unix socket, until it is told to be a bad wire.

    `delay`: seconds before anything is passed on. `lose_reply_to`: what a client sends with these bytes
    arrives, and the connection is cut before the answer. `halve`: of what has these bytes only the first
    half arrives. Both happen once.
    """

    def __init__(self, dsn: str) -> None:
        url = urlsplit(dsn)
        query = {name: value[0] for name, value in parse_qs(url.query).items()}
        self._upstream = f"{unquote(query['host'])}/.s.PGSQL.{query['port']}"
        self._user, self._database = url.username, url.path.lstrip("/")
        self.delay = 0.0
        self.lose_reply_to: bytes | None = None
        self.halve: bytes | None = None
        self.cuts = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self.cut()

    @property
    def dsn(self) -> str:
        """The database's address through this wire."""
        port = self._server.sockets[0].getsockname()[1]
        return f"postgresql://{self._user}@127.0.0.1:{port}/{self._database}"

    async def cut(self) -> None:
        """Break every connection."""
        tasks = list(self._tasks)
        self.cuts += len(tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._connect(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(asyncio.CancelledError, OSError):
            await task

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, upstream = await asyncio.open_unix_connection(self._upstream)
        except OSError:
            writer.transport.abort()
            return
        lost = asyncio.Event()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, upstream, lost))
                group.create_task(self._answer(answers, writer, lost))
        except* (_BrokenError, OSError):
            self.cuts += 1
        finally:
            writer.transport.abort()
            upstream.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            await asyncio.sleep(self.delay)
            if self.halve is not None and self.halve in data:
                self.halve = None
                writer.write(data[: len(data) // 2])
                await writer.drain()
                raise _BrokenError
            if self.lose_reply_to is not None and self.lose_reply_to in data:
                self.lose_reply_to = None
                lost.set()
            writer.write(data)
            await writer.drain()
        raise _BrokenError

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, lost: asyncio.Event
    ) -> None:
        while data := await reader.read(65536):
            if lost.is_set():  # the server has done what it was asked
                raise _BrokenError
            await asyncio.sleep(self.delay)
            writer.write(data)
            await writer.drain()
        raise _BrokenError


class _BrokenError(Exception):
    """The wire is broken."""
