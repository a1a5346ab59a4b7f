"""The journal, read: generations of other workers, and finished ones, become logs like any other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakValueDictionary

import orjson
import structlog

from chat_api import errors, events
from chat_api.background import Rounds
from chat_api.errors import WorkerLost, describe
from chat_api.relay.journal import MANY
from chat_api.relay.log import Log

if TYPE_CHECKING:
    import asyncpg

    from chat_api.postgres.database import Database

logger = structlog.get_logger(__name__)

POLL_SECONDS = 0.2
LEAVING_SECONDS = 1.0  # spreads the return of all readers of a worker that ends


class Follower(Rounds):
    """Fills the logs that somebody reads, all in one query: at each notification, else five times a second.

    A log that nobody holds any more is forgotten: readers own them. While the database is away readers wait.
    """

    def __init__(self, database: Database) -> None:
        super().__init__("follower")
        self._database = database
        self._logs: WeakValueDictionary[UUID, Log] = WeakValueDictionary()
        self._wanted = asyncio.Event()
        self._notified = asyncio.Event()
        self._leaving = False

    async def follow(self, generation_id: UUID, conversation_id: UUID, seen: int) -> Log:
        """The log of a generation, with all that the journal has of it by now.

        A reader can have seen more than its worker could write down before it died: numbers that the end,
        told by others, has too. It gets a log of its own: the text that was kept, and the end, under the
        numbers that come after what it saw. Raises DatabaseUnavailable.
        """
        log = self._logs.get(generation_id)
        if log is None:
            log = Log(generation_id, conversation_id)
            await self._fill([log])
            log = self._logs.setdefault(generation_id, log)
            self._wanted.set()
        if self._leaving:
            log.send_away()
        if log.closed and seen >= log.next_seq - 2:
            [row] = await self._database.rows("journal.read", ids=[generation_id], next_seqs=[seen + 1])
            if row["error_code"] == WorkerLost.code:
                log = Log(generation_id, conversation_id)
                _retell(log, row, seen)
        return log

    async def leave(self) -> None:
        """Send the readers of growing logs to other workers, a few at a time, within LEAVING_SECONDS."""
        self._leaving = True
        growing = self._growing()
        random.shuffle(growing)
        for log in growing:
            log.send_away()
            await asyncio.sleep(LEAVING_SECONDS / len(growing))

    def hear(self, ids: str) -> None:
        """Take a notification that other workers wrote: generation ids, comma-separated, or MANY."""
        if ids == MANY or not {str(generation_id) for generation_id in self._logs}.isdisjoint(ids.split(",")):
            self._notified.set()

    async def _round(self) -> None:
        if growing := self._growing():
            await self._fill(growing)

    async def _rest(self) -> None:
        if not self._growing():  # asked again instead of kept: this task must not hold what nobody reads
            self._wanted.clear()
            await self._wanted.wait()
            return
        try:
            async with asyncio.timeout(POLL_SECONDS):
                await self._notified.wait()
        except TimeoutError:
            return
        self._notified.clear()

    def _log_failure(self, error: Exception) -> None:
        logger.error("follower_failed", reason=describe(error), exc_info=error)

    def _growing(self) -> list[Log]:
        return [log for log in self._logs.values() if not log.closed]

    async def _fill(self, logs: Iterable[Log]) -> None:
        wanted = {log.generation_id: log for log in logs}
        rows = await self._database.rows(
            "journal.read", ids=list(wanted), next_seqs=[log.next_seq for log in wanted.values()]
        )
        for row in rows:
            _extend(wanted[row["generation_id"]], row)


def _extend(log: Log, row: asyncpg.Record) -> None:
    """Append what a row has beyond a log's end; slices may overlap, and old ones may be gone."""
    fresh: list[bytes] = []
    for first_seq, text in zip(row["first_seqs"] or (), row["slices"] or (), strict=True):
        next_seq = log.next_seq + len(fresh)
        if first_seq > next_seq:
            break  # what is before has left the journal
        fresh += map(events.dump, orjson.loads(text)[next_seq - first_seq :])
    log.extend(fresh)
    if row["status"] is None:
        log.append(_done(row), last=True)
    elif row["status"] != "running":
        _end(log, row)


def _end(log: Log, row: asyncpg.Record) -> None:
    if row["error_code"] == WorkerLost.code and log.next_seq == row["last_seq"] - 1:
        log.append(events.error(WorkerLost()))
    if log.next_seq == row["last_seq"]:
        log.append(_done(row), last=True)
        return
    if not log.count:
        log.append(events.start(log.generation_id, row["conversation_id"], row["user_message_id"]))
    _retell(log, row, log.next_seq - 1)


def _retell(log: Log, row: asyncpg.Record, seen: int) -> None:
    """A finished generation whose events are gone, after the number `seen`: its text, its error, its end."""
    ending = [_done(row)]
    if row["error_code"] is not None:
        ending.insert(0, events.error(errors.from_code(row["error_code"])))
    if row["content"] or row["error_code"] == WorkerLost.code:
        ending.insert(0, events.reset(row["content"] or ""))
    last_seq = max(row["last_seq"], seen + len(ending))
    log.skip_to(last_seq - len(ending) + 1)
    for data in ending:
        log.append(data, last=data is ending[-1])


def _done(row: asyncpg.Record) -> bytes:
    if row["status"] is None:  # its conversation is deleted
        return events.done(None, "stopped", 0, 0)
    return events.done(row["message_id"], row["finish_reason"], row["token_count"], row["inference_time_ms"])
