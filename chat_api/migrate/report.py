"""`chat-api migrate status`: what is applied, what is pending, and what that will cost a live database."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from chat_api.folders import migration_ids
from chat_api.migrate.apply import MigrationState, migration_status
from chat_api.migrate.demands import Demands, TableLock, read_demands
from chat_api.migrate.errors import explain_errors
from chat_api.migrate.local import is_local, local_migrations
from chat_api.migrate.newer_schema import newer_migrations
from chat_api.postgres.session import connected
from chat_api.settings import SettingsError
from chat_api.settings.database_url import parse_dsn

State = Literal["applied", "pending", "newer", "gone", "foreign"]
"""newer: a later release of this service applied it. gone: it is a DBA's own, and its file isn't there.
foreign: it is another program's, in the same table.
"""

# Sizes don't include indexes. Row counts are the planner's estimates, -1 before the first analyze.
_SIZES = """
select relname, pg_table_size(oid), reltuples::bigint from pg_class
where relname = any(%s) and relkind in ('r', 'p') and pg_table_is_visible(oid)
"""


@dataclass(frozen=True, slots=True)
class Size:
    """The present size of a table."""

    bytes: int
    rows: int | None
    """An estimate; None if PostgreSQL has none yet."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A migration and, if it is pending, what it demands."""

    id: str
    state: State
    applied_at: datetime | None
    demands: Demands | None
    locks: tuple[tuple[TableLock, Size], ...]
    """Only on tables that this database has."""


@dataclass(frozen=True, slots=True)
class Report:
    """The state of a database's migrations."""

    database: str
    entries: tuple[Entry, ...]

    def of(self, state: State) -> list[str]:
        """The ids of the migrations that are in that state."""
        return [entry.id for entry in self.entries if entry.state == state]


def read_report(database_url: str, local: str = "") -> Report:
    """Read the report; changes nothing. Raises ValueError, SessionError, SettingsError."""
    states = migration_status(database_url, local)
    pending = {state.id: _demands(state.id, local) for state in states if state.applied_at is None}
    locks = {name: demands.locks or () for name, demands in pending.items()}
    sizes = _sizes(database_url, {lock.table for each in locks.values() for lock in each})
    newer = newer_migrations(state.id for state in states)
    known = migration_ids() + local_migrations(local)
    return Report(
        parse_dsn(database_url).redacted(),
        tuple(
            Entry(
                state.id,
                _state(state, known, newer),
                state.applied_at,
                pending.get(state.id),
                tuple((lock, sizes[lock.table]) for lock in locks.get(state.id, ()) if lock.table in sizes),
            )
            for state in states
        ),
    )


def _state(state: MigrationState, known: list[str], newer: list[str]) -> State:
    if state.applied_at is None:
        return "pending"
    if state.id in newer:
        return "newer"
    if state.id in known:
        return "applied"
    return "gone" if is_local(state.id) else "foreign"


def _demands(name: str, local: str) -> Demands:
    if not is_local(name):
        return read_demands(name)
    try:
        return read_demands(name, Path(local))
    except ValueError as error:
        raise SettingsError(f"MIGRATIONS_DIR: {error}") from error


def _sizes(database_url: str, tables: Iterable[str]) -> dict[str, Size]:
    with (
        explain_errors("cannot read the sizes of the tables"),
        connected(parse_dsn(database_url)) as connection,
    ):
        # pg_table_size() waits while a table is being altered.
        connection.execute("set lock_timeout = '5s'")
        rows = connection.execute(_SIZES, (sorted(tables),))
        return {table: Size(size, count if count >= 0 else None) for table, size, count in rows}


def as_json(report: Report) -> dict[str, Any]:
    """The report as an object for JSON."""
    return {
        "database": report.database,
        "pending": report.of("pending"),
        "newer": report.of("newer"),
        "gone": report.of("gone"),
        "migrations": [
            {
                "id": entry.id,
                "state": entry.state,
                "applied_at": entry.applied_at and entry.applied_at.isoformat(),
                **(_as_json(entry.demands, entry.locks) if entry.demands else {}),
            }
            for entry in report.entries
        ],
    }


def _as_json(demands: Demands, locks: tuple[tuple[TableLock, Size], ...]) -> dict[str, Any]:
    return {
        "transactional": demands.transactional,
        "lock_timeout": demands.lock_timeout,
        "statement_timeout": demands.statement_timeout,
        "locks": None
        if demands.locks is None
        else [{**asdict(lock), "hinders": lock.hinders, **asdict(size)} for lock, size in locks],
        **({"going_back": demands.going_back} if demands.going_back else {}),
    }


def as_text(report: Report) -> Iterator[str]:
    """The report for people: one line per migration, and indented ones for what a pending one demands."""
    words = {
        "applied": "applied",
        "newer": "by a later release",
        "gone": "its file isn't in MIGRATIONS_DIR; applied",
        "foreign": "another program's, applied",
    }
    for entry in report.entries:
        if entry.applied_at is None:
            yield f"{entry.id:<40} pending"
        else:
            yield f"{entry.id:<40} {words[entry.state]} {entry.applied_at:%Y-%m-%d %H:%M:%S%z}"
        if entry.demands is not None:
            yield from (f"    {line}" for line in _in_words(entry.demands, entry.locks))


def _in_words(demands: Demands, locks: tuple[tuple[TableLock, Size], ...]) -> Iterator[str]:
    if demands.locks is None:
        yield "its file doesn't say what it locks"
    elif not locks:
        yield "locks no existing table"
    for lock, size in locks:
        yield f"{lock.table}: {lock.mode}, {lock.lasts_with(_size(size))}; {lock.hinders}"
    if locks:
        undone = "is undone" if demands.transactional else "can be run again"
        limit = demands.statement_timeout
        yield (
            f"gives up after waiting {demands.lock_timeout} for a lock"
            + (f", or when a statement takes {limit}; then it {undone}" if limit else f"; then it {undone}")
            + ("" if limit else "; a statement may take any time")
        )
    if demands.going_back:
        yield f"going back: {demands.going_back}"


def _size(size: Size) -> str:
    amount, unit = float(size.bytes), "bytes"
    for larger in ("kB", "MB", "GB", "TB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    rows = "" if size.rows is None else f", about {size.rows:,} row{'' if size.rows == 1 else 's'}"
    return f"{amount:.0f} {unit}{rows}" if amount >= 100 else f"{amount:.3g} {unit}{rows}"
