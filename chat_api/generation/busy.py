"""How many answers start or run, and the wait until none does."""

from __future__ import annotations

import asyncio
from contextlib import suppress


class Busy:
    """Counts what is under way."""

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()

    def enter(self) -> None:
        """Something begins."""
        self._count += 1
        self._idle.clear()

    def leave(self) -> None:
        """It has ended."""
        self._count -= 1
        if not self._count:
            self._idle.set()

    async def settle(self, seconds: float) -> None:
        """Wait until nothing is under way, or until so many seconds have passed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._idle.wait()
