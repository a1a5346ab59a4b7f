"""yoyo's backend for PostgreSQL, made to run unattended: in containers, at any moment, several at once."""

from __future__ import annotations

import logging
import socket
import uuid
from datetime import UTC, datetime
from typing import Any, Self

import psycopg
from yoyo.backends import PostgresqlPsycopgBackend
from yoyo.migrations import Migration

from chat_api.postgres.session import connect
from chat_api.settings.database_url import Dsn

CHAT_LOCK = 0x63686174
"""First key of the advisory locks here ("chat" in ASCII); the second is one of the following."""
TURN_LOCK = 1
"""Held by the process whose turn it is to migrate."""
SESSION_LOCK = 2
"""Shared by every session that runs migrations, until the server has seen its end."""

# yoyo logs tracebacks of what it raises as well, and a sentence tells of that; without this, stderr has both.
logging.getLogger("yoyo").addHandler(logging.NullHandler())


class MigrationBackend(PostgresqlPsycopgBackend):  # type: ignore[misc]  # yoyo has no types
    """Connects by a Dsn, which yoyo keeps as its `uri`; each migration gets a copy with its own session."""

    def __init__(self, dburi: Dsn, migration_table: str, service_role: str = "") -> None:
        self._service_role = service_role  # before the session is opened
        super().__init__(dburi, migration_table)

    def copy(self) -> Self:
        """A backend with a session of its own."""
        return self.__class__(self.uri, self.migration_table, self._service_role)

    def connect(self, dburi: Dsn) -> psycopg.Connection[Any]:
        """Open a session that shares SESSION_LOCK, and tells migrations the role that runs the service."""
        connection = connect(dburi)
        try:
            connection.execute("select pg_advisory_lock_shared(%s, %s)", (CHAT_LOCK, SESSION_LOCK))
            connection.execute("select set_config('chat.service_role', %s, false)", (self._service_role,))
            # yoyo's first session idles while a second one runs a migration, which may take hours.
            connection.execute("set idle_session_timeout = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def make_lock_table(self) -> None:
        """Make yoyo's lock table where it is missing.

        yoyo's own `create_lock_table` takes every error for "already there", a missing right too.
        """
        if self.lock_table not in self.list_tables():
            self.execute(self.format_sql(self.create_lock_table_sql))

    def get_log_data(self, migration: Migration | None = None, operation: str = "apply") -> dict[str, Any]:
        """A row for yoyo's log.

        yoyo's own looks up the user's name, which a container's uid may not have: it would fail when the
        migration has run and isn't marked yet. And it looks up the host's full name, and may wait for DNS.
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
