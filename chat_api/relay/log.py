"""The log: one generation's events in memory, one writer, any number of readers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol
from uuid import UUID

# So many events become one object, since an object's own 33 bytes and its place in a list are more than what
# most events say. The newest ones, up to so many, are objects of their own.
PACKED = 32
EVENTS_A_WRITE = 1000  # what a reader that was far behind is handed at once

Encode = Callable[[int, bytes], bytes]
"""An event's number and data, to its form on the wire."""

Encoding = Callable[[UUID, UUID], Encode]
"""Makes the Encode of a generation's events: its id, its conversation's."""


class Reader(Protocol):
    """Who reads a log as it grows. Both are called by the log, so they must neither block nor raise."""

    def write(self, frames: bytes) -> None:
        """Take the next event, or several, in their form on the wire."""

    def end(self) -> None:
        """Be handed nothing more: the log closes, sends readers away, or grows by more than a write holds."""


class Audience:
    """Who reads a log on this worker: streams, subscriptions, callers that wait for the whole answer.

    Each is known by a function that says whether its connection has ended. While the model says nothing,
    nothing is written that would fail, so a reader's task may not have noticed yet.
    """

    __slots__ = ("_had_any", "_members")

    def __init__(self) -> None:
        self._members: list[Callable[[], bool]] = []
        self._had_any = False

    def enter(self, has_left: Callable[[], bool]) -> None:
        """Belong to it until `leave`."""
        self._members.append(has_left)
        self._had_any = True

    def leave(self, has_left: Callable[[], bool]) -> None:
        """Belong to it no more."""
        self._members.remove(has_left)

    @contextmanager
    def join(self, has_left: Callable[[], bool]) -> Iterator[None]:
        """Belong to it within the block."""
        self.enter(has_left)
        try:
            yield
        finally:
            self.leave(has_left)

    @property
    def is_there(self) -> bool:
        """Whether anybody reads."""
        return any(not has_left() for has_left in self._members)

    @property
    def has_left(self) -> bool:
        """Whether somebody has read, and nobody does any more."""
        return self._had_any and not self.is_there


class Log:
    """An append-only list of events with a last one: their data, JSON objects of one line in UTF-8.

    A reader keeps its place in the list, so that what was and what comes are read in the same way: nothing
    can fall between replay and live, and a reader that falls behind costs no memory. One that keeps up joins
    and is handed each event as it comes; all who joined share what is encoded for one of them. Not
    thread-safe: one event loop.

    Events are numbered from 0, the start event, by their places. A finished generation whose events are gone
    is told in fewer of them: then the last ones have higher numbers.
    """

    __slots__ = (
        "__weakref__",
        "_channels",
        "_endings",
        "_gap",
        "_newest",
        "_packs",
        "_skipped",
        "audience",
        "closed",
        "conversation_id",
        "count",
        "generation_id",
        "sent_away",
    )

    def __init__(self, generation_id: UUID, conversation_id: UUID) -> None:
        self.generation_id = generation_id
        self.conversation_id = conversation_id
        self.audience = Audience()
        self.count = 0  # of the events there are
        self._packs: list[bytes] = []  # PACKED events each, a line for each
        self._newest: list[bytes] = []
        self.closed = False
        self.sent_away = False  # this worker ends: readers go on at another one
        self._gap = self._skipped = 0  # from this place on, numbers are so much higher than places
        self._channels: dict[Encoding, tuple[Encode, tuple[Reader, ...]]] = {}
        self._endings: set[asyncio.Future[None]] = set()

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self.count + self._skipped

    def append(self, data: bytes, *, last: bool = False) -> None:
        """Add an event under the next number; `last` closes the log.

        Who has joined is handed it before this returns, so that what a model server says goes out to the
        readers in the very call that brought it: a task switch for each costs more than the event.
        """
        if self.closed:
            raise ValueError("the log is closed")
        seq = self.count + self._skipped
        self.count += 1
        newest = self._newest
        newest.append(data)
        if len(newest) == PACKED:
            self._pack()
        for encode, readers in self._channels.values():
            if readers:
                frame = encode(seq, data)
                for reader in readers:
                    reader.write(frame)
        if last:
            self.closed = True
            self._end()

    def extend(self, events: list[bytes]) -> None:
        """Add events that came together; they go out together."""
        if not events:
            return
        if len(events) > EVENTS_A_WRITE:  # too much for one write: each reads it in portions, in its own task
            self._send_on()
        place = self.count
        self.count += len(events)
        self._newest += events
        self._pack()
        for encoding, (_, readers) in self._channels.items():
            if readers:
                frames = b"".join(self.read(place, len(events), encoding))
                for reader in readers:
                    reader.write(frames)

    def skip_to(self, seq: int) -> None:
        """Give the next event this number, which is at least the next one; once in a log's life."""
        self._gap, self._skipped = self.count, seq - self.count

    def send_away(self) -> None:
        """Send the readers away before the last event: they find it elsewhere, with the number they have."""
        self.sent_away = True
        self._end()

    def join(self, reader: Reader, encoding: Encoding) -> None:
        """Hand a reader that has read all there is what comes from now on, until it leaves."""
        encode, readers = self._channels.get(encoding) or (self._encode(encoding), ())
        self._channels[encoding] = encode, (*readers, reader)

    def leave(self, reader: Reader, encoding: Encoding) -> None:
        """Hand it nothing more."""
        encode, readers = self._channels[encoding]
        self._channels[encoding] = encode, tuple([each for each in readers if each is not reader])

    def place_after(self, seq: int) -> int:
        """Where a reader that has seen `seq` continues; -1 has seen nothing.

        The reader may be ahead of a log that grows: it comes from the worker that speaks, and this log
        follows by way of the journal.
        """
        place = seq + 1
        if place > self._gap:  # beyond the last number that is also a place
            place = max(self._gap, place - self._skipped)
        return min(place, self.count) if self.closed else place

    def events(self, place: int, limit: int | None = None) -> list[bytes]:
        """The data of up to `limit` events from a place on."""
        end = self.count if limit is None else min(place + limit, self.count)
        first, last = place // PACKED, -(-end // PACKED)
        found = b"\n".join(self._packs[first:last]).split(b"\n") if first < len(self._packs) else []
        if last > len(self._packs):
            found += self._newest
            first = min(first, len(self._packs))
        return found[place - first * PACKED : end - first * PACKED]

    def read(self, place: int, limit: int, encoding: Encoding) -> list[bytes]:
        """Up to `limit` events from a place on, encoded; empty when there is nothing new."""
        encode = self._encode(encoding)
        return [
            encode(each + (self._skipped if each >= self._gap else 0), data)
            for each, data in enumerate(self.events(place, limit), place)
        ]

    async def wait_closed(self) -> bool:
        """Until the last event is there; False where the readers are sent away before."""
        if not self.closed and not self.sent_away:
            ending = asyncio.get_running_loop().create_future()
            self._endings.add(ending)
            try:
                await ending
            finally:
                self._endings.discard(ending)
        return self.closed

    def _pack(self) -> None:
        while len(self._newest) >= PACKED:
            self._packs.append(b"\n".join(self._newest[:PACKED]))
            del self._newest[:PACKED]

    def _encode(self, encoding: Encoding) -> Encode:
        known = self._channels.get(encoding)
        return known[0] if known else encoding(self.generation_id, self.conversation_id)

    def _send_on(self) -> None:
        for encoding, (encode, readers) in self._channels.items():
            self._channels[encoding] = encode, ()
            for reader in readers:
                reader.end()

    def _end(self) -> None:
        self._send_on()
        for ending in self._endings:
            if not ending.done():
                ending.set_result(None)
