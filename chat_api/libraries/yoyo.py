"""The undocumented parts of yoyo that the service uses. setup.cfg allows no release after the tested one.

The documented `apply_migrations` and `rollback_migrations` don't report when each migration is done, and skip
one that can't be loaded. The documented `get_backend` opens its sessions itself, by a URL.

A release that changes what is used here fails tests/migrate.
"""

from __future__ import annotations

import glob
import logging
import socket
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import psycopg
from yoyo import default_migration_table, read_migrations
from yoyo.backends import PostgresqlPsycopgBackend
from yoyo.connections import parse_uri
from yoyo.exceptions import BadMigration, LockTimeout
from yoyo.migrations import Migration

FAILURES: tuple[type[Exception], ...] = (psycopg.Error, BadMigration, LockTimeout)
"""The exceptions with which migrations fail: the database's and yoyo's own."""

OpenSession = Callable[[], psycopg.Connection[Any]]

# yoyo also logs the traceback of what it raises, which we report in a sentence. Without this, stderr has
# both.
logging.getLogger("yoyo").addHandler(logging.NullHandler())


class Migrations:
    """The migrations of some folders, by their ids, and the database that records which are applied."""

    def __init__(self, folders: Sequence[Path], backend: _Backend) -> None:
        self._backend = backend
        # yoyo takes glob patterns, and would run Python files too.
        patterns = [glob.escape(str(folder)) for folder in folders]
        self._all = read_migrations(*patterns).filter(Migration.is_raw_sql)
        self._by_id = {migration.id: migration for migration in self._all}

    @property
    def connection(self) -> psycopg.Connection[Any]:
        """The session that records which migrations are applied."""
        connection: psycopg.Connection[Any] = self._backend.connection
        return connection

    def to_apply(self) -> list[str]:
        """The ids of the migrations that aren't applied, in order."""
        return [migration.id for migration in self._backend.to_apply(self._all)]

    def to_roll_back(self) -> list[str]:
        """The ids of the migrations that are applied, newest first."""
        return [migration.id for migration in self._backend.to_rollback(self._all)]

    def apply(self, name: str) -> None:
        """Run a migration in its own session, then record it."""
        self._backend.apply_one(self._by_id[name])

    def roll_back(self, name: str) -> None:
        """Roll back a migration in its own session, then remove its record."""
        self._backend.rollback_one(self._by_id[name])


@contextmanager
def locked_migrations(folders: Sequence[Path], open_session: OpenSession) -> Iterator[Migrations]:
    """Yield the migrations of some folders, locked against yoyo's own command line.

    That lock is a table row, which outlives a killed process, so a lock that is found here is removed.
    Callers must therefore keep others out by a lock of their own.
    """
    with _Backend(open_session) as backend:
        backend.make_lock_table()
        backend.break_lock()
        with backend.lock():
            yield Migrations(folders, backend)


class _Backend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """yoyo's backend for PostgreSQL, with sessions that are opened elsewhere."""

    def __init__(self, open_session: OpenSession) -> None:
        self._open_session = open_session  # needed by connect(), which the next line calls
        super().__init__(parse_uri("postgresql+psycopg:///"), default_migration_table)

    def copy(self) -> Self:
        """For yoyo: a backend with a session of its own, one for each migration."""
        return self.__class__(self._open_session)

    def connect(self, dburi: object) -> psycopg.Connection[Any]:
        """For yoyo: a session, whatever the URL."""
        return self._open_session()

    def make_lock_table(self) -> None:
        """Create yoyo's lock table if it is missing.

        yoyo's own `create_lock_table` takes every error, even a missing right, to mean that the table exists.
        """
        if self.lock_table not in self.list_tables():
            self.execute(self.format_sql(self.create_lock_table_sql))

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        """For yoyo: a row for its log.

        yoyo's own method looks up the user's name, which a container's uid may not have. It would then fail
        after the migration has run and before that is recorded. It also looks up the host's full name, and
        may wait for DNS.
        """
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": self.connection.info.user,
            "hostname": socket.gethostname(),
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }
