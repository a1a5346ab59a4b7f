"""A neighbour that tests script: an application on a port of its own."""

from __future__ import annotations

from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer


class Scripted:
    """Serves while its block runs. A subclass adds its routes to `router`."""

    def __init__(self) -> None:
        app = web.Application()
        self.router = app.router
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return str(self._server.make_url("")).rstrip("/")
