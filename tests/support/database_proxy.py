"""A wire between the service and PostgreSQL that a test can cut."""

from __future__ import annotations

import asyncio
from typing import Self

from psycopg.conninfo import conninfo_to_dict

READY = b"Z\x00\x00\x00\x05I"  # PostgreSQL's "ready, no transaction open": what was asked for is committed


class DatabaseProxy:
    """Passes bytes on, until it is told otherwise; `url` is the database's address through it."""

    def __init__(self, database_url: str) -> None:
        given = conninfo_to_dict(database_url)
        self._socket = f"{given['host']}/.s.PGSQL.{given['port']}"
        self._database = given["dbname"]
        self._lost: bytes | None = None
        self._away = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.refused = asyncio.Event()  # somebody tried to connect while it was cut

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/{self._database}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        self.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    def cut(self) -> None:
        """The database is away: every connection breaks, no new one is made."""
        self._away = True
        for writer in self._writers:
            writer.transport.abort()

    def mend(self) -> None:
        """The database is back."""
        self._away = False

    def lose_answer(self, statement: str) -> None:
        """Break a connection once: when the next statement of this name is committed, before that is told."""
        self._lost = f"-- {statement}".encode()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._away:
            self.refused.set()
            writer.transport.abort()
            return
        database, answers = await asyncio.open_unix_connection(self._socket)
        wire = _Wire(self, reader, answers, database, writer)
        self._writers |= {writer, answers}
        for passing in (wire.questions(), wire.answers()):
            task = asyncio.create_task(passing)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def losing(self, data: bytes) -> bool:
        """Whether this holds the statement whose answer is to be lost; true once."""
        if self._lost is None or self._lost not in data:
            return False
        self._lost = None
        return True


class _Wire:
    """One connection."""

    def __init__(
        self,
        proxy: DatabaseProxy,
        client: asyncio.StreamReader,
        to_database: asyncio.StreamWriter,
        database: asyncio.StreamReader,
        to_client: asyncio.StreamWriter,
    ) -> None:
        self._proxy = proxy
        self._client, self._to_client = client, to_client
        self._database, self._to_database = database, to_database
        self._parsed = self._losing = False

    async def questions(self) -> None:
        """From the service to PostgreSQL."""
        try:
            while data := await self._client.read(65536):
                self._losing = self._parsed and data.startswith(b"B")  # Bind: the statement is run
                self._parsed = self._parsed or self._proxy.losing(data)
                self._to_database.write(data)
                await self._to_database.drain()
        except ConnectionError:
            pass
        finally:
            self._to_database.close()

    async def answers(self) -> None:
        """From PostgreSQL to the service."""
        try:
            while data := await self._database.read(65536):
                if not self._losing:
                    self._to_client.write(data)
                    await self._to_client.drain()
                elif data.endswith(READY):
                    self._to_client.transport.abort()
        except ConnectionError:
            pass
        finally:
            self._to_client.close()
