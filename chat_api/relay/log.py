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


class Log:
    """An append-only list of events with a last one.

    A reader keeps its place in the list, so that what was and what comes are read in the same way: nothing
    can fall between replay and live, and a reader that falls behind costs no memory. An event is encoded once
    a transport, however many read it. Not thread-safe: one event loop.
    """

    __slots__ = (
        "__weakref__",
        "_encoded",
        "_waiters",
        "closed",
        "conversation_id",
        "events",
        "generation_id",
    )

    def __init__(self, generation_id: UUID, conversation_id: UUID) -> None:
        self.generation_id = generation_id
        self.conversation_id = conversation_id
        self.events: list[Event] = []
        self.closed = False
        self._encoded: dict[Encode, list[bytes]] = {}
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def next_seq(self) -> int:
        """The number that the next event gets."""
        return self.events[-1].seq + 1 if self.events else 0

    def append(self, data: bytes, *, seq: int | None = None, last: bool = False) -> None:
        """Add an event under the next number, or a higher one; `last` closes the log."""
        if self.closed:
            raise ValueError("the log is closed")
        number = self.next_seq if seq is None else seq
        self.events.append(Event(self.generation_id, self.conversation_id, number, data))
        self.closed = last
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._waiters.clear()

    def place_after(self, seq: int) -> int:
        """Where a reader that has seen `seq` continues; -1 has seen nothing.

        A growing log's numbers are its places. The reader may be ahead of it: it comes from the worker that
        speaks, and this log follows by way of the journal.
        """
        return bisect_right(self.events, seq, key=attrgetter("seq")) if self.closed else seq + 1

    def read(self, place: int, limit: int, encode: Encode) -> list[bytes]:
        """Up to `limit` events from a place on, encoded; empty when there is nothing new."""
        encoded = self._encoded.setdefault(encode, [])
        while len(encoded) < min(len(self.events), place + limit):
            encoded.append(encode(self.events[len(encoded)]))
        return encoded[place : place + limit]

    async def wait(self, place: int) -> None:
        """Until there is an event at the place, or the log is closed."""
        while place >= len(self.events) and not self.closed:
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.add(waiter)
            try:
                await waiter
            finally:
                self._waiters.discard(waiter)

    async def wait_closed(self) -> None:
        """Until the last event is there."""
        while not self.closed:
            await self.wait(len(self.events))
