"""The database: a pool, the named queries of `sql/`, and database errors turned into ChatErrors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import aiosql
import asyncpg
import structlog
from asyncpg.pool import PoolConnectionProxy

from chat_api import errors
from chat_api.dsn import parse_dsn
from chat_api.errors import describe
from chat_api.resources import query_files

if TYPE_CHECKING:
    from chat_api.metrics import Metrics
    from chat_api.settings import Settings

log = structlog.get_logger(__name__)

# The database is away, not wrong: a retry may help.
UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.OperatorInterventionError,  # shut down under us
    asyncpg.InsufficientResourcesError,  # out of connections, memory or disk
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, until the fail-over is through
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.LockNotAvailableError,  # a lock_timeout that a DBA has set
    asyncpg.TransactionRollbackError,  # a deadlock with a DBA's transaction
)
# asyncpg's own state is out of order, as when a connection was cut in the middle of an answer.
BROKEN = (asyncpg.InternalClientError, asyncpg.InterfaceError)
NOT_MIGRATED = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.UndefinedFunctionError)

GRACE_SECONDS = 1
"""What the server gives a statement beyond the time after which the worker itself cancels it."""

# A violated constraint that says something to the caller.
CONSTRAINTS: dict[str, type[errors.ChatError]] = {
    "conversations_user_id_fkey": errors.UnknownUser,
    "generations_conversation_id_fkey": errors.ConversationNotFound,
    "messages_conversation_id_fkey": errors.ConversationNotFound,
    "uq_generations_idempotency_key": errors.RequestRepeated,
}


@dataclass(frozen=True, slots=True)
class Query:
    """A named query: its text with $1, $2 … and the names of these, in order."""

    text: str
    parameters: tuple[str, ...]


@cache
def load_queries() -> dict[str, Query]:
    """Every query of `sql/` under `<file>.<name>`."""
    queries = {}
    for path in query_files():
        loaded = aiosql.from_path(path, "asyncpg")
        for name in loaded.available_queries:
            if name.endswith("_cursor"):  # aiosql's own twin of each multi-row query
                continue
            function = getattr(loaded, name)
            parameters = tuple(function.__signature__.parameters)[1:]
            queries[f"{path.stem}.{name}"] = Query(function.sql, parameters)
    return queries


class Database:
    """Runs named queries on a pool that survives restarts of PostgreSQL.

    Every method raises DatabaseUnavailable while PostgreSQL can't be reached, and the ChatError of a violated
    constraint that means something to the caller (CONSTRAINTS); other database errors pass unchanged.
    """

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._queries = load_queries()
        self._metrics = metrics
        self._took = {name: metrics.statement_duration.labels(name) for name in self._queries}
        self._timeout = settings.database_timeout
        dsn = parse_dsn(settings.database_url)
        self.address = dsn.redacted()
        self._connect: dict[str, Any] = {
            "timeout": settings.database_timeout,
            "command_timeout": settings.database_timeout,
            "server_settings": {"application_name": "chat-api", "timezone": "UTC"},
            **dsn.asyncpg_kwargs(),
        }
        self._pool = asyncpg.create_pool(
            **self._connect,
            min_size=0,  # so that the service starts, and says what is wrong, without its database
            max_size=settings.database_pool_max,
            max_inactive_connection_lifetime=300,
            # Behind a pooler in transaction mode a session is everybody's.
            init=None if self._connect.get("statement_cache_size") == 0 else self._limit_statements,
            reset=_keep_session,
        )
        # Taken from the pool, and kept: its way to hand a connection on costs as much as a statement.
        self._idle: list[PoolConnectionProxy[asyncpg.Record]] = []
        self._unwanted = 0  # of these, the first ones that were idle all the time since the last `trim`
        self._waiting = 0  # who wants one from the pool, so that it must get back what comes free

    async def open(self) -> None:
        """Make the pool; connects to nothing yet."""
        await self._pool

    async def close(self) -> None:
        """Close every connection; one that is still busy gets two seconds."""
        self._waiting += 1  # from now on what comes free goes to the pool, which waits for all there are
        try:
            async with asyncio.timeout(2):
                while self._idle:
                    await self._pool.release(self._idle.pop())
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are open, and how many of these are idle."""
        return self._pool.get_size(), self._pool.get_idle_size() + len(self._idle)

    async def trim(self) -> None:
        """Let the pool have, and in time close, the connections that nobody wanted since the last call."""
        while self._unwanted:
            self._unwanted -= 1
            await self._pool.release(self._idle.pop(0))  # one by one: none is lost if this is cancelled
        self._unwanted = len(self._idle)

    async def row(self, name: str, **parameters: Any) -> asyncpg.Record | None:
        """The first row of a query, or None."""
        row: asyncpg.Record | None = await self._run(name, parameters, PoolConnectionProxy.fetchrow)
        return row

    async def rows(self, name: str, **parameters: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        rows: list[asyncpg.Record] = await self._run(name, parameters, PoolConnectionProxy.fetch)
        return rows

    @asynccontextmanager
    async def session(self) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
        """A connection of its own, outside the pool; errors pass unchanged."""
        connection = await asyncpg.connect(**self._connect)
        try:
            yield connection
        finally:
            connection.terminate()

    async def _run(
        self, name: str, parameters: dict[str, Any], fetch: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Any:
        query = self._queries[name]
        if len(parameters) != len(query.parameters):
            raise TypeError(f"{name} takes {query.parameters}, not {tuple(parameters)}")
        arguments = [parameters[parameter] for parameter in query.parameters]
        try:
            connection = await self._take()
            began = time.perf_counter()
            try:
                result = await fetch(connection, query.text, *arguments)
            except BaseException as error:
                if isinstance(error, BROKEN):
                    connection.terminate()  # the pool's reset, which would find this out, is left out
                await self._pool.release(connection)  # which looks at what a cancelled query left
                raise
            finally:
                self._took[name].observe(time.perf_counter() - began)
            if self._waiting:
                await self._pool.release(connection)
            else:
                self._idle.append(connection)
            return result
        except UNREACHABLE as error:
            self._metrics.database_errors.labels("unavailable").inc()
            log.warning("database_unavailable", database=self.address, query=name, reason=describe(error))
            raise errors.DatabaseUnavailable from error
        except NOT_MIGRATED as error:
            self._metrics.database_errors.labels("not_migrated").inc()
            log.error(
                "database_not_migrated",
                database=self.address,
                query=name,
                reason=describe(error),
                do="chat-api migrate",
            )
            raise errors.DatabaseNotMigrated from error
        except asyncpg.InsufficientPrivilegeError as error:
            self._metrics.database_errors.labels("right_missing").inc()
            log.error(
                "database_right_missing",
                database=self.address,
                query=name,
                reason=describe(error),
                do="chat-api sql check",
            )
            raise errors.DatabaseNotMigrated from error
        except asyncpg.IntegrityConstraintViolationError as error:
            known = CONSTRAINTS.get(error.constraint_name or "")
            if known is None:
                self._metrics.database_errors.labels("failed").inc()
                error.detail = None  # the row itself, which may hold a message: not for the log
                raise
            raise known from error
        except asyncpg.PostgresError as error:
            self._metrics.database_errors.labels("failed").inc()
            if isinstance(error, asyncpg.DataError):
                error.args = (f"{type(error).__name__} in {name}",)  # its text quotes the value
            raise

    async def _limit_statements(self, connection: Any) -> None:
        seconds = float(self._connect["command_timeout"] + GRACE_SECONDS)
        await connection.execute(self._queries["maintenance.limit_statements"].text, seconds)

    async def _take(self) -> PoolConnectionProxy[asyncpg.Record]:
        """The connection that was used last, of those that are idle; else one from the pool."""
        while self._idle:
            connection = self._idle.pop()
            self._unwanted = min(self._unwanted, len(self._idle))
            if not connection.is_closed():
                return connection
            await self._pool.release(connection)
        self._waiting += 1
        began = time.perf_counter()
        try:
            return await self._pool.acquire(timeout=self._timeout)
        finally:
            self._waiting -= 1
            self._metrics.connection_wait.observe(time.perf_counter() - began)


async def _keep_session(_: object) -> None:
    """Nothing to reset: no query changes its session, and asyncpg's own reset costs more than a query."""
