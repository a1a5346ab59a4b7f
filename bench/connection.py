"""A cheap client connection: as much of HTTP/1.1, event streams and WebSocket frames as is counted."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

MARK_SSE, END_SSE = b'"token"', b'"done"'
MARK_WS, END_WS = b'"type":"token"', b'"type":"done"'


class Stream:
    """What one reader saw of an answer: when it asked, and when tokens arrived."""

    def __init__(self) -> None:
        self.asked = time.perf_counter()
        self.times: list[float] = []
        self.tokens = 0
        self.complete = False

    @property
    def first(self) -> float:
        """Seconds to the first token."""
        return self.times[0] - self.asked

    @property
    def gaps(self) -> list[float]:
        """Seconds between reads that brought tokens."""
        return [later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False)]


class Connection(asyncio.Protocol):
    """Sends one request at a time: `request` for JSON, `stream` for SSE, `chat` for a WebSocket."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[Any] | None = None
        self._received = b""
        self._stream: Stream | None = None
        self.heard = asyncio.Event()  # the first token that came on this connection
        self._mark, self._end = MARK_SSE, END_SSE

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("closed by the server"))

    def data_received(self, data: bytes) -> None:
        if self._stream is not None:
            self._count(self._stream, data)
            return
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._received[:end].lower()
        place = head.find(b"\r\ncontent-length:")
        length = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
        if len(self._received) >= end + 4 + length and self._waiting is not None:
            status, body = int(head[9:12]), self._received[end + 4 :]
            self._received = b""
            self._waiting.set_result((status, body))

    def _count(self, stream: Stream, data: bytes) -> None:
        if count := data.count(self._mark):
            stream.tokens += count
            stream.times.append(time.perf_counter())
            self.heard.set()
        # Only the end may be cut in two by a read: the server sends each token's mark in one write.
        self._received = (self._received + data)[-400:]
        if self._end in self._received and self._waiting is not None and not self._waiting.done():
            stream.complete = True
            self._waiting.set_result(None)

    def _send(self, method: str, path: str, user: str, body: object = None, more: str = "") -> None:
        data = b"" if body is None else json.dumps(body).encode()
        self._received = b""
        self._waiting = self._loop.create_future()
        self._transport.write(
            f"{method} {path} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer user-{user}\r\n{more}"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n".encode()
            + data
        )

    async def request(self, method: str, path: str, user: str, body: object = None) -> tuple[int, bytes]:
        """Send a request whose response has a length. Returns its status and body."""
        self._stream = None
        self._send(method, path, user, body)
        assert self._waiting is not None
        answer: tuple[int, bytes] = await self._waiting
        return answer

    async def stream(self, method: str, path: str, user: str, body: object = None) -> Stream:
        """Read an event stream up to `done`."""
        self._mark, self._end = MARK_SSE, END_SSE
        self._stream = stream = Stream()
        self._send(method, path, user, body)
        assert self._waiting is not None
        await self._waiting
        return stream

    async def upgrade(self, user: str) -> None:
        """Open a WebSocket on this connection."""
        self._mark, self._end = MARK_WS, b'"type":"ready"'
        self._stream = Stream()
        self._send(
            "GET",
            "/api/ws",
            user,
            more="Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n",
        )
        assert self._waiting is not None
        await self._waiting
        self._end = END_WS

    async def chat(self, conversation: str) -> Stream:
        """Send a message over the socket, and read its answer up to `done`."""
        self._stream = stream = Stream()
        self._received = b""
        self._waiting = self._loop.create_future()
        command = {"type": "send", "ref": 1, "conversation_id": conversation, "content": "hello there"}
        self._transport.write(_masked(json.dumps(command).encode()))
        await self._waiting
        return stream


def _masked(payload: bytes) -> bytes:
    """A client's text frame of less than 64 KB: RFC 6455 section 5.2."""
    mask = os.urandom(4)
    size = bytes((0x80 | len(payload),)) if len(payload) < 126 else b"\xfe" + len(payload).to_bytes(2, "big")
    return b"\x81" + size + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))
