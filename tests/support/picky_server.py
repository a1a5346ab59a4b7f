"""A model server with OpenAI's API that refuses what the test says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiohttp import web

from tests.support.scripted import Scripted

Refuse = Callable[[dict[str, Any]], tuple[int, Any] | None]


class PickyServer(Scripted):
    """Answers "ok", unless `refuse` gives a status and a body for a request: JSON, or the bytes of a stream.

    `models` is its list, None for a list that fails, and `lists` counts how often it was asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self.refuse: Refuse = lambda _: None
        self.models: list[Any] | None = [{"id": "tiny"}]
        self.requests: list[dict[str, Any]] = []
        self.lists = 0
        self.router.add_post("/v1/chat/completions", self._complete)
        self.router.add_get("/v1/models", self._list)

    async def _complete(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        self.requests.append(asked)
        if (refusal := self.refuse(asked)) is not None:
            status, body = refusal
            if isinstance(body, bytes):
                return web.Response(status=status, body=body, content_type="text/event-stream")
            return web.json_response(body, status=status)
        chunk = b'data: {"choices":[{"index":0,"delta":{"content":"ok"},"finish_reason":"stop"}]}\n\n'
        return web.Response(body=chunk + b"data: [DONE]\n\n", content_type="text/event-stream")

    async def _list(self, _: web.Request) -> web.Response:
        self.lists += 1
        if self.models is None:
            return web.json_response({}, status=500)
        return web.json_response({"object": "list", "data": self.models})
