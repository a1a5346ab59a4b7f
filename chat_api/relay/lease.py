"""The lease: until when the other workers count this one as alive, as far as this one knows."""

from __future__ import annotations

import asyncio

from chat_api.errors import DatabaseUnavailable

WAIT_SECONDS = 5


class Lease:
    """Renewed by each tick of the journal, and held for its length from the moment when a tick was sent.

    Measured by the event loop's clock: no change of the time touches it, and it goes on while the process
    is paused.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until = 0.0  # never held yet
        self._renewed = asyncio.Event()

    @property
    def is_held(self) -> bool:
        """Whether the other workers count this one as alive."""
        return asyncio.get_running_loop().time() < self._until

    @property
    def was_held(self) -> bool:
        """Whether it has ever been held, so that there is one to give back."""
        return self._until > 0

    def note_renewal(self, sent: float) -> None:
        """A tick that was sent at this time has renewed it in the database."""
        # The statement leaves a lease alone that is no older than this.
        self._until = sent + self.seconds - min(1, self.seconds / 15)
        self._renewed.set()

    async def wait_renewed(self) -> None:
        """Wait for the next renewal. Raises DatabaseUnavailable if it takes longer than WAIT_SECONDS."""
        self._renewed.clear()
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._renewed.wait()
        except TimeoutError:
            raise DatabaseUnavailable from None
