"""Check whether a database fits the queries, and report each difference in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from chat_api.commands.refusals import is_standby
from chat_api.commands.session import connected
from chat_api.commands.sql.catalog import NamedQuery, read_catalog
from chat_api.commands.sql.own import check_own
from chat_api.commands.sql.rights import Rights, read_rights
from chat_api.commands.sql.schema import Finding, compare, read_schema
from chat_api.migrate.apply import migration_status
from chat_api.migrate.newer_schema import newer_migrations
from chat_api.postgres.queries import Query
from chat_api.settings import Settings
from chat_api.settings.database_url import Dsn, parse_dsn

LOCK_TIMEOUT = "5s"
"""A running migration may hold a lock on a table. The check doesn't wait until it has ended."""

_PREPARE = "prepare checked as "


def check(settings: Settings) -> list[Finding]:
    """Find how the database differs from what this release, and a DBA's own queries, need. Changes nothing.

    Raises:
        FailedError: the database can't be reached or read.
        SettingsError: a file of SQL_DIR or MIGRATIONS_DIR can't be used.
    """
    database_url = settings.database_url
    catalog = read_catalog(settings.sql_dir)
    with connected(database_url) as connection:
        address = list(_pooler(connection, parse_dsn(database_url)))
        rights = read_rights(connection)
        if rights and rights.closed:
            return [*address, *rights.closed]  # the role sees nothing in it, so nothing else can be checked
        with _impatient(connection):
            schema = read_schema(connection)
        # One of these queries reads the migrations' table, so from here on it is known not to be locked.
        refused = list(_refused(connection, catalog, rights))
        states = (
            []
            if rights and not rights.sees_migrations
            else migration_status(database_url, settings.migrations_dir)
        )
    pending = [state.id for state in states if state.applied_at is None]
    newer = newer_migrations(state.id for state in states)
    return [
        *address,
        *(Finding("migration", name, "is pending", "chat-api migrate") for name in pending),
        *(Finding("migration", name, "is from a later release: use that one", None) for name in newer),
        *compare(schema, catalog),
        *refused,
        *check_own(settings, catalog, {finding.name for finding in refused}),
    ]


def _pooler(connection: psycopg.Connection[Any], dsn: Dsn) -> Iterator[Finding]:
    """Find a pooler that the URL doesn't announce: its clients see other process ids than the server's."""
    if dsn.pooler is not None or dict(dsn.pool_options).get("statement_cache_size") == 0:
        return
    row = connection.execute("select pg_backend_pid()").fetchone()
    if row is not None and row[0] != connection.info.backend_pid:
        yield Finding(
            "address",
            dsn.redacted(),
            "is a pooler's: in transaction mode, prepared statements stay in sessions that other clients get",
            "add ?pgbouncer=true to DATABASE_URL; ?pgbouncer=false if it keeps a session for each client",
        )


@contextmanager
def _impatient(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction to roll back, with a short lock_timeout: even the catalog's functions wait for locks."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        yield


def _refused(
    connection: psycopg.Connection[Any], catalog: dict[str, NamedQuery], rights: Rights | None
) -> Iterator[Finding]:
    """The queries that this database refuses, or refuses to this role."""
    for name, query in catalog.items():
        with _impatient(connection):
            try:
                _prepare(connection, query.sent)
            except errors.LockNotAvailable:
                raise  # says nothing about the query
            except psycopg.Error as error:
                lacks_right = isinstance(error, errors.InsufficientPrivilege)
                remedy = rights.remedy if rights and lacks_right else None
                yield Finding("query", name, _in_one_line(error, query.sent), remedy)


def _prepare(connection: psycopg.Connection[Any], query: Query) -> None:
    with connection.transaction():  # a savepoint, because a failed transaction can't deallocate anything
        connection.execute(f"{_PREPARE}{query.text}".encode())
    try:
        # Plan it, without executing it: preparing alone doesn't check this role's rights.
        nulls = f"({', '.join(['null'] * len(query.parameters))})" if query.parameters else ""
        with connection.transaction():
            connection.execute(f"explain execute checked{nulls}".encode())
    except errors.FeatureNotSupported:
        # On a standby no query of an unlogged table can be planned, though it fits. Preparing has checked it.
        if not is_standby(connection):
            raise
    finally:
        connection.execute("deallocate checked")


def _in_one_line(error: psycopg.Error, query: Query) -> str:
    """The server's message, with the line of the file that it refers to."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    position = int(error.diag.statement_position or 0) - len(_PREPARE)
    if position > 0:
        return f"{message} ({query.place_at(position)})"
    return f"{message} ({query.place_at()})" if query.is_own else message
