"""Events to a reader as server-sent events: CONTRACT section 2."""

from __future__ import annotations

import asyncio
import math
import random
import time
from typing import TYPE_CHECKING

import structlog
from aiohttp_sse import EventSourceResponse

if TYPE_CHECKING:
    from aiohttp import web

    from chat_api.reading import Reading
    from chat_api.relay import Event
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

EVENTS_A_WRITE = 1000  # bounds what a reader that was far behind is handed at once
EARLY_SECONDS = 30


def encode(event: Event) -> bytes:
    """One event on the wire."""
    return b"id: %s:%d\ndata: %s\n\n" % (str(event.generation_id).encode(), event.seq, event.data)


async def stream(
    request: web.Request, reading: Reading, settings: Settings, expires_at: float
) -> web.StreamResponse:
    """Send a log from a place on until its last event; events that wait together go out in one write.

    A reader that leaves just ends this; one that takes nothing for `slow_reader_timeout` is cut. The stream
    ends without `done` by `expires_at` (Unix seconds, when the reader's token ends), and when this worker
    does. Each may come back with its last id. The generation knows of none of it.
    """
    response = EventSourceResponse(
        allow_all_methods=True,
        ping_interval=settings.keepalive_interval,
        send_timeout=settings.slow_reader_timeout,
    )
    try:
        await response.prepare(request)
        async with response:
            allowed = asyncio.timeout(allowed_seconds(expires_at - time.time()))
            try:
                async with allowed:
                    await _send(response, reading, settings.slow_reader_timeout)
            except TimeoutError:
                if not allowed.expired():
                    raise
                logger.info("reader_sent_away", reason="its token ends")
            async with asyncio.timeout(settings.slow_reader_timeout):
                await response.write_eof()  # it may have stopped reading just now
    except ConnectionResetError:
        logger.debug("reader_left")
    except TimeoutError:
        logger.info("reader_cut", reason="it took nothing for too long")
        if request.transport is not None:
            request.transport.abort()
    return response


async def _send(response: EventSourceResponse, reading: Reading, patience: float) -> None:
    log, place = reading.log, reading.place
    while True:
        frames = log.read(place, EVENTS_A_WRITE, encode)
        if frames:
            async with asyncio.timeout(patience):
                await response.write(b"".join(frames))
            place += len(frames)
        elif log.closed or log.parted:
            return
        else:
            await log.wait(place)


def allowed_seconds(seconds: float) -> float | None:
    """How long a token of so many seconds lets read: up to a tenth less, at most EARLY_SECONDS.

    Tokens that were issued together don't bring all their readers back together.
    """
    return None if math.isinf(seconds) else seconds - random.uniform(0, min(seconds / 10, EARLY_SECONDS))
