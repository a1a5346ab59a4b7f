"""Another web site that embeds the client: an empty page, and the files of chat_api/web."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from aiohttp import web

from tests.support.scripted import Scripted

EMPTY = '<!doctype html><html lang="en"><title>A site</title>'


class Site(Scripted):
    """A separate origin, so its requests to the service need CORS, like those of any embedding page.

    `pages`: more of its pages, by path. `files`: folders that it serves, by what their paths begin with.
    `token`: the token that its sign-in returns at /chat-token.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pages = {"/": EMPTY, "/favicon.ico": ""}
        self.files: dict[str, Path] = {}
        self.token = ""
        self.router.add_get("/harness.js", self._harness)
        self.router.add_static("/web", Path(str(resources.files("chat_api") / "web")))
        self.router.add_get("/chat-token", self._token)
        self.router.add_get("/{name:.*}", self._page)

    async def _page(self, request: web.Request) -> web.StreamResponse:
        for start, folder in self.files.items():
            if request.path.startswith(start):
                return web.FileResponse(folder / request.path.removeprefix(start))
        if request.path not in self.pages:
            raise web.HTTPNotFound
        return web.Response(text=self.pages[request.path], content_type="text/html")

    async def _token(self, _: web.Request) -> web.Response:
        return web.Response(text=self.token)

    async def _harness(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(Path(__file__).parent / "harness.js")
