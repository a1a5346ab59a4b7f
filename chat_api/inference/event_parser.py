"""Reading a server-sent event stream, as the HTML standard (section 9.2.6) parses it."""

from __future__ import annotations

MAX_EVENT_BYTES = 262_144


class EventTooLarge(Exception):
    """An event of more than MAX_EVENT_BYTES."""


class EventParser:
    """The data of each event of a byte stream, however it is cut into chunks.

    Lines end in LF or CR LF (a lone CR, which the standard allows too, is sent by no model server). Fields
    other than `data` are passed over, and so is an event that the stream's end cuts off. Bytes are not
    decoded, so that a character split over two chunks stays whole.
    """

    __slots__ = ("_data", "_line", "_size")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the pieces of a line whose end is still to come
        self._data: list[bytes] = []  # the lines of an event whose end is still to come
        self._size = 0  # bytes in both

    @property
    def empty(self) -> bool:
        """Whether the next chunk begins an event."""
        return not self._size

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events that a chunk completes. Raises EventTooLarge."""
        found = []
        *ended, rest = chunk.split(b"\n")
        for piece in ended:
            line = piece
            if self._line:
                line = b"".join((*self._line, piece))
                self._size -= len(line) - len(piece)
                self._line.clear()
            line = line.removesuffix(b"\r")
            if line.startswith(b"data:"):
                self._data.append(line[5:].removeprefix(b" "))
                self._grow(len(line))
            elif not line and self._data:
                found.append(b"\n".join(self._data))
                self._data.clear()
                self._size = 0
        if rest:
            self._line.append(rest)
            self._grow(len(rest))
        return found

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge
