"""Files of any size that are made while they are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import aclosing

import structlog
from aiohttp import web

from chat_api import errors
from chat_api.exports.file_names import attachment
from chat_api.http.context import METRICS, SETTINGS

logger = structlog.get_logger(__name__)

PIECE_BYTES = 65_536  # about what a client has to take within `slow_reader_timeout`


async def respond_with_file(
    request: web.Request, texts: AsyncGenerator[str, None], content_type: str, name: str, seconds: float
) -> web.StreamResponse:
    """A response with a file of this name, as fast as the client takes it. `texts` is closed at its end.

    Nothing is sent before there is a first piece, so that what fails until then gets its own status. After
    it, the connection breaks where the file can't be completed, so that the client sees that it isn't whole;
    also if the client takes less than a piece in `slow_reader_timeout`, or all in more than `seconds`.
    """
    response = web.StreamResponse(
        headers={"Content-Type": content_type, "Content-Disposition": attachment(name)}
    )
    patience = request.app[SETTINGS].slow_reader_timeout
    whole = asyncio.timeout(seconds)
    try:
        async with whole, aclosing(texts), aclosing(_pieces(request, texts)) as pieces:
            first = await anext(pieces, b"")
            await response.prepare(request)
            if request.method != "HEAD":
                await _write(response, first, patience)
                async for piece in pieces:
                    await _write(response, piece, patience)
            async with asyncio.timeout(patience):
                await response.write_eof()
    except (errors.ChatError, ConnectionError, TimeoutError) as error:
        if not response.prepared:
            raise
        if isinstance(error, TimeoutError):
            reason = "it took too long for the whole of it" if whole.expired() else "it took too little"
            logger.info("reader_cut", reason=reason)
            request.app[METRICS].readers_cut.labels("http").inc()
        elif isinstance(error, ConnectionError):
            logger.debug("reader_left")
        _cut(request)  # a ChatError was logged where it was raised
    except BaseException:
        if response.prepared:
            _cut(request)
        raise
    return response


async def _write(response: web.StreamResponse, piece: bytes, patience: float) -> None:
    async with asyncio.timeout(patience):
        await response.write(piece)


def _cut(request: web.Request) -> None:
    if request.transport is not None:
        request.transport.abort()


async def _pieces(request: web.Request, texts: AsyncIterable[str]) -> AsyncGenerator[bytes, None]:
    """The same in larger pieces. Half a surrogate pair, which no UTF-8 has, becomes a question mark.

    Raises ConnectionResetError when the client has left, also while nothing is there to be written.
    """
    waiting: list[bytes] = []
    size = 0
    async for text in texts:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client has left")
        waiting.append(text.encode(errors="replace"))
        size += len(waiting[-1])
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)
