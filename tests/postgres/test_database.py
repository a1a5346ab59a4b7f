"""The database's connections: whatever breaks, each is somebody's, the pool's, or at hand."""

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
from chat_api.postgres import database as database_module
from chat_api.postgres.database import Database
from chat_api.postgres.queries import Query
from chat_api.settings import Settings
from tests.support.chat import Sql

CONNECTIONS = 2
MORE = {
    "test.sleep": Query("select pg_sleep($1), pg_backend_pid() as pid", ("seconds",)),
    "test.fail": Query("select 1 / cast($1 as integer)", ("zero",)),
    "test.kill": Query("select pg_terminate_backend(pg_backend_pid()), pg_sleep($1)", ("seconds",)),
}


@asynccontextmanager
async def opened(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    queries = {**database_module.load_queries(), **MORE}
    monkeypatch.setattr(database_module, "load_queries", lambda: queries)
    database = Database(settings.model_copy(update={"database_pool_max": CONNECTIONS}), Metrics())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture
async def database(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """With two connections, and queries that take their time, fail, and end their own connection."""
    async with opened(settings, monkeypatch) as database:
        yield database


async def all_work(database: Database) -> None:
    """As many queries at once as there may be connections, none of which waits for another."""
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
    assert database._waiting == 0
    for _ in range(CONNECTIONS):  # one that was ended a moment ago may be found so only now
        with suppress(errors.DatabaseUnavailable):
            await database.row("test.sleep", seconds=0)
    await all_work(database)
    opened, idle = database.connections
    assert opened == idle == CONNECTIONS
    for _ in range(2):
        await database.trim()
    assert database._idle == []
    assert database._pool.get_idle_size() == CONNECTIONS
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


async def test_a_trim_that_is_cancelled_loses_no_connection(database: Database) -> None:
    await all_work(database)
    await database.trim()
    trimming = asyncio.create_task(database.trim())
    await asyncio.sleep(0)
    trimming.cancel()
    await asyncio.gather(trimming, return_exceptions=True)
    await all_work(database)


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
