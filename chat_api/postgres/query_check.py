"""Whether a database understands the queries, and a DBA's own can stand in for the packaged ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import zip_longest
from typing import TYPE_CHECKING

import asyncpg

from chat_api.postgres.failures import UNREACHABLE
from chat_api.postgres.queries import MEND, Query, load_queries

if TYPE_CHECKING:
    from chat_api.libraries.asyncpg import Connection

LOCK_TIMEOUT = "2s"
"""A migration may hold a lock on a table. The start doesn't wait until it has ended."""

RESTORE = (
    "correct that, or put the release's file back; if nobody edited it, `chat-api sql check` tells how the "
    "database differs"
)
"""What to do about a packaged query that the database refuses."""

Shape = tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]
"""Names and types of a query's parameters, sorted by name, and of its columns, in order."""


@dataclass(frozen=True, slots=True)
class Misfit:
    """A query that the database refuses, or an own one that can't stand in for the packaged one."""

    name: str
    place: str
    """File and line."""
    problem: str
    is_own: bool = True

    def __str__(self) -> str:
        text = f"{self.place}: {self.name} {self.problem}"
        return f"SQL_DIR: {text}; {MEND}" if self.is_own else f"{text}; {RESTORE}"


async def find_misfits(connection: Connection, queries: dict[str, Query]) -> list[Misfit]:
    """Prepare and plan the own queries among these, and compare them with the packaged ones.

    A database that refuses the packaged query, too, isn't migrated, and says nothing about the own one.
    Raises the errors of a connection that breaks or of a lock that isn't granted.
    """
    found: list[Misfit] = []
    for name, query in queries.items():
        if not query.is_own:
            continue
        packaged = await _shape(connection, load_queries()[name])
        if isinstance(packaged, asyncpg.PostgresError):
            continue
        shape = await _shape(connection, query)
        if isinstance(shape, asyncpg.PostgresError):
            found.append(_refused(name, query, shape))
        else:
            found += [Misfit(name, query.place_at(), problem) for problem in _differences(shape, packaged)]
    return found


async def find_refused(connection: Connection, queries: dict[str, Query]) -> list[Misfit]:
    """Prepare the packaged ones among these, without a plan: that takes half a millisecond each.

    A right that this role lacks says nothing about a query. Raises as `find_misfits` does.
    """
    found: list[Misfit] = []
    left = [(name, query) for name, query in queries.items() if not query.is_own]
    while left:
        taken, error = await _prepare(connection, [query for _, query in left])
        if error is not None and not isinstance(error, asyncpg.InsufficientPrivilegeError):
            found.append(_refused(*left[taken], error))
        left = left[taken + 1 :]
    return found


async def _prepare(connection: Connection, queries: list[Query]) -> tuple[int, asyncpg.PostgresError | None]:
    """How many of these the server takes before it refuses one, and why it does."""
    async with _impatient(connection):
        for number, query in enumerate(queries):
            try:
                await connection.prepare(query.text, name="")
            except asyncpg.PostgresError as error:
                if isinstance(error, UNREACHABLE):
                    raise  # says nothing about the query
                return number, error
    return len(queries), None


@asynccontextmanager
async def _impatient(connection: Connection) -> AsyncIterator[None]:
    """A transaction to roll back, which waits for no lock longer than LOCK_TIMEOUT."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        await connection.execute(f"set local lock_timeout = '{LOCK_TIMEOUT}'")
        yield
    finally:
        await transaction.rollback()


def _refused(name: str, query: Query, error: asyncpg.PostgresError) -> Misfit:
    place = query.place_at(int(error.position or 0))
    return Misfit(name, place, " ".join(str(error.args[0]).split()), query.is_own)


async def _shape(connection: Connection, query: Query) -> Shape | asyncpg.PostgresError:
    """What the server makes of a query, or why it refuses it to this role."""
    async with _impatient(connection):
        try:
            statement = await connection.prepare(query.text, name="")
            columns = tuple((each.name, each.type.name) for each in statement.get_attributes())
            types = [each.name for each in statement.get_parameters()]
            # Preparing alone doesn't check this role's rights.
            await connection.fetch(f"explain {query.text}", *[None for _ in types])
        except asyncpg.PostgresError as error:
            if isinstance(error, UNREACHABLE):
                raise  # says nothing about the query
            return error
    return tuple(sorted(zip(query.parameters, types, strict=True))), columns


def _differences(own: Shape, packaged: Shape) -> Iterator[str]:
    for (name, is_type), (_, wanted) in zip(own[0], packaged[0], strict=True):
        if is_type != wanted:
            yield f"takes {name} as {is_type}, and the packaged one takes it as {wanted}"
    for number, (column, wanted_column) in enumerate(zip_longest(own[1], packaged[1]), 1):
        if column is None:
            yield f"doesn't return column {number}, {_words(wanted_column)}, as the packaged one does"
        elif wanted_column is None:
            yield f"returns column {number}, {_words(column)}, and the packaged one doesn't"
        elif column != wanted_column:
            yield f"returns {_words(column)} as column {number}, and the packaged one {_words(wanted_column)}"


def _words(column: tuple[str, str]) -> str:
    return f"{column[0]} ({column[1]})"
