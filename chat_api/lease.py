"""The lease: this worker tells the others that it lives, and ends what dead workers left running."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from uuid import UUID

import structlog

from chat_api.db import Database
from chat_api.errors import DatabaseUnavailable, describe

log = structlog.get_logger(__name__)


class Lease:
    """Renewed three times in its length, by one task that also ends the generations that nobody answers.

    These are the ones of dead workers, and the ones of this worker that are not among `running` although
    their start is older than `start_seconds`, the longest that it may take.
    """

    def __init__(
        self,
        database: Database,
        worker_id: UUID,
        seconds: float,
        *,
        running: Callable[[], Iterable[UUID]],
        start_seconds: float,
    ) -> None:
        self._database = database
        self._worker_id = worker_id
        self._seconds = seconds
        self._running = running
        self._start_seconds = start_seconds
        self._held = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin to renew."""
        self._task = asyncio.create_task(self._keep(), name="lease")

    async def held(self) -> None:
        """Until the lease is held: whoever starts a generation without one could be taken for dead.

        Raises DatabaseUnavailable when that takes longer than five seconds.
        """
        if not self._held.is_set():
            try:
                async with asyncio.timeout(5):
                    await self._held.wait()
            except TimeoutError:
                raise DatabaseUnavailable from None

    async def close(self) -> None:
        """Stop renewing, and give the lease back."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        if self._held.is_set():
            try:
                await self._database.row("maintenance.release_lease", worker_id=self._worker_id)
            except DatabaseUnavailable:
                log.info("lease_not_released", reason="it runs out by itself")

    async def _keep(self) -> None:
        while True:
            try:
                # Renewed first, so that this worker never takes itself for dead after the database was away.
                await self._database.row(
                    "maintenance.renew_lease", worker_id=self._worker_id, seconds=self._seconds
                )
                self._held.set()
                orphans = await self._database.rows("maintenance.interrupt_orphans")
                orphans += await self._database.rows(
                    "maintenance.interrupt_unseen",
                    worker_id=self._worker_id,
                    running=list(self._running()),
                    seconds=self._start_seconds,
                )
                for orphan in orphans:
                    log.warning(
                        "generation_interrupted", generation_id=str(orphan["id"]), reason="worker lost"
                    )
            except DatabaseUnavailable:
                pass  # logged by the database; the next round tries again
            except Exception as error:  # the task must outlive what nobody foresaw: without lease no answers
                log.exception("lease_failed", reason=describe(error))
            await asyncio.sleep(self._seconds / 3)
