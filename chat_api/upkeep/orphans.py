"""Housekeeping: what any worker does for all of them, every few seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chat_api.background import Background
from chat_api.errors import DatabaseUnavailable, WorkerLost, describe

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Journal

logger = structlog.get_logger(__name__)


class Housekeeping(Background):
    """Ends the generations of dead workers, and lets go of idle connections."""

    def __init__(self, database: Database, journal: Journal, metrics: Metrics, every: float) -> None:
        super().__init__("housekeeping")
        self._database = database
        self._metrics = metrics
        self._journal = journal
        self._every = every

    async def _run(self) -> None:
        while True:
            try:
                await self._database.trim()
                # Own lease first: no worker shall take itself for dead after the database was away.
                await self._journal.held()
                for orphan in await self._database.rows("maintenance.interrupt_orphans"):
                    logger.warning(
                        "generation_interrupted", generation_id=str(orphan["id"]), reason="worker lost"
                    )
                    self._metrics.generations.labels("interrupted", WorkerLost.code).inc()
                self._metrics.housekept()
            except DatabaseUnavailable:
                pass  # logged by the database; the next round tries again
            except Exception as error:  # the task must outlive what nobody foresaw
                logger.exception("housekeeping_failed", reason=describe(error))
            await asyncio.sleep(self._every)
