"""Queries that read any number of rows, all from one moment, in memory that doesn't grow with them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING, Any

from chat_api.postgres.failures import ERRORS

if TYPE_CHECKING:
    import asyncpg

    from chat_api.libraries.asyncpg import Connection
    from chat_api.postgres.failures import Failures
    from chat_api.postgres.queries import Query

_ROWS = 32  # fetched at once; few, because a row may hold an answer of 200,000 characters


class Snapshot:
    """A read-only transaction on a connection of its own, which ends with that connection."""

    def __init__(self, connection: Connection, queries: Mapping[str, Query], failures: Failures) -> None:
        self._connection = connection
        self._queries = queries
        self._failures = failures

    async def rows(self, name: str, **parameters: Any) -> AsyncGenerator[asyncpg.Record, None]:
        """All rows of a query, through a cursor. Each piece of them takes DATABASE_TIMEOUT at most.

        Raises DatabaseUnavailable and what else Database.rows does, also after the first row.
        """
        query = self._queries[name]
        arguments = [parameters[parameter] for parameter in query.parameters]
        try:
            async for row in self._connection.cursor(query.text, *arguments, prefetch=_ROWS):
                yield row
        except ERRORS as error:
            if (seen := self._failures.tell(name, query, error)) is None:
                raise
            raise seen from error
