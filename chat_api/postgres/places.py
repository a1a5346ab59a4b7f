"""Places for so many at once, in the order of asking."""

from __future__ import annotations

import asyncio
from collections import deque


class Places:
    """A fair semaphore. While a place is free, taking it needs no coroutine."""

    def __init__(self, free: int) -> None:
        self.free = free
        """How many are free; 0 while anybody waits."""
        self._waiting: deque[asyncio.Future[None]] = deque()

    def take(self) -> None:
        """Take one that is free."""
        self.free -= 1

    async def wait(self) -> None:
        """Take one, when it is this caller's turn."""
        if self.free:
            self.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it was given a moment ago
            raise

    def release(self) -> None:
        """Give one back. The caller that has waited longest gets it."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free += 1
