"""A row that stays locked costs its caller a 503, and no connection or session is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Sql, nobody_waits, somebody_waits
from tests.support.model_server import ModelServer
from tests.support.processes import Service, open_conversation
from tests.support.reader import read_events, text_of

TITLE = {"title": "new"}


@pytest.fixture
def impatient(settings: Settings) -> Settings:
    """A time-out of a second for statements, and two connections."""
    return settings.model_copy(update={"database_timeout": 1.0, "database_pool_max": 2})


@pytest.fixture
async def holder(database_url: str) -> AsyncIterator[Sql]:
    """A DBA's session."""
    session = await asyncpg.connect(database_url)
    yield session
    await session.close()


async def test_a_locked_row_is_a_503_and_the_others_go_on(
    start: Start, impatient: Settings, user: dict[str, str], holder: Sql, model: ModelServer, sql: Sql
) -> None:
    client = await start(impatient)
    locked, free = [await open_conversation(client, user) for _ in range(2)]
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("select from conversations where id = $1 for update", locked.rpartition("/")[2])
    async with asyncio.timeout(5):
        refused = await client.put(locked, json=TITLE, headers=user)
    assert refused.status == 503
    assert (await refused.json())["code"] == "database_unavailable"
    assert int(refused.headers["Retry-After"]) > 0
    await nobody_waits(sql)  # the service has the server cancel what it doesn't wait for
    model.say = ["as ", "ever"]
    async with client.post(f"{free}/messages", json={"content": "hi"}, headers=user) as response:
        assert text_of(await read_events(response)) == "as ever"
    await transaction.rollback()
    assert (await client.put(locked, json=TITLE, headers=user)).status == 200


async def test_the_server_ends_a_statement_whose_worker_was_killed(
    impatient: Settings, user: dict[str, str], holder: Sql, sql: Sql
) -> None:
    async with Service(impatient) as service:
        path = await open_conversation(service.session, user)
        async with holder.transaction():
            await holder.execute("select from conversations for update")
            asking = asyncio.create_task(service.session.put(path, json=TITLE, headers=user))
            await somebody_waits(sql)
            os.kill(service.pid, signal.SIGKILL)
            await asyncio.gather(asking, return_exceptions=True)
            await nobody_waits(sql)  # the lock is still held


@pytest.mark.parametrize(
    ("set_by_the_dba", "limit"),
    [(None, "2s"), ("alter database {} set statement_timeout = '700ms'", "700ms")],
)
async def test_sessions_have_a_limit_and_a_dbas_own_stays(
    start: Start,
    impatient: Settings,
    user: dict[str, str],
    sql: Sql,
    set_by_the_dba: str | None,
    limit: str,
) -> None:
    if set_by_the_dba is not None:
        await sql.execute(set_by_the_dba.format(await sql.fetchval("select current_database()")))
    # Only a session itself can see its settings.
    await sql.execute("""
        create table seen (statement_timeout text);
        create function look() returns trigger language plpgsql as $$
            begin insert into seen values (current_setting('statement_timeout')); return new; end
        $$;
        create trigger look after insert on conversations for each row execute function look();
    """)
    client = await start(impatient)
    await open_conversation(client, user)
    assert await sql.fetchval("select statement_timeout from seen") == limit


async def test_a_lock_time_out_that_a_dba_has_set_is_a_503_too(
    start: Start, impatient: Settings, user: dict[str, str], holder: Sql, sql: Sql
) -> None:
    await sql.execute(
        f"alter database {await sql.fetchval('select current_database()')} set lock_timeout = '100ms'"
    )
    client = await start(impatient)
    path = await open_conversation(client, user)
    async with holder.transaction():
        await holder.execute("select from conversations for update")
        refused = await client.put(path, json=TITLE, headers=user)
    assert (refused.status, refused.headers["Retry-After"] > "0") == (503, True)
    assert (await client.put(path, json=TITLE, headers=user)).status == 200


async def test_an_answer_whose_end_meets_a_locked_row_is_stored_when_the_row_is_free(
    start: Start, impatient: Settings, user: dict[str, str], holder: Sql, model: ModelServer, sql: Sql
) -> None:
    client: Any = await start(impatient)
    path = await open_conversation(client, user)
    async with client.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream:
        call = await model.call()
        call.say("kept")
        await read_events(stream, 2)
        async with holder.transaction():
            await holder.execute("select from conversations for update")
            call.finish()
            await asyncio.sleep(1.5)  # the first try was cancelled
        events = await read_events(stream)
    assert events[-1].data["finish_reason"] == "stop"
    assert await sql.fetchval("select count(*) from messages where role = 'assistant'") == 1
