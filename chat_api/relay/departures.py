"""What workers tell each other of the audiences of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Iterable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

if TYPE_CHECKING:
    from chat_api.postgres.database import Database
    from chat_api.relay.log import Log

logger = structlog.get_logger(__name__)

SHORTEST_SECONDS = 0.1  # less than the time between two ticks
MARK_SECONDS = 2  # the statements that read `read_at` believe it for five seconds


class Departures:
    """Tells the other workers which of this worker's generations nobody reads here."""

    def __init__(self, database: Database, worker_id: UUID, abandoned_seconds: float | None) -> None:
        """`abandoned_seconds`: how long an answer may go on without a reader; None: as long as it takes."""
        self._database = database
        self._worker_id = worker_id
        self._abandoned_seconds = abandoned_seconds
        self._unread: dict[UUID, float] = {}  # generations that nobody reads anywhere, and since when
        self._told: set[UUID] = set()  # those of which the database knows that their readers have left

    async def note(self, logs: Iterable[Log], read_elsewhere: Container[UUID]) -> list[UUID]:
        """Store what has changed. Returns the generations that are abandoned.

        `logs` are those of all generations that run here. Raises DatabaseUnavailable.
        """
        now = asyncio.get_running_loop().time()
        running = {log.generation_id for log in logs}
        left = {log.generation_id for log in logs if log.audience.has_left}
        self._unread = {each: self._unread.get(each, now) for each in left if each not in read_elsewhere}
        self._told &= running
        if changed := self._told ^ left:
            rows = await self._database.rows(
                "generations.note_left",
                worker_id=self._worker_id,
                ids=list(changed),
                left_ids=list(changed & left),
            )
            self._told ^= {row["id"] for row in rows}
        if self._abandoned_seconds is None:
            return []
        # At least until the next tick: a subscription may need a moment to take over from the command.
        least = max(self._abandoned_seconds, SHORTEST_SECONDS)
        abandoned = [each for each, since in self._unread.items() if now - since >= least]
        for generation_id in abandoned:
            logger.info("generation_abandoned", generation_id=str(generation_id))
        return abandoned


class Marks:
    """Tells the other workers which of their generations somebody reads here."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._marked: set[UUID] = set()
        self._due = 0.0  # by the loop's clock

    @property
    def are_set(self) -> bool:
        """Whether there is something to take back when the readers have left."""
        return bool(self._marked)

    async def note(self, logs: Iterable[Log]) -> None:
        """Mark those of the growing `logs` that are read, every two seconds; take back the others' marks.

        Raises DatabaseUnavailable.
        """
        now = asyncio.get_running_loop().time()
        read = {log.generation_id for log in logs if log.audience.is_there}
        left = self._marked - read
        marked = read if now >= self._due else read - self._marked
        if not marked and not left:
            return
        await self._database.row("generations.note_read", ids=list(marked), left_ids=list(left))
        self._marked = read
        if now >= self._due:
            self._due = now + MARK_SECONDS
