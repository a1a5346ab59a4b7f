"""Answers of neighbours that aren't streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import aiohttp


class UnreadableAnswer(Exception):
    """The answer isn't taken. The text says why, for the log."""


async def read_answer(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """Return the body, read piece by piece. The session must not decompress.

    Raises UnreadableAnswer for a body that is compressed or larger than `max_bytes`, and aiohttp's errors.
    """
    # Identity was asked for. A megabyte of gzip may be a gigabyte of text, and unpacking it blocks the loop.
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnreadableAnswer("the answer is compressed")
    body = bytearray()
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > max_bytes:
            raise UnreadableAnswer("the answer is too large")
    return bytes(body)
