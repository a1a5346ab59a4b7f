"""Events to a reader as server-sent events: CONTRACT section 2."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from aiohttp_sse import EventSourceResponse

if TYPE_CHECKING:
    from aiohttp import web

    from chat_api.reading import Reading
    from chat_api.relay import Event
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

# What a reader that was far behind is handed at once: it has to take this within `slow_reader_timeout`.
EVENTS_A_WRITE = 1000
BYTES_A_WRITE = 131_072


def encode(event: Event) -> bytes:
    """One event on the wire."""
    return b"id: %s:%d\ndata: %s\n\n" % (str(event.generation_id).encode(), event.seq, event.data)


def portion(frames: list[bytes]) -> list[bytes]:
    """The first ones, up to the one that makes BYTES_A_WRITE full."""
    size = 0
    for count, frame in enumerate(frames, 1):
        size += len(frame)
        if size >= BYTES_A_WRITE:
            return frames[:count]
    return frames


async def stream(request: web.Request, reading: Reading, settings: Settings) -> web.StreamResponse:
    """Send a log from a place on until its last event; events that wait together go out in one write.

    A reader that leaves just ends this; one that takes nothing for `slow_reader_timeout` is cut, and may come
    back with its last id. The generation knows of neither.
    """
    if request.transport is None:  # aiohttp_sse takes for granted that there is one
        raise ConnectionResetError("the reader left before its stream began")
    log, place = reading.log, reading.place
    response = EventSourceResponse(
        allow_all_methods=True,
        ping_interval=settings.keepalive_interval,
        send_timeout=settings.slow_reader_timeout,
    )
    try:
        await response.prepare(request)
        async with response:
            while True:
                frames = portion(log.read(place, EVENTS_A_WRITE, encode))
                if frames:
                    async with asyncio.timeout(settings.slow_reader_timeout):
                        await response.write(b"".join(frames))
                    place += len(frames)
                elif log.closed:
                    break
                else:
                    await log.wait(place)
    except ConnectionError:  # also where the kernel gave it up: `send_timeout` sets TCP_USER_TIMEOUT
        logger.debug("reader_left", place=place)
    except TimeoutError:
        logger.info("reader_cut", reason="it took nothing for too long", place=place)
        if request.transport is not None:
            request.transport.abort()
    return response
