"""The database's connections: whatever breaks, each is in use, in the pool, or idle at hand."""

from __future__ import annotations

import asyncio
import random
import time
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import asyncpg
import pytest

from chat_api import errors
from chat_api.observe.metrics import Metrics
from chat_api.postgres import connections as connections_module
from chat_api.postgres import database as database_module
from chat_api.postgres.database import Database
from chat_api.postgres.queries import Query
from chat_api.settings import Settings
from tests.support.chat import Sql, until

CONNECTIONS = 2
MORE = {
    "test.sleep": Query("select pg_sleep($1), pg_backend_pid() as pid", ("seconds",)),
    "test.fail": Query("select 1 / cast($1 as integer)", ("zero",)),
    "test.kill": Query("select pg_terminate_backend(pg_backend_pid()), pg_sleep($1)", ("seconds",)),
}


@asynccontextmanager
async def opened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    queries = {**database_module.load_queries(), **MORE}
    monkeypatch.setattr(database_module, "load_queries", lambda _: queries)
    database = Database(settings.model_copy(update={"database_pool_max": CONNECTIONS}), Metrics())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A Database with two connections, and queries that are slow, fail, or end their own connection."""
    async with opened(settings, monkeypatch) as database:
        yield database


async def all_work(database: Database) -> None:
    """Check that as many queries as there may be connections run at once, without waiting for each other."""
    async with asyncio.timeout(5):
        rows = await asyncio.gather(*[database.row("test.sleep", seconds=0.2) for _ in range(CONNECTIONS)])
    assert len({row["pid"] for row in rows if row is not None}) == CONNECTIONS


async def test_no_connection_is_lost_or_shared_whatever_happens_to_queries(
    database: Database, sql: Sql
) -> None:
    chance = random.Random(4)

    async def work() -> None:
        for _ in range(20):
            what = chance.choice(["sleep", "sleep", "sleep", "fail", "kill", "cancel", "cancel", "trim"])
            try:
                if what == "trim":
                    await database.trim()
                elif what == "fail":
                    with pytest.raises(asyncpg.DivisionByZeroError):
                        await database.row("test.fail", zero=0)
                elif what == "kill":
                    await database.row("test.kill", seconds=0.01)
                elif what == "cancel":
                    async with asyncio.timeout(chance.random() / 50):
                        await database.row("test.sleep", seconds=0.01)
                else:
                    await database.row("test.sleep", seconds=chance.random() / 500)
            except (errors.DatabaseUnavailable, TimeoutError):
                pass

    async def kill() -> None:
        while True:
            await asyncio.sleep(0.1)
            await sql.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where datname = current_database() and pid <> pg_backend_pid() limit 1"
            )

    killing = asyncio.create_task(kill())
    async with asyncio.timeout(60):
        await asyncio.gather(*[work() for _ in range(50)])
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    for _ in range(CONNECTIONS):  # a connection that was just ended may be noticed only now
        with suppress(errors.DatabaseUnavailable):
            await database.row("test.sleep", seconds=0)
    await all_work(database)
    opened, idle = database.connections
    assert opened == idle == CONNECTIONS


async def test_connections_that_nobody_has_wanted_for_some_minutes_are_closed(
    database: Database, monkeypatch: pytest.MonkeyPatch, sql: Sql
) -> None:
    await all_work(database)
    await database.trim()
    assert database.connections == (CONNECTIONS, CONNECTIONS)
    row = await database.row("test.sleep", seconds=0.1)  # one of them is wanted
    monkeypatch.setattr(connections_module, "IDLE_SECONDS", 0.05)
    await database.trim()
    assert database.connections == (1, 1)

    async def closed() -> bool:
        pids = await sql.fetch("select pid from pg_stat_activity where application_name = 'chat-api'")
        return [each["pid"] for each in pids] == [row["pid"] if row else None]

    await until(closed)
    await all_work(database)


async def test_a_query_that_ends_while_the_database_is_closed_does_not_hold_that_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings, monkeypatch) as database:
        query = asyncio.create_task(database.row("test.sleep", seconds=0.2))
        await asyncio.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 1
    assert await query is not None


async def test_a_closed_database_keeps_nobody_waiting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(settings, monkeypatch) as database:
        busy = [asyncio.create_task(database.row("test.sleep", seconds=30)) for _ in range(2 * CONNECTIONS)]
        await asyncio.sleep(0.1)  # half of them wait for a connection
        began = time.monotonic()
    ends = await asyncio.gather(*busy, return_exceptions=True)
    assert time.monotonic() - began < 3
    assert {type(end) for end in ends} == {errors.DatabaseUnavailable}
    with pytest.raises(errors.DatabaseUnavailable):
        await database.row("test.sleep", seconds=0)


async def test_a_value_that_the_database_refuses_is_not_in_the_errors_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = "klaatu"
    async with opened(settings, monkeypatch) as database:
        with pytest.raises(asyncpg.DataError) as refused:
            await database.row("test.fail", zero=value)
        assert value not in "".join(traceback.format_exception(refused.value)).replace(
            f'value = "{value}"', ""
        )
        assert str(refused.value) == "DataError in test.fail"


async def test_each_query_is_prepared_once_however_long(settings: Settings) -> None:
    """By default, asyncpg keeps no statement of over 15 KiB: it would be parsed and planned each time."""
    database = Database(settings, Metrics())
    queries = database_module.load_queries()
    async with database.session() as session:
        for query in queries.values():
            with suppress(asyncpg.PostgresError):  # no argument is given, which not all accept
                async with session.transaction():
                    await session.fetch(query.text, *[None for _ in query.parameters])
        rows = await session.fetch("select statement from pg_prepared_statements")
    kept = {row["statement"] for row in rows}
    assert [name for name, query in queries.items() if query.text not in kept] == []
    await database.close()
