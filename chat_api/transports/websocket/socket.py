"""Events and answers as WebSocket frames: docs/contract.md section 3."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import orjson
import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMsgType, web

from chat_api import errors
from chat_api.events import dump, kind

if TYPE_CHECKING:
    from uuid import UUID

    from aiohttp.abc import AbstractStreamWriter

    from chat_api.observe.metrics import Metrics
    from chat_api.relay import Encode
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

ADDED_NAMES = {"type", "seq", "conversation_id", "generation_id"}  # to an event, for a frame
CLOSING_SECONDS = 2  # what a client gets to answer a close frame


class Close(NamedTuple):
    """Why the server ends a socket: a close code and a sentence of at most 123 bytes."""

    code: int
    reason: str


UNAUTHENTICATED = Close(4401, "Not authenticated, or the token has expired: sign in and connect again.")
NO_AUTHENTICATION = Close(4408, "The first frame must authenticate, within ten seconds.")
ORIGIN_REFUSED = Close(1008, "Pages of this origin may not connect.")
GOING_AWAY = Close(1001, "This server is being restarted: connect again.")
TOO_SLOW = Close(1013, "The client reads too slowly: connect again and continue with after.")
FAILED = Close(1011, "Something went wrong in this service: connect again.")


def frame(payload: bytes) -> bytes:
    """A text frame on the wire, RFC 6455 section 5.2.

    A server's frames carry no mask, so that one serves every reader, header and all.
    """
    length = len(payload)
    if length < 126:
        return b"\x81%c%b" % (length, payload)
    if length < 65536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


def framed(generation_id: UUID, conversation_id: UUID) -> Encode:
    """Events on the wire: their own names, and those that say what they are and where they belong."""
    ids = b'"conversation_id":"%b","generation_id":"%b",' % (
        str(conversation_id).encode(),
        str(generation_id).encode(),
    )

    def encode(seq: int, data: bytes) -> bytes:
        what = kind(data)
        if what == b"start":  # it has its ids already
            return frame(b'%b,"type":"start","seq":%d}' % (data[:-1], seq))
        # Quotes within a text are escaped, so these bytes are a name, or a text that consists of it.
        if b'"type"' in data or b'"seq"' in data or b'_id"' in data:
            data = _without_added_names(data)
        return frame(b'%b,"type":"%b",%b"seq":%d}' % (data[:-1], what, ids, seq))

    return encode


def _without_added_names(data: bytes) -> bytes:
    """An event without the names that a frame adds: the model server may have sent fields of these names."""
    event = orjson.loads(data)
    return dump({name: value for name, value in event.items() if name not in ADDED_NAMES})


class Socket:
    """A WebSocket whose frames go out ready-made, and whose client can't make anything wait for ever.

    One task receives; any may send or `end` it. Whole frames are written in one piece, so that those of
    several tasks don't mix. Raises UpgradeRequired when the request doesn't ask for one.
    """

    def __init__(self, request: web.Request, settings: Settings, metrics: Metrics) -> None:
        self._request = request
        self._metrics = metrics
        self._protocol = request.protocol
        self._slow_reader_timeout = settings.slow_reader_timeout
        self._response = web.WebSocketResponse(
            timeout=CLOSING_SECONDS,
            heartbeat=settings.heartbeat_interval,
            compress=False,  # for frames this small it costs more than it saves
            max_msg_size=settings.max_frame_bytes + 1,  # aiohttp refuses what reaches it
        )
        if not self._response.can_prepare(request):
            raise errors.UpgradeRequired
        self._writer: AbstractStreamWriter | None = None
        self._draining: asyncio.Task[None] | None = None
        self._why: Close | None = None
        self._deadline: float | None = None
        self._why_then = FAILED
        self._receiving: asyncio.Timeout | None = None
        self.was_too_large = False  # a message over `max_frame_bytes` has ended it

    async def open(self) -> None:
        """Take the connection over from HTTP."""
        self._writer = await self._response.prepare(self._request)

    @property
    def response(self) -> web.StreamResponse:
        """What an aiohttp handler returns in the end."""
        return self._response

    def end(self, why: Close) -> None:
        """Receive no more; the first reason counts."""
        if self._why is None:
            self._why = why
            if self._receiving is not None and not self._receiving.expired():
                self._receiving.reschedule(asyncio.get_running_loop().time())

    def end_in(self, seconds: float, why: Close) -> None:
        """End it by then, instead of what was set before; infinity: never."""
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._why_then = why

    async def receive(self) -> str | bytes | None:
        """The next message, bytes for a binary one; None when the socket ends."""
        loop = asyncio.get_running_loop()
        if self._deadline is not None and loop.time() >= self._deadline:
            self.end(self._why_then)
        if self._why is not None:
            return None
        when = None if self._deadline == float("inf") else self._deadline
        try:
            async with asyncio.timeout_at(when) as self._receiving:
                message = await self._response.receive()
        except TimeoutError:
            self.end(self._why_then)
            return None
        finally:
            self._receiving = None
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if isinstance(message.data, WebSocketError):
            self.was_too_large = message.data.code == WSCloseCode.MESSAGE_TOO_BIG
        return None  # closed, broken off, or not as the protocol wants it: aiohttp has seen to it

    async def send(self, frames: bytes) -> None:
        """Write whole frames, and wait until the client has taken most of what was written.

        Raises ConnectionResetError when the socket is over, and ends it when the client takes nothing for
        `slow_reader_timeout`.
        """
        await self.wait_for_room()  # another task may have filled it
        if not self.push(frames):
            await self.wait_for_room()

    def push(self, frames: bytes) -> bool:
        """Write whole frames at once; false when they were the last that the client takes for now.

        Then `wait_for_room` tells when it takes more, or that it is over.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._response.closed:
            return False
        transport.write(frames)
        return not self._protocol.writing_paused

    async def close(self) -> None:
        """Tell the client why, if it can still be told, and let go of the connection in any case."""
        transport = self._request.transport
        ended = self._why is not None and self._writer is not None and not self._response.closed
        if self._why is not None and ended:
            logger.info("socket_ended", close_code=self._why.code, reason=self._why.reason)
            await self._response.close(code=self._why.code, message=self._why.reason.encode(), drain=False)
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        if transport is not None and transport.get_write_buffer_size():
            # The loop closes a connection only when all is written, and this client may never read it.
            loop = asyncio.get_running_loop()
            loop.call_later(0 if ended else CLOSING_SECONDS, transport.abort)

    async def wait_for_room(self) -> None:
        """Until the client has taken most of what was written; raises as `send` does."""
        while self._protocol.writing_paused and self._request.transport is not None:
            if self._draining is None or self._draining.done():
                self._draining = asyncio.create_task(self._drain(), name="socket-drain")
            # Not a time-out around it: that would cancel the one future on which all who drain wait.
            done, _ = await asyncio.wait({self._draining}, timeout=self._slow_reader_timeout)
            if not done:
                if self._why is None:
                    self._metrics.readers_cut.labels("websocket").inc()
                self.end(TOO_SLOW)
                raise ConnectionResetError
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._response.closed:
            raise ConnectionResetError

    async def _drain(self) -> None:
        assert self._writer is not None  # noqa: S101 - a socket is opened before it is used
        await self._writer.drain()


SOCKETS: web.AppKey[set[Socket]] = web.AppKey("sockets", set)
