"""Housekeeping: what any worker does for all of them, every few seconds."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog

from chat_api.errors import DatabaseUnavailable, describe

if TYPE_CHECKING:
    from chat_api.db import Database
    from chat_api.metrics import Metrics
    from chat_api.relay import Journal

logger = structlog.get_logger(__name__)

PRUNE_ROWS = 5000
LIMITS_EVERY_SECONDS = 60


class Housekeeping:
    """Ends the generations of dead workers, takes old rows out of the journal, and looks at the figures."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        metrics: Metrics,
        every: float,
        replay_seconds: float,
        *,
        counts_limits: bool,
    ) -> None:
        self._database = database
        self._metrics = metrics
        self._journal = journal
        self._every = every
        self._replay_seconds = replay_seconds
        self._counts_limits = counts_limits
        self._limits_next = 0.0  # at first in any case: what an earlier worker counted
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name="housekeeping")

    async def close(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            self._metrics.look()
            try:
                await self._database.trim()
                # Own lease first: no worker shall take itself for dead after the database was away.
                await self._journal.held()
                for orphan in await self._database.rows("maintenance.interrupt_orphans"):
                    logger.warning(
                        "generation_interrupted", generation_id=str(orphan["id"]), reason="worker lost"
                    )
                await self._database.row("journal.prune", seconds=self._replay_seconds, max_rows=PRUNE_ROWS)
                await self._prune_limits()
            except DatabaseUnavailable:
                pass  # logged by the database; the next round tries again
            except Exception as error:  # the task must outlive what nobody foresaw
                logger.exception("housekeeping_failed", reason=describe(error))
            await asyncio.sleep(self._every)

    async def _prune_limits(self) -> None:
        if time.monotonic() < self._limits_next:
            return
        self._limits_next = time.monotonic() + LIMITS_EVERY_SECONDS if self._counts_limits else float("inf")
        pruned = PRUNE_ROWS
        while pruned == PRUNE_ROWS:
            row = await self._database.row("limits.prune", max_rows=PRUNE_ROWS)
            pruned = 0 if row is None else row["pruned"]
