"""What the libraries alone cost, to show what the service adds: `python -m bench.floor relay|handler …`.

relay    copies bytes between each client and the model server, on uvloop, and does nothing else
handler  answers requests with the rows of the same statements, on aiohttp and asyncpg, and does nothing else
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from uuid import UUID

import asyncpg
import uvloop
from aiohttp import web

from bench.statements import requested

Bytes = Callable[[bytes], None]
CONNECTIONS = 10  # as many connections as the service has


class Copy(asyncio.Protocol):
    """One end of a copied connection: bytes that it receives are sent at the other end."""

    def __init__(self) -> None:
        self._other: asyncio.Transport | None = None
        self._waiting = b""  # bytes that wait for the other end

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._waiting += data
        else:
            self._other.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self._other is not None:
            self._other.close()

    def join(self, other: asyncio.Transport) -> None:
        """Write what is received to this transport, and close it when this end is closed."""
        self._other = other
        other.write(self._waiting)


class Client(Copy):
    """The client's end. Each client gets a connection of its own to the model server."""

    def __init__(self, model_port: int) -> None:
        super().__init__()
        self._model_port = model_port

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._joining = asyncio.create_task(self._join())

    async def _join(self) -> None:
        loop = asyncio.get_running_loop()
        model = (await loop.create_connection(Copy, "127.0.0.1", self._model_port))[1]
        model.join(self.transport)
        self.join(model.transport)


async def relay(port: int, model_port: int) -> None:
    """Copy bytes until the process is ended."""
    server = await asyncio.get_running_loop().create_server(
        lambda: Client(model_port), "127.0.0.1", port, backlog=4096
    )
    await server.serve_forever()


async def handler(port: int, database_url: str, user: UUID) -> None:
    """Answer requests until the process is ended."""
    idle = [await asyncpg.connect(database_url, command_timeout=10) for _ in range(CONNECTIONS)]
    free = asyncio.Semaphore(CONNECTIONS)

    def answering(kind: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            await request.read()
            named = request.match_info.get("id")
            text, arguments = requested(kind, user, UUID(named) if named else None)
            async with free:
                connection = idle.pop()
                rows = await connection.fetch(text, *arguments)
                idle.append(connection)
            body = "".join(str(value) for row in rows for value in row)
            return web.Response(body=body.encode(), headers={"Content-Type": "application/json"})

        return answer

    app = web.Application()
    app.router.add_post("/api/conversations", answering("create"))
    app.router.add_get("/api/conversations", answering("list"))
    app.router.add_get("/api/conversations/{id}", answering("get"))
    app.router.add_get("/api/health", lambda _: asyncio.sleep(0, web.Response()))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    copying = kinds.add_parser("relay")
    copying.add_argument("port", type=int)
    copying.add_argument("model_port", type=int)
    answering = kinds.add_parser("handler")
    answering.add_argument("port", type=int)
    answering.add_argument("database_url")
    answering.add_argument("user", type=UUID)
    given = parser.parse_args()
    if given.kind == "relay":
        uvloop.run(relay(given.port, given.model_port))
    else:
        uvloop.run(handler(given.port, given.database_url, given.user))


if __name__ == "__main__":
    main()
