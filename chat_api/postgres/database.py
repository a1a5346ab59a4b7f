"""The database: runs named queries on connections that are kept, and turns its errors into ChatErrors."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import asyncpg
import structlog

from chat_api.libraries.asyncpg import Connection
from chat_api.postgres.connections import Connections, Kept
from chat_api.postgres.connector import Connector
from chat_api.postgres.encoding import WrongEncoding
from chat_api.postgres.failures import CONSTRAINTS, ERRORS, LOST, UNREACHABLE, Failures, refuses_writes
from chat_api.postgres.queries import Query, load_queries, outdated
from chat_api.postgres.query_check import Misfit, find_misfits, find_refused
from chat_api.settings import SettingsError
from chat_api.settings.database_url import parse_dsn

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.settings import Settings

__all__ = ["CONSTRAINTS", "UNREACHABLE", "Database"]

log = structlog.get_logger(__name__)

GRACE_SECONDS = 1
"""How much later the server cancels a statement than the worker itself does."""

CHECK_SECONDS = 5
"""How long the check of queries may take."""

Fetch = Callable[..., Coroutine[Any, Any, Any]]


class Database:
    """Runs named queries on connections that survive restarts and failovers of PostgreSQL.

    Every method raises DatabaseUnavailable while PostgreSQL can't be reached, and the ChatError of a violated
    constraint that means something to the caller (CONSTRAINTS); other database errors pass unchanged. A query
    takes DATABASE_TIMEOUT at most, with the wait for a connection.

    A query is sent a second time only where it can't have been executed, or may be twice: a server that takes
    no writes refused it, or it only reads and its connection broke.
    """

    def __init__(
        self,
        settings: Settings,
        metrics: Metrics,
        around: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """`around` is entered around each statement, with the query's name: for tracing."""
        self._around = around
        self._own = settings.sql_dir
        self._queries = load_queries(self._own)
        self._metrics = metrics
        self._took = {name: metrics.statement_duration.labels(name) for name in self._queries}
        dsn = parse_dsn(settings.database_url)
        self.address = dsn.redacted()
        self._ignored = dsn.ignored
        self._failures = Failures(self.address, metrics)
        arguments: dict[str, Any] = {
            "command_timeout": settings.database_timeout,
            "server_settings": {"application_name": "chat-api", "timezone": "UTC"},
            # Statements longer than asyncpg's 15 KiB would be parsed and planned each time.
            "max_cacheable_statement_size": 0,
            **dsn.asyncpg_kwargs(),
        }
        self._timeout = float(arguments["command_timeout"])
        self._is_pooled = arguments.get("statement_cache_size") == 0
        self._connector = Connector(dsn, arguments)
        self._connections = Connections(self._connector, settings.database_pool_max, self._limit_statements)
        self._sessions: set[Connection] = set()

    async def open(self) -> None:
        """Say what of the URL is left aside, and check a DBA's own queries; without any, connect to nothing.

        A database that is away delays this by CHECK_SECONDS at most. Raises SettingsError.
        """
        for option, reason in self._ignored:
            log.warning("database_option_ignored", database=self.address, option=option, reason=reason)
        own = [name for name, query in self._queries.items() if query.is_own]
        if own and await self.check():
            self._tell_own()
        elif own:
            log.warning("own_queries_unchecked", database=self.address, queries=own)

    async def check(self) -> bool:
        """Check a DBA's own queries on the database. Returns whether it answered. Raises SettingsError."""
        return await self._fit(self._misfits(self._queries))

    async def check_packaged(self) -> bool:
        """Check, in the same way, the packaged queries in use. It says nothing before all is migrated."""
        return await self._fit(self._refused(self._queries))

    async def reread(self) -> None:
        """Read a DBA's own queries anew, and use them if they all fit.

        Queries that can't be used, or can't be checked now, change nothing, and are logged.
        """
        reason = "SQL_DIR: the database can't be reached to check the queries"
        try:
            queries = load_queries(self._own)
            if await self._fit(self._misfits(queries)):
                self._queries = queries
                self._tell_own()
                return
        except SettingsError as error:
            reason = str(error)
        do = "correct that and send SIGHUP again; the queries of before stay"
        log.error("own_queries_refused", reason=reason, do=do)

    async def misfits(self) -> list[Misfit]:
        """The own queries that don't fit the database or the packaged ones; errors pass unchanged."""
        return await self._misfits(self._queries)

    async def _misfits(self, queries: dict[str, Query]) -> list[Misfit]:
        if not any(query.is_own for query in queries.values()):
            return []
        async with asyncio.timeout(CHECK_SECONDS), self.session() as session:
            return await find_misfits(session, queries)

    async def _refused(self, queries: dict[str, Query]) -> list[Misfit]:
        async with asyncio.timeout(CHECK_SECONDS), self.session() as session:
            return await find_refused(session, queries)

    async def _fit(self, found: Awaitable[list[Misfit]]) -> bool:
        """Whether the database answered. Raises SettingsError."""
        try:
            misfits = await found
        except (*UNREACHABLE, WrongEncoding):
            return False
        if misfits:
            raise SettingsError("\n".join(map(str, misfits)))
        return True

    def _tell_own(self) -> None:
        own = [name for name, query in self._queries.items() if query.is_own]
        log.info("own_queries", queries=own)
        for name in outdated(self._queries):
            place, do = self._queries[name].place_at(), f"chat-api sql diff {name}"
            log.warning("own_query_outdated", query=name, place=place, do=do)

    async def close(self) -> None:
        """Close every connection; one that is still busy gets two seconds."""
        await self._connections.close()

    @property
    def connections(self) -> tuple[int, int]:
        """How many connections are open, and how many of these are idle."""
        return self._connections.counts

    async def trim(self) -> None:
        """Close the connections that nobody has wanted for some minutes."""
        self._connections.trim()

    async def row(self, name: str, **parameters: Any) -> asyncpg.Record | None:
        """The first row of a query, or None."""
        row: asyncpg.Record | None = await self._run(name, parameters, Connection.fetchrow)
        return row

    async def rows(self, name: str, **parameters: Any) -> list[asyncpg.Record]:
        """All rows of a query."""
        rows: list[asyncpg.Record] = await self._run(name, parameters, Connection.fetch)
        return rows

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Connection]:
        """A connection of its own, beside those for queries; errors pass unchanged.

        It is closed when a query finds that its server takes no writes.
        """
        connection = await self._connector.connect(self._timeout)
        self._sessions.add(connection)
        try:
            yield connection
        finally:
            self._sessions.discard(connection)
            connection.terminate()

    async def _run(self, name: str, parameters: dict[str, Any], fetch: Fetch) -> Any:
        query = self._queries[name]
        if len(parameters) != len(query.parameters):
            raise TypeError(f"{name} takes {query.parameters}, not {tuple(parameters)}")
        arguments = [parameters[parameter] for parameter in query.parameters]
        with self._around(name):
            try:
                return await self._execute(name, query, arguments, fetch)
            except ERRORS as error:
                if (seen := self._failures.tell(name, query, error)) is None:
                    raise
                raise seen from error

    async def _execute(self, name: str, query: Query, arguments: list[Any], fetch: Fetch) -> Any:
        deadline = time.monotonic() + self._timeout
        refused: BaseException | None = None
        while True:
            kept, seconds = self._connections.take_at_hand(), None
            if kept is None:
                kept, seconds = await self._take(deadline)
            began = time.monotonic()
            if refused is not None:  # the second time gets what the first one left
                seconds = max(deadline - began, 0.001)
            try:
                result = await fetch(kept.connection, query.text, *arguments, timeout=seconds)
            except BaseException as error:
                self._take_back(kept, error, began)
                again = refuses_writes(error) or (query.only_reads and isinstance(error, LOST))
                if refused is not None or not again:
                    raise
                refused = error
            else:
                self._connections.give(kept)
                if refuses_writes(refused):
                    log.info("database_failed_over", database=self.address, query=name)
                return result
            finally:
                self._took[name].observe(time.monotonic() - began)

    async def _take(self, deadline: float) -> tuple[Kept, float]:
        """Wait for a connection. Returns the seconds that are left, too."""
        began = time.monotonic()
        try:
            kept = await self._connections.take(deadline - began)
        finally:
            self._metrics.connection_wait.observe(time.monotonic() - began)
        return kept, max(deadline - time.monotonic(), 0.001)

    def _take_back(self, kept: Kept, error: BaseException, began: float) -> None:
        if refuses_writes(error):
            # Its server was demoted, and the others may lead there too.
            self._connections.forget_all()
            for connection in self._sessions:
                connection.terminate()
        if isinstance(error, TimeoutError):
            # Where one swallows what it is sent, those that have been idle all the time may do so too.
            self._connections.forget(began)
        if isinstance(error, TimeoutError | asyncio.CancelledError):
            self._connections.leave(kept)
        elif isinstance(error, asyncpg.PostgresError):
            self._connections.give(kept)
        else:
            self._connections.drop(kept)

    async def _limit_statements(self, connection: Connection) -> None:
        if not self._is_pooled:  # behind a pooler in transaction mode, a session is everybody's
            limit = self._queries["maintenance.limit_statements"].text
            await connection.execute(limit, self._timeout + GRACE_SECONDS)
