"""A WebSocket and its frames (docs/contract.md section 3)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import orjson
import structlog
from aiohttp import WebSocketError, WSCloseCode, WSMessage, WSMsgType, web

from chat_api import errors
from chat_api.events import dump, kind
from chat_api.libraries.aiohttp import WebSocketResponse

if TYPE_CHECKING:
    from uuid import UUID

    from aiohttp.abc import AbstractStreamWriter

    from chat_api.observe.metrics import Metrics
    from chat_api.relay import Encode
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

ADDED_NAMES = {"type", "seq", "conversation_id", "generation_id"}  # the fields that a frame adds to an event
CLOSING_SECONDS = 2  # how long a client has to answer a close frame


class Close(NamedTuple):
    """Why the server ends a socket: a close code and a sentence of at most 123 bytes."""

    code: int
    reason: str


UNAUTHENTICATED = Close(4401, "Not authenticated, or the token has expired. Sign in and connect again.")
NO_AUTHENTICATION = Close(4408, "The first frame must authenticate, within ten seconds.")
MESSAGE_TOO_SLOW = Close(4408, "A message took too long to arrive. Connect again.")
ORIGIN_REFUSED = Close(1008, "Pages of this origin may not connect.")
GOING_AWAY = Close(1001, "This server is being restarted. Connect again.")
ASK_AGAIN = Close(1001, "Whoever signed you in is to be asked again. Connect again.")
TOO_SLOW = Close(1013, "The client reads too slowly. Connect again and continue with after.")
FAILED = Close(1011, "Something went wrong in the service. Connect again.")


def frame(payload: bytes) -> bytes:
    """A text frame as it is sent (RFC 6455 section 5.2).

    A server's frames aren't masked, so the same bytes, header included, serve every reader.
    """
    length = len(payload)
    if length < 126:
        return b"\x81%c%b" % (length, payload)
    if length < 65536:
        return b"\x81\x7e%b%b" % (length.to_bytes(2, "big"), payload)
    return b"\x81\x7f%b%b" % (length.to_bytes(8, "big"), payload)


def framed(generation_id: UUID, conversation_id: UUID) -> Encode:
    """The encoding of events as frames: an event's own fields, its type, its ids and its number."""
    ids = b'"conversation_id":"%b","generation_id":"%b",' % (
        str(conversation_id).encode(),
        str(generation_id).encode(),
    )

    def encode(seq: int, data: bytes) -> bytes:
        what = kind(data)
        if what == b"start":  # it has the ids already
            return frame(b'%b,"type":"start","seq":%d}' % (data[:-1], seq))
        # Quotes within a string are escaped, so these bytes are a name, or a string equal to it.
        if b'"type"' in data or b'"seq"' in data or b'_id"' in data:
            data = _without_added_names(data)
            if data == b"{}":
                return frame(b'{"type":"%b",%b"seq":%d}' % (what, ids, seq))
        return frame(b'%b,"type":"%b",%b"seq":%d}' % (data[:-1], what, ids, seq))

    return encode


def _without_added_names(data: bytes) -> bytes:
    """An event without the names that a frame adds; the model server may have sent such fields."""
    event = orjson.loads(data)
    return dump({name: value for name, value in event.items() if name not in ADDED_NAMES})


class Socket:
    """A WebSocket whose frames are sent as they were encoded. A client can't make anything wait for ever.

    One task receives; any task may send or `end` it. Whole frames are written at once, so that the frames of
    several tasks don't mix. Raises UpgradeRequired if the request doesn't ask for a WebSocket.
    """

    def __init__(self, request: web.Request, settings: Settings, metrics: Metrics) -> None:
        self._request = request
        self._metrics = metrics
        self._protocol = request.protocol
        self._slow_reader_timeout = settings.slow_reader_timeout
        self._request_timeout = settings.request_timeout
        self._response = WebSocketResponse(
            self._note_data,
            timeout=CLOSING_SECONDS,
            heartbeat=settings.heartbeat_interval,
            autoping=False,  # what completes a frame must be seen here
            compress=False,  # compression costs more than it saves for such small frames
            max_msg_size=settings.max_frame_bytes + 1,  # aiohttp refuses messages of this size too
        )
        try:
            is_handshake = bool(self._response.can_prepare(request))
        except ValueError:  # a header isn't ASCII, or no text at all: aiohttp fails to read or to quote it
            is_handshake = False
        if not is_handshake:
            raise errors.UpgradeRequired
        self._writer: AbstractStreamWriter | None = None
        self._draining: asyncio.Task[None] | None = None
        self._why: Close | None = None
        self._deadline: float | None = None
        self._why_then = FAILED
        self._receiving: asyncio.Timeout | None = None
        self._is_unfinished = False  # something has arrived since the last whole frame
        self.was_too_large = False  # whether a message over `max_frame_bytes` has ended it

    async def open(self) -> None:
        """Upgrade the connection from HTTP."""
        self._writer = await self._response.prepare(self._request)

    @property
    def response(self) -> web.StreamResponse:
        """The response that aiohttp's handler returns at the end."""
        return self._response

    def has_left(self) -> bool:
        """Whether the client gets nothing more."""
        transport = self._request.transport
        is_gone = transport is None or transport.is_closing() or self._response.closed
        return is_gone or self._why is not None

    def end(self, why: Close) -> None:
        """Stop receiving. If this is called again, the first reason counts."""
        if self._why is None:
            self._why = why
            if self._receiving is not None and not self._receiving.expired():
                self._receiving.reschedule(asyncio.get_running_loop().time())

    def end_in(self, seconds: float, why: Close) -> None:
        """End the socket after `seconds`; infinity: never. This replaces an earlier deadline."""
        never = seconds == float("inf")
        self._deadline = None if never else asyncio.get_running_loop().time() + seconds
        self._why_then = why

    async def receive(self) -> str | bytes | None:
        """The next message, as bytes if it is binary; None when the socket ends.

        A message that has begun, and takes longer than `request_timeout`, ends the socket.
        """
        message = await self._receive_frame()
        while message is not None and message.type in (WSMsgType.PING, WSMsgType.PONG):
            if message.type is WSMsgType.PING:
                await self._response.pong(message.data)
            message = await self._receive_frame()
        if message is None:
            return None
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data: str | bytes = message.data
            return data
        if isinstance(message.data, WebSocketError):
            self.was_too_large = message.data.code == WSCloseCode.MESSAGE_TOO_BIG
        return None  # closed, broken off, or a protocol error; aiohttp has handled it

    async def _receive_frame(self) -> WSMessage | None:
        """The next whole frame, or whole message; None when the socket is to end."""
        loop = asyncio.get_running_loop()
        if self._deadline is not None and loop.time() >= self._deadline:
            self.end(self._why_then)
        if self._why is not None:
            return None
        try:
            async with asyncio.timeout_at(self._deadline) as self._receiving:
                if self._is_unfinished:
                    self._hurry(self._receiving)
                message = await self._response.receive()
        except TimeoutError:
            in_time = self._deadline is None or loop.time() < self._deadline
            self.end(MESSAGE_TOO_SLOW if in_time else self._why_then)
            return None
        finally:
            self._receiving = None
        self._is_unfinished = False
        return message

    def _note_data(self) -> None:
        """Something has arrived: a frame, or a part of one, which has to be whole in time."""
        if not self._is_unfinished:
            self._is_unfinished = True
            if self._receiving is not None:
                self._hurry(self._receiving)

    def _hurry(self, receiving: asyncio.Timeout) -> None:
        # Not if it has expired, or is about to: `end` has set it to now.
        when = asyncio.get_running_loop().time() + self._request_timeout
        before = receiving.when()
        if not receiving.expired() and (before is None or when < before):
            receiving.reschedule(when)

    async def send(self, frames: bytes) -> None:
        """Write whole frames, and wait until the client has taken most of what was written.

        Raises ConnectionResetError if the connection has ended. If the client takes nothing for
        `slow_reader_timeout`, ends the socket and raises it too.
        """
        await self.wait_for_room()  # another task may have filled the buffer
        if not self.push(frames):
            await self.wait_for_room()

    def push(self, frames: bytes) -> bool:
        """Write whole frames without waiting. Returns whether the client takes more for now.

        If it doesn't, `wait_for_room` waits until it does, and raises if the connection has ended.
        """
        transport = self._request.transport
        if transport is None or transport.is_closing() or self._response.closed:
            return False
        transport.write(frames)
        return not self._protocol.writing_paused

    async def close(self) -> None:
        """Send the client the close code, if it can still be reached, and release the connection."""
        transport = self._request.transport
        ended = self._why is not None and self._writer is not None and not self._response.closed
        if self._why is not None and ended:
            logger.info("socket_ended", close_code=self._why.code, reason=self._why.reason)
            await self._response.close(code=self._why.code, message=self._why.reason.encode(), drain=False)
        if self._draining is not None:
            self._draining.cancel()
            await asyncio.gather(self._draining, return_exceptions=True)
        if transport is not None and transport.get_write_buffer_size():
            # The loop closes a connection only once everything is written, and the client may never read it.
            loop = asyncio.get_running_loop()
            loop.call_later(0 if ended else CLOSING_SECONDS, transport.abort)

    async def wait_for_room(self) -> None:
        """Wait until the client has taken most of what was written. Raises as `send` does."""
        while self._protocol.writing_paused and self._request.transport is not None:
            if self._draining is None or self._draining.done():
                self._draining = asyncio.create_task(self._drain(), name="socket-drain")
            # Not asyncio.timeout: that would cancel the one future that all draining tasks wait for.
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
