"""Idempotency keys leave a day after the answer began: the statement, and the service."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chat_api.settings import Settings
from chat_api.upkeep.cleaning import BEGINNING
from tests.conftest import Start
from tests.support.chat import until
from tests.support.queries import Chat, Connection, one
from tests.upkeep.test_retention import age

DAY = 86_400.0


async def forget_keys(sql: Connection, **changes: Any) -> tuple[int, int, UUID | None]:
    """Run `forget_keys`. Returns how many records it read, how many keys left, and the last record's id."""
    parameters = {"after": BEGINNING, "seconds": DAY, "max_rows": 100, **changes}
    row = await one(sql, "retention.forget_keys", **parameters)
    assert row is not None
    return row["passed"], row["gone"], row["last_id"]


async def answered(sql: Connection, days: float, key: str | None = "k") -> Chat:
    """Store a conversation with an answer that is that many days old."""
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql, idempotency_key=key))
    await age(sql, chat, days)
    return chat


async def keys(sql: Connection) -> dict[UUID, str]:
    """The key that each conversation's answer has."""
    rows = await sql.fetch("select conversation_id, idempotency_key from generations")
    return {row["conversation_id"]: row["idempotency_key"] for row in rows if row["idempotency_key"]}


async def test_a_key_leaves_after_a_day_and_nothing_else_does(sql: Connection) -> None:
    old, young, running = await answered(sql, 1.01), await answered(sql, 0.99), await Chat().open(sql)
    begun = await running.begin(sql, idempotency_key="k")
    await sql.execute("update generations set id = $2 where id = $1", begun, UUID(int=1))
    await running.queue(sql, "later", idempotency_key="q")
    before = await sql.fetch("select id, finished_at, message_id, status from generations order by id")
    assert (await forget_keys(sql))[:2] == (2, 1)
    assert await keys(sql) == {young.id: "k", running.id: "k"}
    after = await sql.fetch("select id, finished_at, message_id, status from generations order by id")
    assert after == before
    assert await sql.fetchval("select idempotency_key from queued_messages") == "q"
    assert await sql.fetchval("select count(*) from messages where conversation_id = $1", old.id) == 2


async def test_a_retry_after_that_is_a_new_message(sql: Connection) -> None:
    chat = await answered(sql, 1.01)
    row = await chat.start(sql, idempotency_key="k")
    assert row is not None
    assert row["outcome"] == "existed"
    await forget_keys(sql)
    await chat.begin(sql, idempotency_key="k")
    said = "select count(*) from messages where conversation_id = $1 and role = 'user'"
    assert await sql.fetchval(said, chat.id) == 2


async def test_batches_walk_the_records_in_their_order_and_write_only_those_with_a_key(
    sql: Connection,
) -> None:
    for days, key in ((5, "k"), (4, None), (3, "k"), (2, "k"), (1.5, None)):
        await answered(sql, days, key)
    after, found = BEGINNING, []
    while True:
        passed, gone, last = await forget_keys(sql, after=after, max_rows=2)
        found.append((passed, gone))
        if last is None:
            break
        assert last > after
        after = last
    assert found == [(2, 1), (2, 2), (1, 0), (0, 0)]
    assert await keys(sql) == {}
    written = "select n_tup_upd from pg_stat_xact_user_tables where relname = 'generations'"
    async with sql.transaction():
        before = await sql.fetchval(written)
        assert (await forget_keys(sql))[:2] == (5, 0)
        assert await sql.fetchval(written) == before


async def test_a_batch_that_never_commits_is_done_by_the_next_which_waits_for_nobody(
    sql: Connection, database_url: str
) -> None:
    chat = await answered(sql, 2)
    killed = await asyncpg.connect(database_url)
    await killed.execute("begin")
    assert (await forget_keys(killed))[:2] == (1, 1)
    assert (await forget_keys(sql))[:2] == (1, 0)
    killed.terminate()

    async def is_free() -> bool:
        return (await forget_keys(sql))[1] == 1

    await until(is_free)
    assert await keys(sql) == {}
    assert await sql.fetchval("select count(*) from messages where conversation_id = $1", chat.id) == 2


async def test_the_eldest_worker_lets_keys_leave_and_looks_only_at_new_records_again(
    start: Start, settings: Settings, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.upkeep.cleaning.KEY_ROWS", 2)
    monkeypatch.setattr("chat_api.upkeep.cleaning.REST_SECONDS", 0.5)
    for days in (5, 4, 3, 2):
        await answered(sql, days)
    young = await answered(sql, 0.5)
    await start(settings.model_copy(update={"worker_lease": 1.0}))

    async def is_done() -> bool:
        return set(await keys(sql)) == {young.id}

    await until(is_done)
    # One that comes in behind the walk keeps its key until the next walk from the start; a later one doesn't.
    behind, ahead = await answered(sql, 6), await answered(sql, 1.1)

    async def is_done_again() -> bool:
        return set(await keys(sql)) == {young.id, behind.id}

    await until(is_done_again)
    assert ahead.id not in await keys(sql)
