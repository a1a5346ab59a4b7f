"""The bound on a server's streams: who comes when all slots are taken waits for a moment, in order."""

from __future__ import annotations

import asyncio
from collections import deque


class Slots:
    """At most `most` streams at once, 0 for any number. Who waits longest gets the slot that becomes free."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.taken = 0

    @property
    def waiting(self) -> int:
        """How many wait."""
        return len(self._waiting)

    @property
    def load(self) -> float:
        """How busy the server is, to compare it with others: the share of its slots, or what runs there."""
        return (self.taken + self.waiting) / (self._most or 1000)

    async def take(self, wait_seconds: float) -> bool:
        """Take a slot, after waiting at most so long. Returns whether there was one."""
        if not self._most or (self.taken < self._most and not self._waiting):
            self.taken += 1
            return True
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(mine)
        try:
            await asyncio.wait({mine}, timeout=wait_seconds)
        except asyncio.CancelledError:
            if mine.done():
                self.give_back()
            raise
        finally:
            came = mine.done()
            if not came:
                self._waiting.remove(mine)
        return came

    def give_back(self) -> None:
        """Give a slot to who waits longest, or free it."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self.taken -= 1
