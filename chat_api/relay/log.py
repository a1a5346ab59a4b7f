"""The log: one generation's events in memory, one writer, any number of readers."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from operator import attrgetter
from typing import NamedTuple
from uuid import UUID


class Event(NamedTuple):
    """What readers see. `seq` counts from 0, the start event; `data` is a JSON object in a line of UTF-8."""

    generation_id: UUID
    conversation_id: UUID
    seq: int
    data: bytes


Encode = Callable[[Event], bytes]
NOTHING: tuple[int, int, list[bytes]] = (0, 0, [])  # encoded so far


class Log:
    """An append-only list of events with a last one.

    A reader keeps its place in the list, so that what was and what comes are read in the same way: nothing
    can fall between replay and live, and a reader that falls behind costs no memory. Readers that keep up
    share what is encoded for one of them. Not thread-safe: one event loop.
    """

    __slots__ = (
        "__weakref__",
        "_encoded",
        "_listeners",
        "_next_seq",
        "closed",
        "conversation_id",
        "events",
        "generation_id",
        "parted",
    )

    def __init__(self, generation_id: UUID, conversation_id: UUID) -> None:
        self.generation_id = generation_id
        self.conversation_id = conversation_id
        self.events: list[Event] = []
        self.closed = False
        self.parted = False  # this worker ends: readers go on at another one
        self._next_seq = 0
        self._encoded: dict[Encode, tuple[int, int, list[bytes]]] = {}  # the last slice: from, to, its events
        self._listeners: dict[Callable[[], None], None] = {}  # in the order in which they came

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self._next_seq

    def append(self, data: bytes, *, seq: int | None = None, last: bool = False) -> None:
        """Add an event under the next number, or a higher one; `last` closes the log.

        Who listens is called before this returns, so that what a model server says goes out to the readers
        in the very call that brought it: a task switch for each costs more than the event.
        """
        if self.closed:
            raise ValueError("the log is closed")
        if seq is None:
            seq = self._next_seq
        self._next_seq = seq + 1
        # A copy: what orjson returns goes on holding the 4 KB buffer that it was written into.
        self.events.append(Event(self.generation_id, self.conversation_id, seq, b"%b" % data))
        self.closed = last
        self._tell()

    def part(self) -> None:
        """Send the readers away before the last event: they find it elsewhere, with the number they have."""
        self.parted = True
        self._tell()

    def listen(self, call: Callable[[], None]) -> None:
        """Have something called after each event, until `unlisten`; it must neither block nor raise."""
        self._listeners[call] = None

    def unlisten(self, call: Callable[[], None]) -> None:
        """Have it called no more."""
        self._listeners.pop(call, None)

    def place_after(self, seq: int) -> int:
        """Where a reader that has seen `seq` continues; -1 has seen nothing.

        A growing log's numbers are its places. The reader may be ahead of it: it comes from the worker that
        speaks, and this log follows by way of the journal.
        """
        return bisect_right(self.events, seq, key=attrgetter("seq")) if self.closed else seq + 1

    def read(self, place: int, limit: int, encode: Encode) -> list[bytes]:
        """Up to `limit` events from a place on, encoded; empty when there is nothing new."""
        end = len(self.events)
        if end - place > limit:
            end = place + limit
        start, stop, encoded = self._encoded.get(encode, NOTHING)
        if (start, stop) != (place, end):
            encoded = encoded[place - start : end - start] if start <= place < stop else []
            encoded += [encode(event) for event in self.events[place + len(encoded) : end]]
            self._encoded[encode] = place, end, encoded
        return encoded

    async def wait(self, place: int) -> None:
        """Until there is an event at the place, or the log is closed or parted."""
        if place < len(self.events) or self.closed or self.parted:
            return
        came = asyncio.get_running_loop().create_future()

        def call() -> None:
            if not came.done() and (place < len(self.events) or self.closed or self.parted):
                came.set_result(None)

        self.listen(call)
        try:
            await came
        finally:
            self.unlisten(call)

    async def wait_closed(self) -> bool:
        """Until the last event is there; False where the log is parted before."""
        while not self.closed and not self.parted:
            await self.wait(len(self.events))
        return self.closed

    def _tell(self) -> None:
        for call in list(self._listeners):
            call()
