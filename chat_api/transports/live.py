"""A reader's place in a log, and its stay there while it keeps up."""

from __future__ import annotations

import abc
import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.relay import Encoding, Log


class LiveReader(abc.ABC):
    """Handed each event in the call that appends it, as long as its connection takes them.

    `place` is where it continues. A reader that falls behind is left to its own task, which reads the log.
    """

    __slots__ = ("_left", "encoding", "log", "place")

    def __init__(self, log: Log, place: int, encoding: Encoding) -> None:
        self.log = log
        self.place = place
        self.encoding = encoding
        self._left: asyncio.Future[None] | None = None

    @abc.abstractmethod
    def write(self, frames: bytes) -> None:
        """Put them on the wire, or keep them from it and `end` where that is broken."""

    async def stay(self) -> None:
        """Be handed what comes, from the log's end on, until `end` is called or the log ends.

        A reader that comes from another worker may be ahead of this one's log: it has its turn at each event.
        """
        left = self._left = asyncio.get_running_loop().create_future()
        ahead = self.place > self.log.count
        reader = _Ahead(self) if ahead else self
        self.log.join(reader, self.encoding)
        try:
            await left
        finally:
            self.log.leave(reader, self.encoding)

    def end(self) -> None:
        """Go on in the reader's own task, after the newest event."""
        self.place = max(self.place, self.log.count)
        self.log.leave(self, self.encoding)
        if self._left is not None and not self._left.done():
            self._left.set_result(None)


class _Ahead:
    """Wakes a reader that has already what the log is given."""

    def __init__(self, reader: LiveReader) -> None:
        self._reader = reader
        self._place = reader.place

    def write(self, _: bytes) -> None:
        self.end()

    def end(self) -> None:
        self._reader.end()
        self._reader.place = self._place
