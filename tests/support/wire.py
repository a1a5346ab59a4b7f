"""The wire between a client and a server of this machine, which a test can break."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from typing import Literal, Self

from psycopg.conninfo import conninfo_to_dict

Fate = Literal["pass", "refuse", "ignore"]

UPGRADE = b"upgrade: websocket"
REFUSAL = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
PIECE_SECONDS = 0.0005  # else the client gets several pieces in one


class Connection:
    """One client's: the ends that are written to, and whether anything may be."""

    def __init__(self, to_client: asyncio.StreamWriter, flowing: asyncio.Event) -> None:
        self.to_client = to_client
        self.to_server: asyncio.StreamWriter
        self.ends = [to_client]
        self.task: asyncio.Task[None]
        self.is_new = True  # the client has sent nothing yet
        self.is_marked = False  # it has sent what shall have no reply
        self.is_losing = False  # the server is doing that
        self._flowing = flowing

    async def flows(self) -> None:
        """Return when bytes may pass."""
        while not self._flowing.is_set():  # by then it may be another event, or clear again
            await self._flowing.wait()

    async def write(self, end: asyncio.StreamWriter, data: bytes) -> None:
        """Pass bytes on, once they may."""
        await self.flows()
        end.write(data)
        await end.drain()

    def ignore(self) -> None:
        """Pass nothing any more, and tell neither end."""
        self._flowing = asyncio.Event()

    def cut(self) -> None:
        """Break it at both ends, at once."""
        for end in self.ends:
            end.transport.abort()
        self.task.cancel()


class Wire:
    """Passes bytes on to a server, until it is told to be a bad network. A context manager.

    `arrivals`: what becomes of new connections: passed on, refused, or taken and then ignored, as by a black
    hole. `delay`: seconds before anything is passed on. `lose_reply_to`: what a client sends with these bytes
    arrives, and the connection is cut before the reply. `halve`: of what has these bytes only the first half
    arrives, and the connection is cut. Both happen once, and are None again. `cuts` and `refused`: how many
    connections it has cut, and how many refused. `connections`: those that are open.
    """

    run = b""  # how a client's bytes start that make the server do what it was asked
    done = b""  # how the server's bytes end when it has done it

    def __init__(self, host: str, port: int) -> None:
        self.arrivals: Fate = "pass"
        self.delay = 0.0
        self.lose_reply_to: bytes | None = None
        self.halve: bytes | None = None
        self.cuts = self.refused = 0
        self._server = host, port
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port: int = self._listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._listener.close()
        self.cut()
        await asyncio.gather(*(each.task for each in self.connections), return_exceptions=True)

    def cut(self) -> None:
        """The server is away: every connection breaks, new ones are refused."""
        self.arrivals = "refuse"
        self.drop()

    def mend(self) -> None:
        """The server is back."""
        self.arrivals = "pass"

    def drop(self, share: float = 1.0) -> None:
        """Break about this share of the connections; they may be made anew."""
        for connection in self.connections:
            if random.random() < share:
                self._cut(connection)

    def hang(self) -> None:
        """Hold what either end sends, and that it leaves; connections stay open, and new ones hang too."""
        self._flowing.clear()

    def resume(self) -> None:
        """Pass on what was held, and go on."""
        self._flowing.set()

    def ignore(self) -> None:
        """The connections that there are pass nothing any more, and nobody is told."""
        for connection in self.connections:
            connection.ignore()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection to the server."""
        return await asyncio.open_connection(*self._server)

    async def ask(self, connection: Connection, data: bytes) -> None:
        """Pass on what the client has sent."""
        if self.halve is not None and self.halve in data:
            self.halve = None
            await connection.write(connection.to_server, data[: len(data) // 2])
            self._cut(connection)
            return
        if self.lose_reply_to is not None and self.lose_reply_to in data:
            self.lose_reply_to = None
            connection.is_marked = True
        connection.is_losing |= connection.is_marked and data.startswith(self.run)
        await connection.write(connection.to_server, data)

    async def reply(self, connection: Connection, data: bytes) -> None:
        """Pass on what the server has sent."""
        if not connection.is_losing:
            await connection.write(connection.to_client, data)
        elif data.endswith(self.done):
            self._cut(connection)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # A plain function: a task of asyncio's own would log the errors that tests cause.
        if self.arrivals == "refuse":
            self.refused += 1
            writer.transport.abort()
            return
        connection = Connection(writer, self._flowing)
        if self.arrivals == "ignore":
            connection.ignore()
        self.connections.add(connection)
        connection.task = asyncio.create_task(self._carry(connection, reader))
        connection.task.add_done_callback(lambda _: self.connections.remove(connection))

    async def _carry(self, connection: Connection, client: asyncio.StreamReader) -> None:
        await connection.flows()
        try:
            server, connection.to_server = await self.connect()
        except OSError:
            connection.to_client.transport.abort()
            return
        connection.ends.append(connection.to_server)
        await asyncio.gather(
            self._pass(connection, client, self.ask, connection.to_server),
            self._pass(connection, server, self.reply, connection.to_client),
        )

    async def _pass(
        self,
        connection: Connection,
        source: asyncio.StreamReader,
        pass_on: Callable[[Connection, bytes], Awaitable[None]],
        end: asyncio.StreamWriter,
    ) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await asyncio.sleep(self.delay)
                await pass_on(connection, data)
        await connection.flows()
        end.close()  # whose other side then closes too

    def _cut(self, connection: Connection) -> None:
        self.cuts += 1
        connection.cut()


class DatabaseWire(Wire):
    """The wire to PostgreSQL, by its socket or its port; `url` is the database's address through it.

    `lose_reply_to` is text of the statement (`-- generations.start`) or of its parameters.
    """

    run = b"B"  # Bind; before it, the statement was only parsed
    done = b"Z\x00\x00\x00\x05I"  # "ready, no transaction open": it is committed

    def __init__(self, database_url: str) -> None:
        self._given = conninfo_to_dict(database_url)
        super().__init__(str(self._given["host"]), int(str(self._given["port"])))

    def lead_to(self, database_url: str) -> None:
        """Lead new connections to another server, as an address that has moved. The others stay."""
        given = conninfo_to_dict(database_url)
        self._server = str(given["host"]), int(str(given["port"]))

    @property
    def url(self) -> str:
        return "postgresql://{user}@127.0.0.1:{0}/{dbname}".format(self.port, **self._given)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self._server
        if host.startswith("/"):
            return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
        return await super().connect()


class HttpWire(Wire):
    """The wire to an HTTP server; `address` is the server's through it.

    `upgrades`: what becomes of WebSocket handshakes. `piece`: how many bytes of a reply are passed at once.
    `requests`: the first line of each connection.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(host, port)
        self.upgrades: Fate = "pass"
        self.piece = 65536
        self.requests: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def upgrades_asked(self) -> int:
        """How many WebSocket handshakes came."""
        return sum("/api/ws" in line for line in self.requests)

    async def ask(self, connection: Connection, data: bytes) -> None:
        if connection.is_new:
            connection.is_new = False
            self.requests.append(data.partition(b"\r\n")[0].decode())
            if UPGRADE in data.lower() and self.upgrades == "ignore":
                connection.ignore()
            elif UPGRADE in data.lower() and self.upgrades == "refuse":
                await connection.write(connection.to_client, REFUSAL)
                connection.to_client.close()
                return
        await super().ask(connection, data)

    async def reply(self, connection: Connection, data: bytes) -> None:
        for start in range(0, len(data), self.piece):
            await super().reply(connection, data[start : start + self.piece])
            if self.piece < len(data):
                await asyncio.sleep(PIECE_SECONDS)
