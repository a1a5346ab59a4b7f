"""Somebody's web site that embeds the client: an empty page, and the files of chat_api/web."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Self

from aiohttp import web
from aiohttp.test_utils import TestServer

EMPTY = '<!doctype html><html lang="en"><title>A site</title><link rel="icon" href="data:,">'


class Site:
    """An origin of its own: what it loads from the service goes by CORS, as from any embedding page."""

    def __init__(self) -> None:
        app = web.Application()
        app.router.add_get("/", self._page)
        app.router.add_get("/harness.js", self._harness)
        app.router.add_static("/web", Path(str(resources.files("chat_api") / "web")))
        self._server = TestServer(app)

    async def __aenter__(self) -> Self:
        await self._server.start_server()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()

    @property
    def address(self) -> str:
        """Its origin."""
        return str(self._server.make_url("")).rstrip("/")

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=EMPTY, content_type="text/html")

    async def _harness(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__).parent / "harness.js")
