"""Cleaning: one worker, the eldest, deletes old rows for all of them, in small batches."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from chat_api.background import Rounds
from chat_api.errors import describe

if TYPE_CHECKING:
    from chat_api.postgres.database import Database
    from chat_api.relay import Relay
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

BEGINNING = UUID(int=0)

PRUNE_ROWS = 5000  # 10 ms of the database's time
LIMITS_SECONDS = 60
TICKETS_SECONDS = 60
AGAIN_SECONDS = 300  # after which the journal is walked from its beginning: some answers take long

SWEEP_ROWS, SWEEP_BLOCKS = 100, 1000  # conversations, with all their messages; pages, 8 MB of the table
RETRY_SECONDS = 60  # after a batch that took too long
FORGET_ROWS = 1000
KEY_SECONDS = 86_400  # after which nobody retries a message by its key
KEY_ROWS = 5000  # read per batch; few of them have a key
CLEAR_ROWS = 1000  # of a deleted conversation, of each kind
REST_SECONDS = 3600  # from the end of a walk to the next one: what is counted in days may wait for an hour
GENTLE = 9  # a tenth of one connection's time


class Cleaning(Rounds):
    """Deletes old rows of the journal and the limits, tickets, what RETENTION_DAYS and GENERATION_DAYS say,
    yesterday's idempotency keys, and the remains of large conversations that were deleted.
    """

    def __init__(
        self,
        *,
        database: Database,
        relay: Relay,
        worker_id: UUID,
        settings: Settings,
        counts_limits: bool,
    ) -> None:
        super().__init__("cleaning")
        self._database = database
        self._relay = relay
        self._worker_id = worker_id
        self._settings = settings
        self._every = settings.worker_lease / 3
        self._pruned = self._forgotten = self._keyless = BEGINNING
        self._block = 0
        self._sweep_rows = SWEEP_ROWS
        self._counts_limits = counts_limits
        # At first in any case: what was counted before the limits were taken away.
        self._prune_again = self._limits_again = self._sweep_again = self._forget_again = 0.0
        self._keys_again = self._tickets_again = 0.0
        self._swept = 0

    async def _round(self) -> None:
        await self._relay.lease_held()  # a worker without a lease can't be the eldest
        eldest = await self._database.row("maintenance.eldest")
        if eldest is not None and eldest["id"] == self._worker_id:
            await self._clean()

    async def _rest(self) -> None:
        await asyncio.sleep(self._every)

    def _log_failure(self, error: Exception) -> None:
        logger.error("cleaning_failed", reason=describe(error), exc_info=error)

    async def _clean(self) -> None:
        await self._repeat(self._prune, 1)
        await self._repeat(self._clear, GENTLE)
        now = asyncio.get_running_loop().time()
        if now >= self._limits_again:
            await self._repeat(self._prune_limits, 1)
            self._limits_again = now + LIMITS_SECONDS if self._counts_limits else math.inf
        if now >= self._tickets_again:
            await self._repeat(self._prune_tickets, 1)
            self._tickets_again = now + TICKETS_SECONDS
        if self._settings.retention_days and now >= self._sweep_again:
            await self._repeat(self._sweep, GENTLE)
        if self._settings.generation_days and now >= self._forget_again:
            await self._repeat(self._forget, GENTLE)
        if now >= self._keys_again:
            await self._repeat(self._forget_keys, GENTLE)

    async def _repeat(self, batch: Callable[[], Awaitable[bool]], rest: float) -> None:
        """Batches while there is more, for about a round's time; each is followed by `rest` times its own."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self._every
        is_more = True
        while is_more and (began := loop.time()) < end:
            is_more = await batch()
            await asyncio.sleep((loop.time() - began) * rest)

    async def _prune(self) -> bool:
        now = asyncio.get_running_loop().time()
        after = self._pruned
        if now >= self._prune_again:
            self._prune_again = now + AGAIN_SECONDS
            after = BEGINNING
        row = await self._database.row(
            "journal.prune", after=after, seconds=self._settings.replay_seconds, max_rows=PRUNE_ROWS
        )
        assert row is not None  # noqa: S101 - it counts
        self._pruned = row["last_id"] or self._pruned
        return bool(row["gone"] >= PRUNE_ROWS)

    async def _clear(self) -> bool:
        return await self._database.row("retention.clear", max_rows=CLEAR_ROWS) is not None

    async def _prune_tickets(self) -> bool:
        row = await self._database.row("tickets.prune", max_rows=PRUNE_ROWS)
        return row is not None and bool(row["pruned"] >= PRUNE_ROWS)

    async def _prune_limits(self) -> bool:
        row = await self._database.row("limits.prune", max_rows=PRUNE_ROWS)
        return row is not None and bool(row["pruned"] >= PRUNE_ROWS)

    async def _sweep(self) -> bool:
        now = asyncio.get_running_loop().time()
        # Some conversations are so large that a hundred of them take longer than a statement may.
        rows, self._sweep_rows = self._sweep_rows, max(1, self._sweep_rows // 10)
        self._sweep_again = now + RETRY_SECONDS
        row = await self._database.row(
            "retention.sweep",
            first_block=self._block,
            blocks=SWEEP_BLOCKS,
            days=self._settings.retention_days,
            favourites=self._settings.retention_favourites == "delete",
            max_rows=rows,
        )
        assert row is not None  # noqa: S101 - it counts
        self._sweep_rows = min(SWEEP_ROWS, rows * 2)
        self._swept += row["gone"]
        self._block = row["next_block"] or 0
        if row["next_block"] is not None:
            self._sweep_again = now
            return True
        self._sweep_again = now + REST_SECONDS
        logger.info("conversations_swept", conversations=self._swept, days=self._settings.retention_days)
        self._swept = 0
        return False

    async def _forget(self) -> bool:
        row = await self._database.row(
            "retention.forget",
            after=self._forgotten,
            days=self._settings.generation_days,
            max_rows=FORGET_ROWS,
        )
        assert row is not None  # noqa: S101 - it counts
        self._forgotten = row["last_id"] or BEGINNING
        if row["gone"] >= FORGET_ROWS:
            return True
        self._forgotten = BEGINNING
        self._forget_again = asyncio.get_running_loop().time() + REST_SECONDS
        return False

    async def _forget_keys(self) -> bool:
        row = await self._database.row(
            "retention.forget_keys", after=self._keyless, seconds=KEY_SECONDS, max_rows=KEY_ROWS
        )
        assert row is not None  # noqa: S101 - it counts
        self._keyless = row["last_id"] or self._keyless
        if row["passed"] >= KEY_ROWS:
            return True
        self._keys_again = asyncio.get_running_loop().time() + REST_SECONDS
        return False
