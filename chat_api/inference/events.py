"""Reading a server-sent event stream, as the HTML standard (section 9.2.6) parses it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator

MAX_EVENT_BYTES = 262_144


class EventTooLarge(Exception):
    """An event of more than MAX_EVENT_BYTES."""


async def events(chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The data of each event of a byte stream, however it is cut into chunks.

    Lines end in LF or CR LF (a lone CR, which the standard allows too, is sent by no model server). Fields
    other than `data` are passed over, and so is an event that the stream's end cuts off. Bytes are not
    decoded, so that a character split over two chunks stays whole.
    """
    rest = b""
    data: list[bytes] = []
    size = 0
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for ended in lines:
            line = ended.removesuffix(b"\r")
            if line.startswith(b"data:"):
                value = line[5:].removeprefix(b" ")
                size += len(value)
                if size > MAX_EVENT_BYTES:
                    raise EventTooLarge
                data.append(value)
            elif not line and data:
                yield b"\n".join(data)
                data, size = [], 0
        if len(rest) > MAX_EVENT_BYTES:
            raise EventTooLarge
