"""An operator's session: named queries, one after another, each in its own transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from chat_api.commands.session import connected
from chat_api.postgres.queries import Query, load_queries
from chat_api.settings import Settings

APPLICATION = "chat-api user"
"""The application name that pg_stat_activity shows."""

_ROWS = 100  # fetched at once; few, because a row may hold an answer of 200,000 characters


class Queries:
    """Runs named queries. `session` turns a failure of the database into a FailedError."""

    def __init__(self, connection: psycopg.Connection[Any], queries: dict[str, Query]) -> None:
        self._connection = connection
        self._queries = queries

    def row(self, name: str, **parameters: Any) -> DictRow:
        """Run a query that returns exactly one row. Returns that row."""
        (row,) = self.rows(name, **parameters)
        return row

    def rows(self, name: str, **parameters: Any) -> list[DictRow]:
        """Run a query that returns few rows. Returns them all."""
        cursor = psycopg.RawCursor(self._connection, row_factory=dict_row)
        return cursor.execute(*self._statement(name, parameters)).fetchall()

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
                yield from cursor.execute(*self._statement(name, parameters))

    def _statement(self, name: str, parameters: dict[str, Any]) -> tuple[bytes, list[Any]]:
        query = self._queries[name]
        return query.text.encode(), [parameters[parameter] for parameter in query.parameters]


@contextmanager
def session(settings: Settings) -> Iterator[Queries]:
    """Open a session whose times are in UTC.

    Raises:
        SettingsError: a file of SQL_DIR can't be used.
        FailedError: the database can't be reached, or refuses a statement within the block.
    """
    queries = load_queries(settings.sql_dir)
    with connected(settings.database_url, APPLICATION) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Queries(connection, queries)
