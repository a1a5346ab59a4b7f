"""A reader that gets each event as it is appended, as long as it keeps up."""

from __future__ import annotations

import abc
import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.relay import Encoding, Log


class LiveReader(abc.ABC):
    """Is handed each event in the call that appends it, as long as its connection takes them.

    `place` is where it continues. When it falls behind, its own task reads the log instead.
    """

    __slots__ = ("_ended", "encoding", "log", "place")

    def __init__(self, log: Log, place: int, encoding: Encoding) -> None:
        self.log = log
        self.place = place
        self.encoding = encoding
        self._ended: asyncio.Future[None] | None = None

    @abc.abstractmethod
    def write(self, frames: bytes) -> None:
        """Send frames; if the connection is closed, drop them and call `end`."""

    async def stay(self) -> None:
        """Be handed new events until `end` is called or the log ends.

        A reader that comes from another worker may be ahead of this worker's log. It then ends at the next
        event and is called again, until the log has caught up.
        """
        ended = self._ended = asyncio.get_running_loop().create_future()
        ahead = self.place > self.log.count
        reader = _Ahead(self) if ahead else self
        self.log.join(reader, self.encoding)
        try:
            await ended
        finally:
            self.log.leave(reader, self.encoding)

    def end(self) -> None:
        """Hand over to the reader's own task, which continues after the newest event."""
        self.place = max(self.place, self.log.count)
        self.log.leave(self, self.encoding)
        if self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


class _Ahead:
    """Stands in for a reader that already has the log's next events: wakes it, and keeps its place."""

    def __init__(self, reader: LiveReader) -> None:
        self._reader = reader
        self._place = reader.place

    def write(self, _: bytes) -> None:
        self.end()

    def end(self) -> None:
        self._reader.end()
        self._reader.place = self._place
