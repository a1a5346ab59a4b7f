"""A model server without a wire: the test speaks to the listener itself."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson

from chat_api import errors, events
from chat_api.inference import CallPiece, End, Inference, Listener, Prompt, Usage
from chat_api.inference.endpoint import Endpoint


class Speech:
    """One request for an answer, and what the test says in it."""

    def __init__(self, prompt: Prompt, listener: Listener) -> None:
        self.prompt = prompt
        self._listener = listener
        self.end: asyncio.Future[End] = asyncio.get_running_loop().create_future()
        self.closed = asyncio.Event()

    def say(self, text: str) -> None:
        """A piece of text."""
        self._listener.text(text, events.token(text, {}))

    def think(self, text: str) -> None:
        """A piece of thinking."""
        self._listener.reasoning(text, events.reasoning(text, {}))

    def call(self, index: int, arguments: str, call_id: str | None = None, name: str | None = None) -> None:
        """A piece of a tool call."""
        piece = CallPiece(index, call_id, name, arguments)
        self._listener.tool_call(piece, events.tool_call(index, call_id, name, arguments))

    def other(self, **event: Any) -> None:
        """An event of the server's own."""
        self._listener.other(orjson.dumps(event))

    def live(self) -> None:
        """A sign of life."""
        self._listener.alive()

    def finish(self, reason: str = "stop", **usage: int) -> None:
        """The end, in order."""
        self.end.set_result(End(reason, Usage(**usage), "m1"))

    def fail(self, error: errors.ChatError) -> None:
        """The end, in disorder."""
        self.end.set_exception(error)


class Speaker:
    """All workers' model server. In `connect.PROTOCOLS`, it makes their Inferences."""

    def __init__(self) -> None:
        self._speeches: asyncio.Queue[Speech] = asyncio.Queue()

    def __call__(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> Inference:
        return _Inference(endpoint, session, self._speeches)

    async def speech(self) -> Speech:
        """The next request for an answer."""
        async with asyncio.timeout(5):
            return await self._speeches.get()


class _Inference(Inference):
    def __init__(
        self, endpoint: Endpoint, session: aiohttp.ClientSession, speeches: asyncio.Queue[Speech]
    ) -> None:
        super().__init__(endpoint, session)
        self._speeches = speeches

    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        speech = Speech(prompt, listener)
        self._speeches.put_nowait(speech)
        try:
            return await speech.end
        finally:
            speech.closed.set()

    async def models(self) -> bytes:
        return b'{"current_model":"m1","models":["m1"]}'

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        raise errors.NotSupported
