"""Whether the queries and a database fit each other: what drifted, a line each."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import errors

from chat_api.commands.session import connected
from chat_api.commands.sql.catalog import NamedQuery, read_catalog
from chat_api.commands.sql.rights import Rights, read_rights
from chat_api.commands.sql.schema import Finding, compare, read_schema
from chat_api.migrate.apply import migration_status
from chat_api.migrate.newer_schema import newer_migrations
from chat_api.postgres.queries import Query, load_queries

LOCK_TIMEOUT = "5s"
"""A migration at work may hold a table; the check doesn't wait for its end."""

_PREPARE = "prepare checked as "


def check(database_url: str) -> list[Finding]:
    """What of the database isn't as this version wants it; empty where all is well. Changes nothing.

    Raises:
        FailedError: the database can't be reached or read.
    """
    catalog = read_catalog()
    with connected(database_url) as connection:
        rights = read_rights(connection)
        if rights and rights.closed:
            return rights.closed  # behind it nothing is seen, and nothing could be said of it
        with _impatient(connection):
            schema = read_schema(connection)
        # One of them reads the migrations' table: from here on it is known that nobody has that locked.
        refused = list(_refused(connection, catalog, rights))
        states = [] if rights and not rights.sees_migrations else migration_status(database_url)
    pending = [state.id for state in states if state.applied_at is None]
    newer = newer_migrations(state.id for state in states)
    return [
        *(Finding("migration", name, "is pending", "chat-api migrate") for name in pending),
        *(Finding("migration", name, "is a later release's: use that one", None) for name in newer),
        *compare(schema, catalog),
        *refused,
    ]


@contextmanager
def _impatient(connection: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction to roll back; even the catalogue's functions wait for a table that is being changed."""
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        yield


def _refused(
    connection: psycopg.Connection[Any], catalog: dict[str, NamedQuery], rights: Rights | None
) -> Iterator[Finding]:
    """The queries that this database doesn't take, or not from this role."""
    for name, query in load_queries().items():
        with _impatient(connection):
            try:
                _prepare(connection, query)
            except errors.LockNotAvailable:
                raise  # says nothing of the query
            except psycopg.Error as error:
                lacks_right = isinstance(error, errors.InsufficientPrivilege)
                remedy = rights.remedy if rights and lacks_right else None
                yield Finding("query", name, _in_one_line(error, catalog[name]), remedy)


def _prepare(connection: psycopg.Connection[Any], query: Query) -> None:
    with connection.transaction():  # a savepoint: in a failed transaction nothing could be deallocated
        connection.execute(f"{_PREPARE}{query.text}".encode())
    try:
        # Planned, not executed: preparing alone doesn't ask whether this role may.
        nulls = f"({', '.join(['null'] * len(query.parameters))})" if query.parameters else ""
        with connection.transaction():
            connection.execute(f"explain execute checked{nulls}".encode())
    finally:
        connection.execute("deallocate checked")


def _in_one_line(error: psycopg.Error, query: NamedQuery) -> str:
    """The server's own words, and the line of the file that they are about."""
    message = " ".join((error.diag.message_primary or str(error)).split())
    if not error.diag.statement_position:
        return message
    before = f"{_PREPARE}{load_queries()[query.name].text}"[: int(error.diag.statement_position) - 1]
    return f"{message} ({query.place_of(query.lines[before.count(chr(10))])})"
