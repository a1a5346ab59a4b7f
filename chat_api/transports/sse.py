"""Server-sent events (docs/contract.md section 2)."""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog
from aiohttp import HttpVersion11
from aiohttp_sse import EventSourceResponse

from chat_api import errors, events
from chat_api.relay import EVENTS_A_WRITE
from chat_api.transports.live import LiveReader

if TYPE_CHECKING:
    from uuid import UUID

    from aiohttp import web
    from aiohttp.abc import AbstractStreamWriter

    from chat_api.generation.readers import Reading
    from chat_api.observe.metrics import Metrics
    from chat_api.relay import Encode
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

Translate = Callable[[Sequence[bytes]], bytes]
"""Events' data, to the server-sent events that a reader gets in their place."""

BYTES_A_WRITE = 131_072  # about what a reader has to take within `slow_reader_timeout`
EARLY_SECONDS = 30


def unchunked(generation_id: UUID, _: UUID) -> Encode:
    """The encoding of events for HTTP/1.0, whose bodies have no chunks."""
    head = b"id: %b:" % str(generation_id).encode()
    return lambda seq, data: b"%b%d\ndata: %b\n\n" % (head, seq, data)


def chunked(generation_id: UUID, _: UUID) -> Encode:
    """The encoding of events for HTTP/1.1: each is one chunk of the body (RFC 9112 section 7.1)."""
    head = b"id: %b:" % str(generation_id).encode()

    def encode(seq: int, data: bytes) -> bytes:
        frame = b"%b%d\ndata: %b\n\n" % (head, seq, data)
        return b"%x\r\n%b\r\n" % (len(frame), frame)

    return encode


def untranslated(_: UUID, __: UUID) -> Encode:
    """Events as they are, a line each, for a stream that translates them."""
    return lambda _, data: b"%b\n" % data


def portion(frames: list[bytes]) -> list[bytes]:
    """The first frames, up to and including the one that reaches BYTES_A_WRITE."""
    size = 0
    for count, frame in enumerate(frames, 1):
        size += len(frame)
        if size >= BYTES_A_WRITE:
            return frames[:count]
    return frames


async def stream(
    request: web.Request,
    reading: Reading,
    settings: Settings,
    metrics: Metrics,
    expires_at: float,
    translate: Translate | None = None,
) -> web.StreamResponse:
    """Send a log's events, from the reader's place to the last one. Waiting events go out in one write.

    `translate` makes other server-sent events of them, for this reader alone.

    This ends when the reader leaves. A reader that takes nothing for `slow_reader_timeout` is cut. The stream
    ends without `done` when this worker drains, and with `expired_streams` = `cut` by `expires_at` (in Unix
    seconds, when the reader's token expires), after an `error` event. In each case the reader may come back
    with its last id. None of this affects the generation.
    """
    if request.transport is None:  # aiohttp_sse assumes that there is one
        raise ConnectionResetError("the reader left before its stream began")
    response = EventSourceResponse(
        allow_all_methods=True,
        ping_interval=settings.keepalive_interval,
        send_timeout=settings.slow_reader_timeout,
    )
    metrics.streams.inc()
    try:
        connection = await response.prepare(request)
        async with response:
            ends = settings.expired_streams == "cut"
            allowed = asyncio.timeout(allowed_seconds(expires_at - time.time()) if ends else None)
            try:
                async with allowed:
                    await _send(request, connection, reading, settings.slow_reader_timeout, translate)
            except TimeoutError:
                if not allowed.expired():
                    raise
                logger.info("reader_sent_away", reason="its token is about to expire")
                _write_expired(request)
            async with asyncio.timeout(settings.slow_reader_timeout):
                await response.write_eof()  # the reader may have stopped reading just now
    except (ConnectionError, TimeoutError) as error:
        # `send_timeout` sets TCP_USER_TIMEOUT. If the kernel gives up first, the time-out is the cause.
        if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):
            logger.info("reader_cut", reason="it took nothing for too long")
            metrics.readers_cut.labels("sse").inc()
        else:
            logger.debug("reader_left")
        if request.transport is not None:
            request.transport.abort()
    finally:
        metrics.streams.dec()
    return response


async def _send(
    request: web.Request,
    connection: AbstractStreamWriter | None,
    reading: Reading,
    patience: float,
    translate: Translate | None,
) -> None:
    writer = _Writer(request, reading, translate)
    while connection is not None and not writer.ended:
        if request.protocol.writing_paused:
            async with asyncio.timeout(patience):
                await connection.drain()
        else:
            await writer.keep_up()


def _write_expired(request: web.Request) -> None:
    """Tell a reader why its stream ends here. Without an id: the reader comes back with its last one."""
    frame = b"data: %b\n\n" % events.error(errors.InvalidToken())
    if request.version >= HttpVersion11:
        frame = b"%x\r\n%b\r\n" % (len(frame), frame)
    if request.transport is not None and not request.transport.is_closing():
        request.transport.write(frame)


def allowed_seconds(seconds: float) -> float | None:
    """How long to stream to a reader whose token expires in `seconds`; None: without limit.

    It is shorter by a random part, up to a tenth and at most EARLY_SECONDS. So readers whose tokens were
    issued together don't all come back together.
    """
    return None if math.isinf(seconds) else seconds - random.uniform(0, min(seconds / 10, EARLY_SECONDS))


class _Translated:
    """Stands in for a connection's transport: translates what is written, and makes it a chunk."""

    def __init__(self, transport: asyncio.Transport, translate: Translate, *, is_chunked: bool) -> None:
        self._transport = transport
        self._translate = translate
        self._is_chunked = is_chunked
        self.is_closing = transport.is_closing

    def write(self, frames: bytes) -> None:
        """Write lines that `untranslated` made."""
        data = self._translate(frames.split(b"\n")[:-1])
        if data:  # a chunk without any would end the body
            self._transport.write(b"%x\r\n%b\r\n" % (len(data), data) if self._is_chunked else data)


class _Writer(LiveReader):
    """Writes a log's events directly to the connection's transport.

    While the reader keeps up, events are written in the call that appends them. `StreamResponse.write` would
    need a task, woken for each event and each reader. For a response without length and compression it would
    only add the chunk's framing, which is encoded once for all readers. When the reader doesn't keep up, or
    the log or the connection has ended, the request's own task goes on.
    """

    __slots__ = ("_protocol", "_transport")

    def __init__(self, request: web.Request, reading: Reading, translate: Translate | None = None) -> None:
        transport = request.transport
        if transport is None:
            raise ConnectionResetError
        is_chunked = request.version >= HttpVersion11
        plain = chunked if is_chunked else unchunked
        super().__init__(reading.log, reading.place, plain if translate is None else untranslated)
        self._transport: asyncio.Transport | _Translated = transport
        if translate is not None:
            self._transport = _Translated(transport, translate, is_chunked=is_chunked)
        self._protocol = request.protocol

    @property
    def ended(self) -> bool:
        """Whether the log's last event for this reader was written and taken.

        Raises ConnectionResetError.
        """
        if self._transport.is_closing():
            raise ConnectionResetError
        caught_up = self.place >= self.log.count
        return caught_up and (self.log.closed or self.log.sent_away) and not self._protocol.writing_paused

    async def keep_up(self) -> None:
        """Write the waiting events, up to a portion.

        If those were all, write each event as it is appended, until the last one or until the connection
        takes no more.
        """
        log = self.log
        if frames := portion(log.read(self.place, EVENTS_A_WRITE, self.encoding)):
            self._transport.write(b"".join(frames))
            self.place += len(frames)
        if log.closed or log.sent_away or self._protocol.writing_paused or self.place < log.count:
            await asyncio.sleep(0)  # if the reader is far behind, other tasks run between two portions
        else:
            await self.stay()

    def write(self, frames: bytes) -> None:
        """Send frames, and end when the connection takes no more for now."""
        if self._transport.is_closing():
            self.end()
            return
        self._transport.write(frames)
        if self._protocol.writing_paused:
            self.end()
