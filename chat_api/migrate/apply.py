"""Apply, roll back and list the migrations: plain SQL files, run by yoyo, one process at a time.

The files and the tables of record are yoyo's own, so its command line works on the same database. Added here:

- Several processes may start at once: they take turns by an advisory lock, which ends with its session.
  yoyo's own lock is a table row that outlives a killed process; whoever has the turn removes it.
- A killed process can leave a statement running on the server. The next turn waits for its end.
- A lock that isn't to be had: who holds it is told, and on demand the migration tries again.
- What a later release applied is known for what it is, see `newer`.
- Every failure is one SessionError.

Advisory locks belong to sessions: a pooler in transaction mode is to be gone around here.
"""

from __future__ import annotations

import glob
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import sql
from yoyo import default_migration_table, read_migrations
from yoyo.migrations import Migration, MigrationList

from chat_api.folders import migration_ids, migrations_dir
from chat_api.migrate.backend import CHAT_LOCK, SESSION_LOCK, TURN_LOCK, MigrationBackend
from chat_api.migrate.errors import LockHeldError, NewerSchemaError, errors_told
from chat_api.migrate.lock_holders import Holders, watched
from chat_api.migrate.newer_schema import explain_newer, newer_migrations
from chat_api.postgres.session import SessionError, connected
from chat_api.settings.database_url import parse_dsn

TURN_SECONDS = 15 * 60
"""How long to wait for another process that is migrating: an index on a big table takes minutes."""

PAUSE_SECONDS = 5.0
"""Between two tries for a lock: the service's statements, which waited behind the first, come through now."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration, and when it was applied (UTC); None where it wasn't yet."""

    id: str
    applied_at: datetime | None


def known_migrations() -> list[str]:
    """The ids of the migrations that this code brings, in order."""
    known = migration_ids()
    if not known:
        raise SessionError(f"there are no migrations in {migrations_dir()}; install the package again")
    return known


def migration_status(database_url: str) -> list[MigrationState]:
    """The known migrations in order, then all others in the database's record. Only reads."""
    known = known_migrations()
    with (
        errors_told("cannot read the state of the database"),
        connected(parse_dsn(database_url)) as connection,
    ):
        applied = _applied(connection)
    unknown = [name for name in applied if name not in known]
    return [MigrationState(name, applied.get(name)) for name in known + unknown]


def apply_migrations(
    database_url: str,
    service_role: str = "",
    *,
    wait_seconds: float = 0,
    allow_newer: bool = False,
    told: Callable[[str], None] = lambda _: None,
    done_one: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply what is missing, in order; return the ids applied by this call.

    Blocks. What was applied before a failure stays, and the next call goes on from there. A migration that
    doesn't get a lock in its own lock_timeout tries again for `wait_seconds`; `told` hears of each time,
    and `done_one` each id as soon as it is applied: a failure leaves what went before it.
    `service_role` gets the rights on what is made, as whoever has them already does; see `grant_rights`.

    Raises:
        ValueError: the URL is none (see `parse_dsn`).
        NewerSchemaError: a later release migrated the database; not with `allow_newer`.
        SessionError: anything else, with the sentence to show.
    """
    states = migration_status(database_url)
    if not allow_newer and (newer := newer_migrations(state.id for state in states)):
        raise NewerSchemaError(explain_newer(newer))
    # The usual case at a server's start: no lock, no write, not even the right to.
    if all(state.applied_at for state in states):
        return []
    done: list[str] = []
    with _turn(database_url, service_role) as (backend, migrations, holders):
        for migration in backend.to_apply(migrations):
            deadline = time.monotonic() + wait_seconds
            while not _applied_now(backend, migration, holders, deadline, told):
                time.sleep(PAUSE_SECONDS)
            done.append(migration.id)
            done_one(migration.id)
    return done


def _applied_now(
    backend: MigrationBackend,
    migration: Migration,
    holders: Holders,
    deadline: float,
    told: Callable[[str], None],
) -> bool:
    """False where a lock isn't to be had, and there is time to try again."""
    try:
        with errors_told(f"migration {migration.id} failed", holders):
            backend.apply_one(migration)
    except LockHeldError as error:
        if time.monotonic() + PAUSE_SECONDS > deadline:
            raise
        told(f"{error} - trying again in {PAUSE_SECONDS:.0f} s")
        return False
    return True


def rollback_migrations(
    database_url: str, count: int = 1, *, done_one: Callable[[str], None] = lambda _: None
) -> list[str]:
    """Undo the last `count` applied migrations, newest first; return their ids.

    Blocks. `done_one` hears of each as soon as it is undone: a failure leaves what went before it.
    Conversations and messages stay; each rollback file says in its first lines what it costs.

    Raises:
        ValueError: the URL is none, or `count` is less than 1.
        NewerSchemaError: a later release's migrations are applied.
        SessionError: anything else, with the sentence to show.
    """
    if count < 1:
        raise ValueError("the number of migrations to roll back must be 1 or more")
    done: list[str] = []
    with _turn(database_url) as (backend, migrations, holders):
        if newer := newer_migrations(_applied(backend.connection)):
            raise NewerSchemaError(explain_newer(newer))
        for migration in list(backend.to_rollback(migrations))[:count]:
            with errors_told(f"rolling back migration {migration.id} failed", holders):
                backend.rollback_one(migration)
            done.append(migration.id)
            done_one(migration.id)
    return done


def grant_rights(database_url: str, service_role: str) -> list[str]:
    """Give a role what it lacks to run the service; return the statements that did it.

    Blocks. To be called when all is migrated.

    Raises:
        ValueError: the URL is none (see `parse_dsn`).
        SessionError: with the sentence to show.
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
        _turn(database_url) as (backend, *_),
        errors_told(f"cannot grant rights to {service_role}"),
    ):
        rows = backend.connection.execute("select chat_grant(%s)", (service_role,))
        return [statement for (statement,) in rows]


@contextmanager
def _turn(
    database_url: str, service_role: str = ""
) -> Iterator[tuple[MigrationBackend, MigrationList, Holders]]:
    """The only migrating process of this database: a backend, the migrations in order, who holds up locks."""
    dsn = parse_dsn(database_url)
    with errors_told("cannot migrate the database"), connected(dsn) as connection:
        if service_role:
            _require_role(connection, service_role)
        _wait_for(connection, TURN_LOCK)
        # Sessions of a killed process share this one until the server notices. Ours share it later.
        _wait_for(connection, SESSION_LOCK)
        connection.execute("select pg_advisory_unlock(%s, %s)", (CHAT_LOCK, SESSION_LOCK))
        # It idles too, with the lock, and a role may have another time-out.
        connection.execute("set idle_session_timeout = 0")
        with MigrationBackend(dsn, default_migration_table, service_role) as backend:
            backend.make_lock_table()
            backend.break_lock()
            with backend.lock(), watched(dsn) as holders:
                yield backend, _migrations(), holders


def _migrations() -> MigrationList:
    # yoyo takes a pattern, and would run Python files too.
    return read_migrations(glob.escape(str(migrations_dir()))).filter(Migration.is_raw_sql)


def _wait_for(connection: psycopg.Connection[Any], lock: int) -> None:
    """Poll: a session blocked in pg_advisory_lock() holds a snapshot, and index builds wait for it."""
    deadline = time.monotonic() + TURN_SECONDS
    while not _one(connection, "select pg_try_advisory_lock(%s, %s)", CHAT_LOCK, lock):
        if time.monotonic() > deadline:
            raise SessionError(
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
        raise SessionError(
            f"there is no role {role!r}, which SERVICE_ROLE names; make it first: "
            f"create role {sql.Identifier(role).as_string(connection)} login password '…'"
        )


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
