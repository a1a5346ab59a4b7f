"""A model server that sends each byte when the test says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.support.scripted import Scripted

CLOSE = object()  # in a script: end the body normally
CUT = object()  # in a script: break the connection


class Call:
    """One request for an answer: its body, and control over the response."""

    def __init__(self, request: dict[str, Any], headers: Any, path: str) -> None:
        self.request = request
        self.headers = headers
        self.path = path
        self.closed = asyncio.Event()
        self._script: asyncio.Queue[Any] = asyncio.Queue()

    def send(self, *events: dict[str, Any]) -> None:
        """Send events."""
        for event in events:
            self.send_bytes(b"data: " + json.dumps(event).encode() + b"\n\n")

    def say(self, *tokens: str) -> None:
        """Send tokens, in the format of nanochat and chat_web."""
        self.send(*({"token": token, "gpu": 0} for token in tokens))

    def send_bytes(self, data: bytes) -> None:
        """Send bytes unchanged, in one write."""
        self._script.put_nowait(data)

    def finish(self, *tokens: str) -> None:
        """Send the last tokens and `done`."""
        self.say(*tokens)
        self.send({"done": True})
        self.close()

    def close(self) -> None:
        """End the body; if `done` wasn't sent before, that is too early."""
        self._script.put_nowait(CLOSE)

    def cut(self) -> None:
        """Break the connection in the middle of the body."""
        self._script.put_nowait(CUT)

    async def play(self, response: web.StreamResponse, request: web.Request) -> None:
        """Write what the test sends, until it ends the body."""
        while (item := await self._script.get()) is not CLOSE:
            if item is CUT:
                assert request.transport is not None
                request.transport.abort()
                return
            await response.write(item)


# Where each protocol's answers come from, and what its /health says.
ANSWERS = {"/generate": "nanochat", "/chat/completions": "chat_web", "/v1/chat/completions": "openai"}
HEALTH: dict[str, dict[str, Any]] = {
    "nanochat": {"status": "ok", "ready": True, "current_model": "m1", "total_workers": 1},
    "chat_web": {"status": "ok", "ready": True, "num_gpus": 1, "available_workers": 1},
    "openai": {"status": "ok"},
}


class ModelServer(Scripted):
    """Speaks each protocol. Each answer waits for its script: `call = await model.call()`.

    If `say` is set, every request is answered at once with these tokens; if `refuse` is, with this status and
    body. `models`, `openai_models` and `swap` are the responses of the other paths, as (status, body).
    OpenAI's paths are below /v1. If `speaks` is set, it has the paths of this protocol alone.
    """

    def __init__(self) -> None:
        super().__init__()
        self.say: list[str] | None = None
        self.refuse: tuple[int, str] | None = None
        self.speaks: str | None = None
        self.hold_headers: asyncio.Event | None = None
        self.models: tuple[int, Any] = (200, {"current_model": "m1", "models": ["m1", "m2"]})
        self.openai_models: tuple[int, Any] = (
            200,
            {"object": "list", "data": [{"id": "tiny", "object": "model"}]},
        )
        self.swap: tuple[int, Any] = (202, {"status": "ok", "current_model": "m2"})
        self.requests: list[Call] = []
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        for path in ANSWERS:
            self.router.add_post(path, self._generate)
        self.router.add_get("/health", self._health)
        self.router.add_get("/models", self._models)
        self.router.add_get("/v1/models", self._openai_models)
        self.router.add_post("/models/swap", self._swap)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.handler.connections)

    @property
    def idle(self) -> bool:
        """Whether every request was taken by `call`."""
        return self._calls.empty()

    async def call(self) -> Call:
        """The next request for an answer."""
        async with asyncio.timeout(20):
            return await self._calls.get()

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        if self.speaks not in (None, ANSWERS[request.path]):
            raise web.HTTPNotFound
        call = Call(await request.json(), request.headers, request.path)
        self.requests.append(call)
        self._calls.put_nowait(call)
        try:
            return await self._answer(call, request)
        except (asyncio.CancelledError, ConnectionResetError):  # cancelled when the client leaves
            call.closed.set()
            raise

    async def _answer(self, call: Call, request: web.Request) -> web.StreamResponse:
        if self.refuse is not None:
            status, body = self.refuse
            return web.Response(status=status, text=body)
        if self.hold_headers is not None:
            await self.hold_headers.wait()
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        if self.say is not None:
            call.finish(*self.say)
        await call.play(response, request)
        return response

    async def _health(self, _: web.Request) -> web.Response:
        if self.speaks is None:
            raise web.HTTPNotFound
        return web.json_response(HEALTH[self.speaks])

    async def _models(self, _: web.Request) -> web.Response:
        if self.speaks not in (None, "nanochat"):
            raise web.HTTPNotFound
        status, body = self.models
        return web.json_response(body, status=status)

    async def _openai_models(self, _: web.Request) -> web.Response:
        if self.speaks not in (None, "openai"):
            raise web.HTTPNotFound
        status, body = self.openai_models
        return web.json_response(body, status=status)

    async def _swap(self, request: web.Request) -> web.Response:
        status, body = self.swap
        self.swapped = await request.json()
        return web.json_response(body, status=status)
