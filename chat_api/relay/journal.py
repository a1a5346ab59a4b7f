"""The journal, written: what this worker's generations say, and that it lives, in one statement a tick."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

import structlog

from chat_api.background import Rounds
from chat_api.errors import DatabaseUnavailable, describe
from chat_api.relay.departures import Departures
from chat_api.relay.lease import Lease
from chat_api.relay.notices import Notices

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay.log import Log

logger = structlog.get_logger(__name__)

TICK_SECONDS = 0.2


class Slice(NamedTuple):
    """A piece of a log: the events from one number up to, not including, another, as a JSON array."""

    first_seq: int
    next_seq: int
    events: str


class Journal(Rounds):
    """Writes every growing log's new events, all in one statement, and renews the worker's lease with it.

    Five times a second while anything grows, else five times in the lease's length, and soon when there is
    something to tell other workers: each tick tells the `notices`. No connection is held between. While the
    database is slow or away, what waits is written together later: it is in the logs anyway. `on_stop` is
    called with the generation that somebody asked to stop, whose conversation was deleted, or that nobody has
    read for `abandoned_seconds` (None: never), and `on_lost` with one that is no longer this worker's.
    """

    def __init__(
        self,
        *,
        database: Database,
        worker_id: UUID,
        lease_seconds: float,
        start_seconds: float,
        abandoned_seconds: float | None,
        notify: bool,
        metrics: Metrics,
        on_stop: Callable[[UUID], None],
        on_lost: Callable[[UUID], None],
    ) -> None:
        super().__init__("journal")
        self._database = database
        self._metrics = metrics
        self._worker_id = worker_id
        self._lease = Lease(lease_seconds)
        self._start_seconds = start_seconds
        self._on_stop = on_stop
        self._on_lost = on_lost
        # Each log, and the number up to which it is known to be written.
        self._written: dict[UUID, tuple[Log, int]] = {}
        self._added = asyncio.Event()
        self.notices = Notices(worker_id, is_on=notify, on_wait=self._added.set)
        self._departures = Departures(database, worker_id, abandoned_seconds)
        self._unknown: dict[UUID, float] = {}  # generations that nobody here waits for, and since when
        self._next_tick = 0.0  # by the loop's clock

    async def lease_held(self) -> None:
        """Wait until the lease is held: without it, the other workers could assume that this one is dead.

        Raises DatabaseUnavailable when that takes longer than five seconds.
        """
        if not self._lease.is_held:
            self._added.set()  # the next tick comes now
            await self._lease.wait_renewed()

    def add(self, log: Log) -> None:
        """Write this log from now on."""
        self._written[log.generation_id] = log, 0
        self._added.set()

    def rest(self, log: Log) -> Slice | None:
        """What isn't known to be written yet, for the statement that ends the generation."""
        _, written = self._written[log.generation_id]
        return _slice(log, written)

    def remove(self, log: Log) -> None:
        """Write this log no more."""
        self._written.pop(log.generation_id, None)

    async def close(self) -> None:
        """Stop ticking, and give the lease back."""
        await super().close()
        if self._lease.was_held:
            try:
                await self._database.row("maintenance.release_lease", worker_id=self._worker_id)
            except DatabaseUnavailable:
                logger.info("lease_not_released", reason="it runs out by itself")

    async def _round(self) -> None:
        self._next_tick = asyncio.get_running_loop().time() + TICK_SECONDS
        await self._tick()

    async def _rest(self) -> None:
        if not self._written and not self.notices.are_waiting:
            self._added.clear()
            try:
                async with asyncio.timeout(self._lease.seconds / 5):
                    await self._added.wait()
            except TimeoutError:
                return
        await asyncio.sleep(max(0.0, self._next_tick - asyncio.get_running_loop().time()))

    def _log_failure(self, error: Exception) -> None:
        logger.error("tick_failed", reason=describe(error), exc_info=error)

    async def _tick(self) -> None:
        live = dict(self._written)
        slices = {
            generation_id: piece
            for generation_id, (log, written) in live.items()
            if (piece := _slice(log, written)) is not None
        }
        sent = asyncio.get_running_loop().time()
        notices, notifications = self.notices.for_tick(slices)
        row = await self._database.row(
            "journal.tick",
            worker_id=self._worker_id,
            seconds=self._lease.seconds,
            live=list(live),
            live_in=[log.conversation_id for log, _ in live.values()],
            ids=list(slices),
            first_seqs=[piece.first_seq for piece in slices.values()],
            next_seqs=[piece.next_seq for piece in slices.values()],
            slices=[piece.events for piece in slices.values()],
            notifications=notifications,
        )
        assert row is not None  # noqa: S101 - it selects without a from
        self._lease.note_renewal(sent)
        self.notices.told(notices, other_workers=row["other_workers"])
        self._metrics.ticked(
            sum(piece.next_seq - piece.first_seq for piece in slices.values()), row["other_workers"] + 1
        )
        for generation_id, piece in slices.items():
            if generation_id in self._written:  # not ended meanwhile
                self._written[generation_id] = live[generation_id][0], piece.next_seq
        for generation_id in row["asked_to_stop"] + row["deleted"]:
            self._on_stop(generation_id)
        for generation_id in row["lost"]:
            self._on_lost(generation_id)
        await self._disown(row["unknown"], sent)
        growing = [log for log, _ in self._written.values()]
        for generation_id in await self._departures.note(growing, row["read_elsewhere"]):
            self._on_stop(generation_id)

    async def _disown(self, generation_ids: list[UUID], now: float) -> None:
        """Give up generations whose start was stored while the reply that said so was lost.

        That is certain once a start would have returned or failed.
        """
        self._unknown = {
            generation_id: self._unknown.get(generation_id, now)
            for generation_id in generation_ids
            if generation_id not in self._written
        }
        if lost := [each for each, since in self._unknown.items() if now - since >= self._start_seconds]:
            logger.warning("generations_disowned", generation_ids=list(map(str, lost)))
            await self._database.row("journal.disown", worker_id=self._worker_id, ids=lost)


def _slice(log: Log, written: int) -> Slice | None:
    """The events from the number `written` on; a growing log's numbers are its places."""
    if written == log.count:
        return None
    return Slice(written, log.count, f"[{b','.join(log.events(written)).decode()}]")
