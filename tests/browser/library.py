"""What a search finds, an export holds and an import reports: scripts that answer in the service's place."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

from aiohttp import web
from playwright.async_api import BrowserContext, Page, Route

from tests.support.scripted import Scripted

Hit = dict[str, Any]
JSON = "application/json"


def hit(conversation: dict[str, Any], message_id: str | None, snippet: str) -> Hit:
    """A hit in a conversation, as the list of conversations has it."""
    at = conversation["updated_at"]
    return {"conversation": conversation, "message_id": message_id, "snippet": snippet, "created_at": at}


def answer(items: Sequence[Hit] = (), next_cursor: str | None = None) -> tuple[int, dict[str, Any]]:
    """A page of hits."""
    return 200, {"items": list(items), "next_cursor": next_cursor}


def refusal(status: int, code: str, detail: str) -> tuple[int, dict[str, Any]]:
    """An error of the service."""
    return status, {"code": code, "detail": detail}


def progress(percent: int | None, conversations: int = 0) -> dict[str, Any]:
    """A line of an import that goes on."""
    counts = {"added": conversations, "there": 0, "left_out": 0}
    return {"progress": {"percent": percent, "bytes": 1, "conversations": counts}}


def failed(code: str, detail: str) -> dict[str, Any]:
    """The last line of an import that fails after its response has begun."""
    return {"error": {"code": code, "detail": detail}}


@dataclass
class Search:
    """Answers by `answers`, else by `otherwise`; words in `held` wait. `asked`: all words and cursors."""

    answers: dict[tuple[str, str | None], tuple[int, dict[str, Any]]] = field(default_factory=dict)
    otherwise: tuple[int, dict[str, Any]] = field(default_factory=answer)
    held: dict[str, asyncio.Event] = field(default_factory=dict)
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    async def begin(self, pages: BrowserContext | Page) -> None:
        """Answer from now on."""
        await pages.route("**/api/search?*", self._answer)

    async def _answer(self, route: Route) -> None:
        query = parse_qs(urlsplit(route.request.url).query)
        asked = (query["q"][0], query.get("cursor", [None])[0])
        self.asked.append(asked)
        if asked[0] in self.held:
            await self.held[asked[0]].wait()
        status, body = self.answers.get(asked, self.otherwise)
        await route.fulfill(status=status, body=json.dumps(body), content_type=JSON, headers=self.headers)


async def conversations_of(page: Page) -> dict[str, dict[str, Any]]:
    """The reader's conversations by their titles, as the list has them."""
    listed = await page.evaluate(
        """async () => {
            const headers = { Authorization: `Bearer ${sessionStorage["chat.token"]}` };
            return (await (await fetch("api/conversations?limit=200", { headers })).json()).items;
        }"""
    )
    return {each["title"]: each for each in listed}


class Library(Scripted):
    """Sends exports and import reports piece by piece, as a test gives them; `received` is what was imported.

    `refusal`: a status and an error in their place; `refusals`: before it. `headers`: more of a file's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refusal: tuple[int, dict[str, Any]] | None = None
        self.refusals: list[tuple[int, dict[str, Any]]] = []
        self.headers: dict[str, str] = {}
        self.asked: list[str] = []
        self.received = b""
        self.left = asyncio.Event()
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._is_cut = False
        self.router.add_get("/{path:.*/?export}", self._answer)
        self.router.add_post("/api/import", self._take)

    async def begin(self, pages: BrowserContext) -> None:
        """Answer from now on."""
        await pages.route(re.compile(r"/api/(.*/)?(export|import)(\?|$)"), self._pass)

    async def __aexit__(self, *details: object) -> None:
        self._pieces.put_nowait(None)  # else it waits for a test that has ended
        await super().__aexit__(*details)

    def send(self, *pieces: bytes | dict[str, Any]) -> None:
        """Send bytes, or objects as lines."""
        for piece in pieces:
            self._pieces.put_nowait(piece if isinstance(piece, bytes) else json.dumps(piece).encode() + b"\n")

    def end(self, *pieces: bytes | dict[str, Any]) -> None:
        """Send the last ones."""
        self.send(*pieces)
        self._pieces.put_nowait(None)

    def cut(self) -> None:
        """Break the connection after what was sent."""
        self._is_cut = True
        self._pieces.put_nowait(None)

    async def _pass(self, route: Route) -> None:
        url = urlsplit(route.request.url)
        await route.continue_(url=f"{self.url}{url.path}{'?' if url.query else ''}{url.query}")

    async def _take(self, request: web.Request) -> web.StreamResponse:
        async for piece in request.content.iter_any():
            self.received += piece
        assert request.headers["Accept"] == "application/x-ndjson"
        return await self._answer(request)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.headers["Authorization"].startswith("Bearer ")
        self.asked.append(request.path_qs)
        refused = self.refusals.pop(0) if self.refusals else self.refusal
        if refused is not None:
            return web.json_response(refused[1], status=refused[0])
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", **self.headers})
        await response.prepare(request)
        try:
            while (piece := await self._pieces.get()) is not None:
                await response.write(piece)
        except (ConnectionError, asyncio.CancelledError):
            self.left.set()
            raise
        if self._is_cut and request.transport is not None:
            self._is_cut = False
            request.transport.abort()
        return response
