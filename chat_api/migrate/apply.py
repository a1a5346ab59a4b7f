"""Apply, roll back and list the migrations: plain SQL files, run by yoyo, one process at a time.

The files and the tables that record them are yoyo's own, so its command line works on the same database. This
module adds:

- Several processes may start at once. They take turns by an advisory lock, which ends with its session.
  yoyo's own lock is a table row that outlives a killed process; the process whose turn it is removes that
  row.
- A killed process can leave a statement running on the server. The next process waits until that has ended.
- When a migration doesn't get a lock, the holder is reported. On request the migration is tried again.
- Migrations that a later release applied are recognised as such (`newer_schema`).
- A DBA's own migrations come from another folder (`local`), and are applied after the release's.
- Every failure becomes a single SessionError.

Advisory locks belong to sessions, so migrations must bypass a pooler in transaction mode.
"""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from chat_api.folders import migration_ids, migrations_dir
from chat_api.libraries.yoyo import Migrations, locked_migrations
from chat_api.migrate.errors import LockHeldError, NewerSchemaError, explain_errors
from chat_api.migrate.local import ROLLBACK, can_go_back, drop_half_built, is_local, local_migrations
from chat_api.migrate.lock_holders import Holders, watch_holders
from chat_api.migrate.newer_schema import explain_newer, newer_migrations
from chat_api.migrate.session import CHAT_LOCK, SESSION_LOCK, TURN_LOCK, open_session
from chat_api.postgres.session import SessionError, connected
from chat_api.settings.database_url import parse_dsn

TURN_SECONDS = 15 * 60
"""How long to wait for another process that is migrating. An index on a big table takes minutes to build."""

PAUSE_SECONDS = 5.0
"""The pause between two tries for a lock. Statements of the service that queued meanwhile get through."""

_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class MigrationState:
    """A migration, and when it was applied (UTC); None while it is pending."""

    id: str
    applied_at: datetime | None


def known_migrations() -> list[str]:
    """The ids of the migrations that this release has, in order."""
    known = migration_ids()
    if not known:
        raise SessionError(f"there are no migrations in {migrations_dir()}; install the package again")
    return known


def migration_status(database_url: str, local: str = "") -> list[MigrationState]:
    """The release's migrations in order, those of the folder `local`, then all others that were applied.

    Changes nothing.
    """
    known = known_migrations() + local_migrations(local)
    with (
        explain_errors("cannot read the state of the database"),
        connected(parse_dsn(database_url)) as connection,
    ):
        applied = _applied(connection)
    unknown = [name for name in applied if name not in known]
    return [MigrationState(name, applied.get(name)) for name in known + unknown]


def apply_migrations(
    database_url: str,
    service_role: str = "",
    *,
    local: str = "",
    wait_seconds: float = 0,
    allow_newer: bool = False,
    warn: Callable[[str], None] = lambda _: None,
    on_done: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Apply the pending migrations, in order, then those of the folder `local`. Returns the applied ids.

    Blocks. Migrations applied before a failure stay applied, and the next call continues from there. If a
    migration doesn't get a lock within its own lock_timeout, it is tried again for up to `wait_seconds`.
    `warn` is called with a sentence before each retry, and `on_done` with each id as soon as it is applied.
    `service_role` gets rights on new tables, as do the roles that already have the service's rights; see
    `grant_rights`.

    Raises:
        ValueError: the URL isn't valid (see `parse_dsn`).
        SettingsError: a file of `local` is in the way.
        NewerSchemaError: a later release has migrated the database, and `allow_newer` isn't set.
        SessionError: any other failure. Its text is the sentence to show.
    """
    states = migration_status(database_url, local)
    if not allow_newer and (newer := newer_migrations(state.id for state in states)):
        raise NewerSchemaError(explain_newer(newer))
    # The usual case at a server's start. It takes no lock and writes nothing, so it needs no right to.
    if all(state.applied_at for state in states):
        return []
    done: list[str] = []
    dsn = parse_dsn(database_url)
    with _turn(database_url, service_role, local) as (migrations, holders):
        for name in migrations.to_apply():
            run = partial(migrations.apply, name)
            if is_local(name):
                run = partial(_apply_local, migrations, name, local, partial(open_session, dsn, service_role))
            deadline = time.monotonic() + wait_seconds
            while not _applied_now(run, name, holders, deadline, warn):
                time.sleep(PAUSE_SECONDS)
            done.append(name)
            on_done(name)
    return done


def _apply_local(
    migrations: Migrations, name: str, folder: str, session: Callable[[], psycopg.Connection[Any]]
) -> None:
    with session() as connection:
        drop_half_built(connection, folder, name)
    migrations.apply(name)


def _applied_now(
    run: Callable[[], None],
    name: str,
    holders: Holders,
    deadline: float,
    warn: Callable[[str], None],
) -> bool:
    """Apply a migration. False if it got no lock, and there is time for another try."""
    try:
        with explain_errors(f"migration {name} failed", holders):
            run()
    except LockHeldError as error:
        if time.monotonic() + PAUSE_SECONDS > deadline:
            raise
        warn(f"{error} - trying again in {PAUSE_SECONDS:.0f} s")
        return False
    return True


def rollback_migrations(
    database_url: str,
    count: int = 1,
    *,
    local: str = "",
    warn: Callable[[str], None] = lambda _: None,
    on_done: Callable[[str], None] = lambda _: None,
) -> list[str]:
    """Roll back the last `count` applied migrations, newest first. Returns their ids.

    One of the folder `local` is as old as its application: what was applied after it goes before it. Without
    its file it stays, and `warn` is called with a sentence.

    Blocks. `on_done` is called with each id as soon as it is rolled back. These stay rolled back if a later
    one fails. Conversations and messages stay; the first lines of each rollback file say what is lost.

    Raises:
        ValueError: the URL isn't valid, or `count` is less than 1.
        SettingsError: a file of `local` is in the way.
        NewerSchemaError: a later release's migrations are applied.
        SessionError: any other failure. Its text is the sentence to show.
    """
    if count < 1:
        raise ValueError("the number of migrations to roll back must be 1 or more")
    done: list[str] = []
    known_local = local_migrations(local)
    with _turn(database_url, local=local) as (migrations, holders):
        applied = _applied(migrations.connection)
        if newer := newer_migrations(applied):
            raise NewerSchemaError(explain_newer(newer))
        names = _newest_first(migrations.to_roll_back(), applied)[:count]
        without_file = [name for name in applied if is_local(name) and name not in known_local]
        for kept in reversed(without_file):
            if any(applied[name] < applied[kept] for name in names):
                warn(f"{kept} is newer and stays: its file isn't in MIGRATIONS_DIR")
        for name in names:
            if is_local(name) and not can_go_back(local, name):
                raise SessionError(f"{name} can't be rolled back: write {Path(local) / name}{ROLLBACK} first")
            with explain_errors(f"rolling back migration {name} failed", holders):
                migrations.roll_back(name)
            done.append(name)
            on_done(name)
    return done


def _newest_first(names: list[str], applied: dict[str, datetime]) -> list[str]:
    """Put a DBA's own among the release's, whose order is that of their numbers."""
    own = [name for name in names if is_local(name)]
    release = [name for name in names if not is_local(name)]
    return list(heapq.merge(own, release, key=lambda name: applied[name], reverse=True))


def grant_rights(database_url: str, service_role: str) -> list[str]:
    """Grant a role the rights that it still needs to run the service. Returns the statements that did so.

    Blocks. Call it when no migration is pending.

    Raises:
        ValueError: the URL isn't valid (see `parse_dsn`).
        SessionError: it failed. The text is the sentence to show.
    """
    with (
        explain_errors(f"cannot look at the rights of {service_role}"),
        connected(parse_dsn(database_url)) as connection,
    ):
        _require_role(connection, service_role)
        # The usual case again. It takes no lock and writes nothing.
        if _one(connection, "select count(*) from chat_missing_rights(%s)", service_role) == 0:
            return []
    with (
        _turn(database_url) as (migrations, _),
        explain_errors(f"cannot grant rights to {service_role}"),
    ):
        rows = migrations.connection.execute("select chat_grant(%s)", (service_role,))
        return [statement for (statement,) in rows]


@contextmanager
def _turn(database_url: str, service_role: str = "", local: str = "") -> Iterator[tuple[Migrations, Holders]]:
    """Be the only process that migrates this database. Yields the migrations and the lock holders."""
    dsn = parse_dsn(database_url)
    with explain_errors("cannot migrate the database"), connected(dsn) as connection:
        if service_role:
            _require_role(connection, service_role)
        _wait_for(connection, TURN_LOCK)
        # A killed process's sessions share this lock until the server notices their end. Ours share it later.
        _wait_for(connection, SESSION_LOCK)
        connection.execute("select pg_advisory_unlock(%s, %s)", (CHAT_LOCK, SESSION_LOCK))
        # This session idles while it holds the lock, and its role may have a time-out for that.
        connection.execute("set idle_session_timeout = 0")
        sessions = partial(open_session, dsn, service_role)
        folders = [migrations_dir(), *([Path(local)] if local else [])]  # in this order they are applied
        with (
            locked_migrations(folders, sessions) as migrations,
            watch_holders(dsn) as holders,
        ):
            yield migrations, holders


def _wait_for(connection: psycopg.Connection[Any], lock: int) -> None:
    """Poll: a session that waits in pg_advisory_lock() holds a snapshot, and index builds wait for that."""
    deadline = time.monotonic() + TURN_SECONDS
    while not _one(connection, "select pg_try_advisory_lock(%s, %s)", CHAT_LOCK, lock):
        if time.monotonic() > deadline:
            raise SessionError(
                f"another process has been migrating this database for {TURN_SECONDS // 60} minutes; "
                "pg_stat_activity shows it as 'chat-api migrate'"
            )
        time.sleep(_POLL_SECONDS)


def _applied(connection: psycopg.Connection[Any]) -> dict[str, datetime]:
    if _one(connection, "select to_regclass('_yoyo_migration')") is None:
        return {}
    rows = connection.execute(
        "select migration_id, applied_at_utc from _yoyo_migration order by applied_at_utc"
    )
    return {name: at.replace(tzinfo=UTC) for name, at in rows}


def _require_role(connection: psycopg.Connection[Any], role: str) -> None:
    if _one(connection, "select 1 from pg_roles where rolname = %s", role) is None:
        raise SessionError(
            f"SERVICE_ROLE names the role {role!r}, which doesn't exist; create it first: "
            f"create role {sql.Identifier(role).as_string(connection)} login password '…'"
        )


def _one(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters).fetchone()
    return row[0] if row else None
