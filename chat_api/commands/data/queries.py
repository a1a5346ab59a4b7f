"""An operator's session: named queries, one after the other, each a transaction of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from chat_api.commands.session import connected
from chat_api.postgres.queries import load_queries

APPLICATION = "chat-api user"
"""What pg_stat_activity shows of it."""

_ROWS = 100  # fetched at once: a row may hold an answer of 200,000 characters


class Queries:
    """Runs named queries; a failure of the database is told by `session`."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def row(self, name: str, **parameters: Any) -> DictRow:
        """The only row of a query that has one."""
        (row,) = self.rows(name, **parameters)
        return row

    def rows(self, name: str, **parameters: Any) -> list[DictRow]:
        """Its rows, few of them."""
        cursor = psycopg.RawCursor(self._connection, row_factory=dict_row)
        return cursor.execute(*_statement(name, parameters)).fetchall()

    def stream(self, name: str, **parameters: Any) -> Iterator[DictRow]:
        """Its rows, however many, as they were when the first one was asked for."""
        with self._connection.transaction():
            cursor = psycopg.RawServerCursor(self._connection, "rows", row_factory=dict_row)
            with cursor:
                cursor.itersize = _ROWS
                yield from cursor.execute(*_statement(name, parameters))


@contextmanager
def session(database_url: str) -> Iterator[Queries]:
    """A session whose times are UTC.

    Raises:
        FailedError: the database can't be reached, or refuses what is asked in here.
    """
    with connected(database_url, APPLICATION) as connection:
        connection.execute("set timezone to 'UTC'")
        yield Queries(connection)


def _statement(name: str, parameters: dict[str, Any]) -> tuple[bytes, list[Any]]:
    query = load_queries()[name]
    return query.text.encode(), [parameters[parameter] for parameter in query.parameters]
