"""A model server that releases each byte when the test says so."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.support.scripted import Scripted

CLOSE = object()  # in a script: end the body in order
CUT = object()  # in a script: break the connection


class Call:
    """One request for an answer: what was asked, and the hand on the tap."""

    def __init__(self, request: dict[str, Any], headers: Any, path: str) -> None:
        self.request = request
        self.headers = headers
        self.path = path
        self.closed = asyncio.Event()
        self._script: asyncio.Queue[Any] = asyncio.Queue()

    def send(self, *events: dict[str, Any]) -> None:
        """Release events."""
        for event in events:
            self.send_bytes(b"data: " + json.dumps(event).encode() + b"\n\n")

    def say(self, *tokens: str) -> None:
        """Release tokens, in nanochat's form."""
        self.send(*({"token": token, "gpu": 0} for token in tokens))

    def send_bytes(self, data: bytes) -> None:
        """Release bytes as they are, in one write."""
        self._script.put_nowait(data)

    def finish(self, *tokens: str) -> None:
        """Say the last tokens, and that was all."""
        self.say(*tokens)
        self.send({"done": True})
        self.close()

    def close(self) -> None:
        """End the body; without `done` before it, too early."""
        self._script.put_nowait(CLOSE)

    def cut(self) -> None:
        """Break the connection in the middle."""
        self._script.put_nowait(CUT)

    async def play(self, response: web.StreamResponse, request: web.Request) -> None:
        """Write what is released."""
        while (item := await self._script.get()) is not CLOSE:
            if item is CUT:
                assert request.transport is not None
                request.transport.abort()
                return
            await response.write(item)


class ModelServer(Scripted):
    """Speaks nanochat and OpenAI. Each answer waits for its script: `call = await model.call()`.

    `say` set: every request is answered at once with these tokens. `refuse` set: with this status and body.
    `models`, `openai_models` and `swap`: the answers of the other addresses, as (status, body). OpenAI's lie
    below /v1.
    """

    def __init__(self) -> None:
        super().__init__()
        self.say: list[str] | None = None
        self.refuse: tuple[int, str] | None = None
        self.hold_headers: asyncio.Event | None = None
        self.models: tuple[int, Any] = (200, {"current_model": "m1", "models": ["m1", "m2"]})
        self.openai_models: tuple[int, Any] = (
            200,
            {"object": "list", "data": [{"id": "tiny", "object": "model"}]},
        )
        self.swap: tuple[int, Any] = (202, {"status": "ok", "current_model": "m2"})
        self.requests: list[Call] = []
        self._calls: asyncio.Queue[Call] = asyncio.Queue()
        self.router.add_post("/generate", self._generate)
        self.router.add_post("/v1/chat/completions", self._generate)
        self.router.add_get("/models", self._models)
        self.router.add_get("/v1/models", self._openai_models)
        self.router.add_post("/models/swap", self._swap)

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._server.handler.connections)

    async def call(self) -> Call:
        """The next request for an answer."""
        async with asyncio.timeout(5):
            return await self._calls.get()

    async def _generate(self, request: web.Request) -> web.StreamResponse:
        call = Call(await request.json(), request.headers, request.path)
        self.requests.append(call)
        self._calls.put_nowait(call)
        try:
            return await self._answer(call, request)
        except (asyncio.CancelledError, ConnectionResetError):  # a client's leaving cancels its handler
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

    async def _models(self, _: web.Request) -> web.Response:
        status, body = self.models
        return web.json_response(body, status=status)

    async def _openai_models(self, _: web.Request) -> web.Response:
        status, body = self.openai_models
        return web.json_response(body, status=status)

    async def _swap(self, request: web.Request) -> web.Response:
        status, body = self.swap
        self.swapped = await request.json()
        return web.json_response(body, status=status)
