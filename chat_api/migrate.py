"""Apply, roll back and list the migrations: plain SQL files, run by yoyo, one process at a time.

The files and the tables of record are yoyo's own, so its command line works on the same database. Added here:

- Several processes may start at once: they take turns by an advisory lock, which ends with its session.
  yoyo's own lock is a table row that outlives a killed process; whoever has the turn removes it.
- A killed process can leave a statement running on the server. The next turn waits for its end.
- Every failure is one MigrationError.

Advisory locks belong to sessions: a pooler in transaction mode is to be gone around here.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import errors, sql
from yoyo import default_migration_table, read_migrations
from yoyo.exceptions import BadMigration, LockTimeout
from yoyo.migrations import Migration, MigrationList

from chat_api.dsn import Dsn, parse_dsn
from chat_api.migration_backend import (
    CHAT_LOCK,
    SESSION_LOCK,
    TURN_LOCK,
    MigrationBackend,
    connect,
)
from chat_api.resources import migration_ids, migrations_dir

TURN_SECONDS = 15 * 60
"""How long to wait for another process that is migrating: an index on a big table takes minutes."""

_POLL_SECONDS = 0.1
_OLDEST_SERVER = 14


class MigrationError(Exception):
    """The database couldn't be migrated; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration, and when it was applied (UTC); None where it wasn't yet."""

    id: str
    applied_at: datetime | None


def known_migrations() -> list[str]:
    """The ids of the migrations that this code brings, in order."""
    known = migration_ids()
    if not known:
        raise MigrationError(f"there are no migrations in {migrations_dir()}; install the package again")
    return known


def migration_status(database_url: str) -> list[MigrationState]:
    """The known migrations in order, then those that a newer version applied. Only reads."""
    known = known_migrations()
    with (
        errors_told("cannot read the state of the database"),
        connected(parse_dsn(database_url)) as connection,
    ):
        applied = _applied(connection)
    unknown = [name for name in applied if name not in known]
    return [MigrationState(name, applied.get(name)) for name in known + unknown]


def apply_migrations(database_url: str, service_role: str = "") -> list[str]:
    """Apply what is missing, in order; return the ids applied by this call.

    Blocks. What was applied before a failure stays, and the next call goes on from there. `service_role` gets
    the rights on what is made, as whoever has them already does; see `grant_rights`.

    Raises:
        ValueError: the URL is none (see `parse_dsn`).
        MigrationError: with the sentence to show.
    """
    # The usual case at a server's start: no lock, no write, not even the right to.
    if all(state.applied_at for state in migration_status(database_url)):
        return []
    done: list[str] = []
    with _turn(database_url, service_role) as (backend, migrations):
        for migration in backend.to_apply(migrations):
            with errors_told(f"migration {migration.id} failed"):
                backend.apply_one(migration)
            done.append(migration.id)
    return done


def rollback_migrations(database_url: str, count: int = 1) -> list[str]:
    """Undo the last `count` applied migrations, newest first; return their ids.

    Blocks. Conversations and messages stay; each rollback file says in its first lines what it costs.

    Raises:
        ValueError: the URL is none, or `count` is less than 1.
        MigrationError: with the sentence to show; also where a newer version's migrations are applied.
    """
    if count < 1:
        raise ValueError("the number of migrations to roll back must be 1 or more")
    done: list[str] = []
    with _turn(database_url) as (backend, migrations):
        unknown = sorted(_applied(backend.connection).keys() - set(known_migrations()))
        if unknown:
            raise MigrationError(
                f"a newer version migrated the database ({', '.join(unknown)}); roll back with that version"
            )
        for migration in list(backend.to_rollback(migrations))[:count]:
            with errors_told(f"rolling back migration {migration.id} failed"):
                backend.rollback_one(migration)
            done.append(migration.id)
    return done


def grant_rights(database_url: str, service_role: str) -> list[str]:
    """Give a role what it lacks to run the service; return the statements that did it.

    Blocks. To be called when all is migrated.

    Raises:
        ValueError: the URL is none (see `parse_dsn`).
        MigrationError: with the sentence to show.
    """
    with (
        errors_told(f"cannot look at the rights of {service_role}"),
        connected(parse_dsn(database_url)) as connection,
    ):
        _require_role(connection, service_role)
        # The usual case again: no lock, no write.
        if _one(connection, "select count(*) from chat_missing_rights(%s)", service_role) == 0:
            return []
    with (
        _turn(database_url) as (backend, _),
        errors_told(f"cannot grant rights to {service_role}"),
    ):
        rows = backend.connection.execute("select chat_grant(%s)", (service_role,))
        return [statement for (statement,) in rows]


@contextmanager
def _turn(database_url: str, service_role: str = "") -> Iterator[tuple[MigrationBackend, MigrationList]]:
    """The only migrating process of this database; yields a backend, and the migrations in order."""
    dsn = parse_dsn(database_url)
    with errors_told("cannot migrate the database"), connected(dsn) as connection:
        if service_role:
            _require_role(connection, service_role)
        _wait_for(connection, TURN_LOCK)
        # Sessions of a killed process share this one until the server notices. Ours share it later.
        _wait_for(connection, SESSION_LOCK)
        connection.execute("select pg_advisory_unlock(%s, %s)", (CHAT_LOCK, SESSION_LOCK))
        with MigrationBackend(dsn, default_migration_table, service_role) as backend:
            backend.make_lock_table()
            backend.break_lock()
            with backend.lock():
                yield backend, _migrations()


@contextmanager
def connected(dsn: Dsn, application: str = "chat-api migrate") -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session, known to DBAs as `application`.

    Raises:
        MigrationError: the server can't be reached, or is too old; with the sentence to show.
    """
    try:
        connection = connect(dsn, application)
    except psycopg.OperationalError as error:
        raise MigrationError(
            f"cannot connect to the database at {dsn.redacted()}: {_reason(error)}; "
            "check DATABASE_URL, and that PostgreSQL runs there"
        ) from error
    with connection:
        if connection.info.server_version // 10000 < _OLDEST_SERVER:
            raise MigrationError(f"PostgreSQL {_OLDEST_SERVER} or newer is needed")
        yield connection


@contextmanager
def errors_told(what: str) -> Iterator[None]:
    """Every failure of the database or of yoyo in here becomes a MigrationError that says `what` failed."""
    try:
        yield
    except errors.LockNotAvailable as error:
        raise MigrationError(
            f"{what}: it waited too long for a lock that another transaction holds; "
            "pg_stat_activity shows which; end it and try again"
        ) from error
    except (psycopg.Error, BadMigration, LockTimeout) as error:
        raise MigrationError(f"{what}: {_reason(error)}; put that right and try again") from error


def _reason(error: Exception) -> str:
    """The first line of what the server or the driver said: the rest is context."""
    return next(iter(str(error).splitlines()), type(error).__name__)


def _migrations() -> MigrationList:
    # yoyo takes a pattern, and would run Python files too.
    return read_migrations(glob.escape(str(migrations_dir()))).filter(Migration.is_raw_sql)


def _wait_for(connection: psycopg.Connection[Any], lock: int) -> None:
    """Poll: a session blocked in pg_advisory_lock() holds a snapshot, and index builds wait for it."""
    deadline = time.monotonic() + TURN_SECONDS
    while not _one(connection, "select pg_try_advisory_lock(%s, %s)", CHAT_LOCK, lock):
        if time.monotonic() > deadline:
            raise MigrationError(
                f"another process has been migrating this database for {TURN_SECONDS // 60} minutes; "
                "pg_stat_activity shows it as 'chat-api migrate'"
            )
        time.sleep(_POLL_SECONDS)


def _applied(connection: psycopg.Connection[Any]) -> dict[str, datetime]:
    if _one(connection, "select to_regclass(%s)", default_migration_table) is None:
        return {}
    rows = connection.execute(
        "select migration_id, applied_at_utc from _yoyo_migration order by applied_at_utc"
    )
    return {name: at.replace(tzinfo=UTC) for name, at in rows}


def _require_role(connection: psycopg.Connection[Any], role: str) -> None:
    if _one(connection, "select 1 from pg_roles where rolname = %s", role) is None:
        raise MigrationError(
            f"there is no role {role!r}, which SERVICE_ROLE names; make it first: "
            f"create role {sql.Identifier(role).as_string(connection)} login password '…'"
        )


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
