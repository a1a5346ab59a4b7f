"""An operator's session: named queries, one after another, each in its own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from chat_api.commands.session import connected
from chat_api.postgres.queries import load_queries

APPLICATION = "chat-api user"
"""The application name that pg_stat_activity shows."""

_ROWS = 100  # fetched at once; few, because a row may hold an answer of 200,000 characters


class Queries:
    """Runs named queries. `session` turns a failure of the database into a FailedError."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def row(self, name: str, **parameters: Any) -> DictRow:
        """Run a query that returns exactly one row. Returns that row."""
        (row,) = self.rows(name, **parameters)
        return row

    def rows(self, name: str, **parameters: Any) -> list[DictRow]:
        """Run a query that returns few rows. Returns them all."""
        cursor = psycopg.RawCursor(self._connection, row_factory=dict_row)
        return cursor.execute(*_statement(name, parameters)).fetchall()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit what runs in the block as one, or nothing of it."""
        with self._connection.transaction():
            yield

    def stream(self, name: str, **parameters: Any) -> Iterator[DictRow]:
        """Run a query that may return any number of rows. Yields them, all from one snapshot."""
        with self._connection.transaction():
            # Where an index has the order, rows come from it, not from a sort that has to hold them all.
            self._connection.execute("set local enable_sort = off")
            cursor = psycopg.RawServerCursor(self._connection, "rows", row_factory=dict_row)
            with cursor:
                cursor.itersize = _ROWS
                yield from cursor.execute(*_statement(name, parameters))


@contextmanager
def session(database_url: str) -> Iterator[Queries]:
    """Open a session whose times are in UTC.

    Raises:
        FailedError: the database can't be reached, or refuses a statement within the block.
    """
    with connected(database_url, APPLICATION) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Queries(connection)


def _statement(name: str, parameters: dict[str, Any]) -> tuple[bytes, list[Any]]:
    query = load_queries()[name]
    return query.text.encode(), [parameters[parameter] for parameter in query.parameters]
