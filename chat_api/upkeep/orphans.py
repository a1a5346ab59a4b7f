"""Orphans: generations whose worker died. Any worker ends them, for all of them, every few seconds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from chat_api.background import Rounds
from chat_api.errors import WorkerLost, describe

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Relay

logger = structlog.get_logger(__name__)


class Orphans(Rounds):
    """Interrupts the generations of dead workers, and lets go of idle connections."""

    def __init__(
        self, *, database: Database, relay: Relay, metrics: Metrics, interval_seconds: float
    ) -> None:
        super().__init__("orphans")
        self._database = database
        self._relay = relay
        self._metrics = metrics
        self._interval_seconds = interval_seconds

    async def _round(self) -> None:
        await self._database.trim()
        # The own lease comes first: after the database was away, no worker may take itself for dead.
        await self._relay.lease_held()
        for orphan in await self._database.rows("maintenance.interrupt_orphans"):
            logger.warning("generation_interrupted", generation_id=str(orphan["id"]), reason="worker lost")
            self._metrics.generations.labels("interrupted", WorkerLost.code).inc()
            self._relay.ended(orphan["id"])
        self._metrics.housekept()

    async def _rest(self) -> None:
        await asyncio.sleep(self._interval_seconds)

    def _log_failure(self, error: Exception) -> None:
        logger.error("housekeeping_failed", reason=describe(error), exc_info=error)
