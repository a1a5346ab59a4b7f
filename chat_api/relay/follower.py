"""The journal, read: generations of other workers, and finished ones, become logs like any other."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Set
from typing import TYPE_CHECKING
from uuid import UUID
from weakref import WeakKeyDictionary, WeakValueDictionary

import orjson
import structlog

from chat_api import errors, events
from chat_api.background import Rounds
from chat_api.errors import WorkerLost, describe
from chat_api.relay.departures import Marks
from chat_api.relay.log import Log
from chat_api.relay.notices import MANY

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
        self._seen: WeakKeyDictionary[Log, int] = WeakKeyDictionary()  # up to which number by its readers
        self._marks = Marks(database)
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
        self._seen[log] = max(seen, self._seen.get(log, -1))
        if self._leaving:
            log.send_away()
        if log.closed and seen >= log.next_seq - 2:
            [row] = await self._database.rows("journal.read", ids=[generation_id], next_seqs=[seen + 1])
            if row["error_code"] == WorkerLost.code or _brought_in(log, row):
                log = Log(generation_id, conversation_id)
                _retell(log, row, seen)
        return log

    def is_read(self, generation_id: UUID) -> bool:
        """Whether somebody reads this generation here."""
        log = self._logs.get(generation_id)
        return log is not None and log.audience.is_there

    async def leave(self) -> None:
        """Send the readers of growing logs to other workers, a few at a time, within LEAVING_SECONDS."""
        self._leaving = True
        growing = self._growing()
        random.shuffle(growing)
        for log in growing:
            log.send_away()
            await asyncio.sleep(LEAVING_SECONDS / len(growing))

    def hear(self, ids: Set[str]) -> None:
        """Look at once if one of these generations, with something new, is followed. MANY: all have."""
        if MANY in ids or not ids.isdisjoint(map(str, self._logs)):
            self._notified.set()

    async def _round(self) -> None:
        if growing := self._growing():
            await self._fill(growing)
        await self._marks.note(growing)

    async def _rest(self) -> None:
        # Asked again instead of kept: this task must not hold what nobody reads.
        if not self._growing() and not self._marks.are_set:
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
            log = wanted[row["generation_id"]]
            _extend(log, row)
            if row["status"] is None:
                log.append(_done(row), last=True)
            elif row["status"] != "running":
                self._conclude(log, row)

    def _conclude(self, log: Log, row: asyncpg.Record) -> None:
        if self._seen.get(log, -1) < log.next_seq:
            _end(log, row)
            return
        # A reader waits for what comes after events that weren't kept: it would take the end's numbers for
        # theirs. It comes back, and is told the end under numbers that it hasn't seen.
        self._logs.pop(log.generation_id, None)
        log.send_away()


def _extend(log: Log, row: asyncpg.Record) -> None:
    """Append what the journal has beyond a log's end; slices may overlap, and old ones may be gone."""
    fresh: list[bytes] = []
    for first_seq, text in zip(row["first_seqs"] or (), row["slices"] or (), strict=True):
        next_seq = log.next_seq + len(fresh)
        if first_seq > next_seq:
            break  # what is before has left the journal
        fresh += map(events.dump, orjson.loads(text)[next_seq - first_seq :])
    log.extend(fresh)


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
    """A finished generation whose events are gone, after the number `seen`: its words, its error, its end."""
    ending = [_done(row)]
    if row["error_code"] is not None:
        ending.insert(0, events.error(errors.from_code(row["error_code"])))
    if row["message_id"] is not None or row["error_code"] == WorkerLost.code:
        calls = None if row["tool_calls"] is None else orjson.loads(row["tool_calls"])
        ending.insert(0, events.reset(row["content"] or "", row["reasoning"], calls))
    last_seq = max(row["last_seq"], seen + len(ending))
    log.skip_to(last_seq - len(ending) + 1)
    for data in ending:
        log.append(data, last=data is ending[-1])


def _brought_in(log: Log, row: asyncpg.Record) -> bool:
    """Whether the worker that had been taken for dead has stored another end since a closed log was read."""
    return row["status"] is not None and log.events(log.count - 1) != [_done(row)]


def _done(row: asyncpg.Record) -> bytes:
    if row["status"] is None:  # its conversation is deleted
        return events.done(None, "stopped", 0, 0)
    usage = None if row["usage"] is None else orjson.loads(row["usage"])
    return events.done(
        row["message_id"], row["finish_reason"], row["token_count"], row["inference_time_ms"], usage
    )
