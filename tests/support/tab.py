"""A WebSocket client, like a browser tab."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from aiohttp import ClientSession, ClientWebSocketResponse, WSMsgType, web
from aiohttp.test_utils import TestClient

Frame = dict[str, Any]


class Tab:
    """A socket to the service. Every wait fails after five seconds. `skipped`: types that are passed over."""

    def __init__(self, socket: ClientWebSocketResponse) -> None:
        self.socket = socket
        self.skipped: tuple[str, ...] = ()

    async def say(self, kind: str, conversation: str | None = None, ref: Any = 1, **fields: Any) -> None:
        """Send a frame; `conversation` may be a path."""
        frame = {"type": kind, "ref": ref, **fields}
        if conversation is not None:
            frame["conversation_id"] = conversation.rpartition("/")[2]
        await self.socket.send_str(json.dumps(frame))

    async def hear(self) -> Frame:
        """The next frame."""
        message = await self.socket.receive(timeout=5)
        assert message.type is WSMsgType.TEXT, (message, self.socket.close_code)
        frame: Frame = json.loads(message.data)
        return await self.hear() if frame["type"] in self.skipped else frame

    async def ask(self, kind: str, conversation: str | None = None, ref: Any = 1, **fields: Any) -> Frame:
        """Send a frame and return the next one."""
        await self.say(kind, conversation, ref, **fields)
        return await self.hear()

    async def events(self, count: int | None = None) -> list[Frame]:
        """The next frames: `count` of them, or up to and including `done`."""
        frames: list[Frame] = []
        while count is None or len(frames) < count:
            frames.append(await self.hear())
            if frames[-1]["type"] == "done":
                break
        return frames

    async def close_code(self) -> int | None:
        """The server's close code; other frames before it are skipped."""
        async with asyncio.timeout(5):
            async for _ in self.socket:
                pass
        return self.socket.close_code


@asynccontextmanager
async def open_tab(
    client: TestClient[web.Request, web.Application] | ClientSession,
    user: dict[str, str] | None = None,
    *,
    path: str = "/api/ws",
    **options: Any,
) -> AsyncIterator[Tab]:
    """Open a tab; if a user is given, its first frame signs in."""
    async with client.ws_connect(path, **options) as socket:
        tab = Tab(socket)
        if user is not None:
            ready = await tab.ask("auth", token=token_of(user))
            assert ready["type"] == "ready", ready
            UUID(ready["user_id"])
        yield tab


def token_of(user: dict[str, str]) -> str:
    """The token in a user's headers."""
    return user["Authorization"].removeprefix("Bearer ")


def words(frames: list[Frame]) -> str:
    """The answer as a page would show it."""
    return "".join(frame.get("token", "") for frame in frames)


def as_sse(frame: Frame) -> tuple[str, Frame]:
    """The server-sent event that corresponds to a frame: its id and its data."""
    added = {"type", "seq"} | (set() if frame["type"] == "start" else {"conversation_id", "generation_id"})
    data = {name: value for name, value in frame.items() if name not in added}
    return f"{frame['generation_id']}:{frame['seq']}", data
