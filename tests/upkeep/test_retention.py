"""Retention: what is deleted by age, by which worker, and who has to wait; the statements and the service."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chat_api.settings import Settings
from chat_api.upkeep.cleaning import BEGINNING, PRUNE_ROWS
from tests.conftest import Start
from tests.support.chat import open_chat, until
from tests.support.queries import Chat, Connection, blocked, one

ALL = 2**32


async def sweep(sql: Connection, **changes: Any) -> tuple[int, int | None]:
    """Run a sweep. Returns how many conversations were deleted, and where to go on."""
    parameters = {"first_block": 0, "blocks": ALL, "days": 30, "favourites": False, "max_rows": 100}
    row = await one(sql, "retention.sweep", **{**parameters, **changes})
    assert row is not None
    return row["gone"], row["next_block"]


async def forget(sql: Connection, **changes: Any) -> tuple[int, UUID | None]:
    """Run `forget`. Returns how many records were deleted, and the last one's id."""
    row = await one(sql, "retention.forget", **{"after": BEGINNING, "days": 30, "max_rows": 100, **changes})
    assert row is not None
    return row["gone"], row["last_id"]


async def due(sql: Connection, **changes: Any) -> asyncpg.Record:
    """What would be deleted."""
    row = await one(
        sql,
        "retention.due",
        **{
            "first_block": 0,
            "blocks": ALL,
            "days": 30,
            "favourites": False,
            "generation_days": 30,
            **changes,
        },
    )
    assert row is not None
    return row


async def idle(sql: Connection, days: float, *, is_favorited: bool = False, versions: int = 1) -> Chat:
    """Store a conversation with a question and its answer, from that many days ago."""
    chat = await Chat().open(sql)
    for version in range(versions):
        await chat.finish(sql, await chat.begin(sql, kind="regenerate" if version else "send"))
    await age(sql, chat, days)
    await sql.execute("update conversations set is_favorited = $2 where id = $1", chat.id, is_favorited)
    return chat


async def age(sql: Connection, chat: Chat, days: float) -> None:
    """Make a conversation's last activity and the records of its answers that old."""
    await sql.execute(
        "update conversations set updated_at = now() - make_interval(secs => $2) where id = $1",
        chat.id,
        days * 86400,
    )
    await sql.execute(
        "update generations set finished_at = at,"
        " id = cast(left(chat_uuid7_at(at)::text, 18) || substr(id::text, 19) as uuid)"
        " from (select now() - make_interval(secs => $2) as at) as past"
        " where conversation_id = $1 and status <> 'running'",
        chat.id,
        days * 86400,
    )


async def count(sql: Connection, table: str) -> int:
    """How many rows a table has."""
    found: int = await sql.fetchval(f"select count(*) from {table}")
    return found


async def left(sql: Connection) -> set[UUID]:
    """The conversations that are left."""
    return {row["id"] for row in await sql.fetch("select id from conversations")}


# sweep


async def test_an_idle_conversation_goes_with_all_that_belongs_to_it(sql: Connection) -> None:
    await idle(sql, 30.01, versions=3)
    young = await idle(sql, 29.99, versions=2)
    assert await sweep(sql) == (1, None)
    assert await left(sql) == {young.id}
    tables = ("messages", "inactive_messages", "generations")
    assert [await count(sql, table) for table in tables] == [2, 1, 2]
    assert await sweep(sql) == (0, None)


async def test_a_favourite_stays_unless_it_is_said_otherwise(sql: Connection) -> None:
    starred = await idle(sql, 400, is_favorited=True)
    assert await sweep(sql) == (0, None)
    assert await left(sql) == {starred.id}
    assert await sweep(sql, favourites=True) == (1, None)


async def test_a_conversation_with_a_running_answer_stays(sql: Connection) -> None:
    chat = await Chat().open(sql)
    running = await chat.begin(sql)
    await age(sql, chat, 400)
    assert await sweep(sql) == (0, None)
    await chat.finish(sql, running)
    await age(sql, chat, 400)
    assert await sweep(sql) == (1, None)


@pytest.mark.parametrize("days", [0, -5])
async def test_no_number_of_days_takes_what_was_said_today(sql: Connection, days: int) -> None:
    chat = await idle(sql, 0.9)
    assert await sweep(sql, days=days) == (0, None)
    assert await forget(sql, days=days) == (0, None)
    assert await left(sql) == {chat.id}


async def test_a_full_batch_goes_on_at_the_same_page(sql: Connection) -> None:
    for _ in range(5):
        await idle(sql, 40)
    assert [await sweep(sql, max_rows=2) for _ in range(3)] == [(2, 0), (2, 0), (1, None)]


async def test_a_walk_in_parts_sees_every_page_and_ends(sql: Connection) -> None:
    await sql.execute(
        "insert into conversations (user_id, title, updated_at)"
        " select chat_uuid7(), repeat('x', 400), now() - interval '31 days' from generate_series(1, 200)"
    )
    block: int | None = 0
    gone = steps = 0
    while block is not None:
        count_, block = await sweep(sql, first_block=block, blocks=1, max_rows=1000)
        gone, steps = gone + count_, steps + 1
    assert gone == 200
    assert steps > 5


async def test_a_conversation_in_which_something_is_being_said_stays_and_is_not_waited_for(
    sql: Connection, database_url: str
) -> None:
    chat = await idle(sql, 40)
    second = await asyncpg.connect(database_url)
    async with sql.transaction():
        await chat.begin(sql)
        assert await asyncio.wait_for(sweep(second), 5) == (0, None)
    assert await sweep(second) == (0, None)
    await second.close()


async def test_who_sends_while_his_conversation_is_swept_is_told_that_it_is_gone(
    sql: Connection, database_url: str
) -> None:
    chat = await idle(sql, 40)
    second = await asyncpg.connect(database_url)
    async with sql.transaction():
        assert await sweep(sql) == (1, None)
        sending = asyncio.create_task(chat.start(second))
        third = await asyncpg.connect(database_url)
        await blocked(third, second.get_server_pid())
        await third.close()
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="generations_conversation_id_fkey"):
        await sending  # postgres.database turns it into ConversationNotFound
    await second.close()
    assert await count(sql, "messages") == 0


async def test_two_sweep_at_once_and_neither_waits(sql: Connection, database_url: str) -> None:
    for _ in range(4):
        await idle(sql, 40)
    second = await asyncpg.connect(database_url)
    async with sql.transaction():
        assert await sweep(sql, max_rows=3) == (3, 0)
        assert await asyncio.wait_for(sweep(second, max_rows=3), 5) == (1, None)
    await second.close()
    assert await left(sql) == set()


# forget


async def test_records_of_answers_go_by_their_end_and_what_was_said_stays(sql: Connection) -> None:
    await idle(sql, 30.01)
    young = await idle(sql, 29.99)
    running = await Chat().open(sql)
    begun = await running.begin(sql)
    await sql.execute("update generations set id = $2 where id = $1", begun, UUID(int=1))
    gone, last = await forget(sql)
    assert gone == 1
    assert last is not None
    kept = {row["conversation_id"] for row in await sql.fetch("select conversation_id from generations")}
    assert kept == {young.id, running.id}
    assert await count(sql, "messages") == 5
    assert await forget(sql, after=last) == (0, None)


async def test_records_go_oldest_first_in_batches(sql: Connection) -> None:
    for days in (60, 80, 70, 90, 50):
        await idle(sql, days)
    after, gone = BEGINNING, []
    while True:
        number, last = await forget(sql, after=after, max_rows=2)
        gone.append(number)
        if last is None:
            break
        assert last > after
        assert not await sql.fetchval("select exists (select from generations where id <= $1)", last)
        after = last
    assert gone == [2, 2, 1, 0]


async def test_a_key_is_new_again_when_its_record_is_forgotten(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql, idempotency_key="k"))
    await age(sql, chat, 31)
    row = await chat.start(sql, idempotency_key="k")
    assert row is not None
    assert row["outcome"] == "existed"
    await forget(sql)
    await chat.begin(sql, idempotency_key="k")


# due


@pytest.mark.parametrize("favourites", [False, True])
async def test_what_would_go_is_what_goes(sql: Connection, favourites: bool) -> None:
    for days in (10, 31, 45):
        for is_favorited in (False, True):
            await idle(sql, days, is_favorited=is_favorited, versions=2)
    expected = await due(sql, favourites=favourites)
    before = {table: await count(sql, table) for table in ("conversations", "messages", "inactive_messages")}
    records = await count(sql, "generations")
    assert (expected["generations"], (await forget(sql))[0]) == (8, 8)
    await sweep(sql, favourites=favourites)
    assert expected["conversations"] == before["conversations"] - await count(sql, "conversations")
    gone = [before[table] - await count(sql, table) for table in ("messages", "inactive_messages")]
    assert gone == ([8, 4] if favourites else [4, 2])
    assert expected["messages"] == sum(gone)
    assert expected["favourites"] == (0 if favourites else 2)
    assert records == 12
    assert round((await sql.fetchval("select now()") - expected["oldest"]).total_seconds() / 86400) == 45


async def test_nothing_is_due_where_retention_is_off(sql: Connection) -> None:
    await idle(sql, 4000)
    assert tuple(await due(sql, days=0, generation_days=0)) == (0, 0, 0, None, 0, None)


# the service


async def write_journal(sql: Connection, rows: int) -> None:
    """Store slices of answers that ended long ago."""
    await sql.execute(
        "insert into journal select chat_uuid7_at(now() - interval '1 hour'), n, n + 1, '[{}]'"
        " from generate_series(1, $1) as n",
        rows,
    )


async def empty(sql: Connection, table: str) -> None:
    """Wait until a table is empty."""

    async def is_empty() -> bool:
        return await count(sql, table) == 0

    await until(is_empty)


async def test_a_journal_of_many_batches_is_pruned_in_one_round(
    start: Start, settings: Settings, sql: Connection
) -> None:
    """One batch per round would be 1,000 rows a second, but a thousand answers write five times as many."""
    await write_journal(sql, 6 * PRUNE_ROWS)
    await start(settings.model_copy(update={"worker_lease": 3600.0}))  # rounds of 20 minutes
    await empty(sql, "journal")


async def test_the_eldest_worker_cleans_and_when_it_dies_the_next_one(
    start: Start, settings: Settings, sql: Connection
) -> None:
    elder = (
        "insert into workers values (gen_random_uuid(), now() - interval '1 day', now() + interval '1 hour')"
    )
    await sql.execute(elder)
    await write_journal(sql, 10)
    await start(settings.model_copy(update={"worker_lease": 1.0}))
    await asyncio.sleep(1)  # three rounds
    assert await count(sql, "journal") == 10
    await sql.execute("update workers set lease_until = now() where lease = '1 day'")
    await empty(sql, "journal")


async def test_what_is_behind_the_place_that_was_pruned_last_goes_later(
    start: Start, settings: Settings, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For an answer that took longer than those that began after it."""
    monkeypatch.setattr("chat_api.upkeep.cleaning.AGAIN_SECONDS", 0.5)
    await write_journal(sql, 10)
    await start(settings.model_copy(update={"worker_lease": 1.0}))
    await empty(sql, "journal")
    await sql.execute("insert into journal values ($1, 0, 1, '[]')", UUID(int=1))
    await empty(sql, "journal")


async def test_retention_days_are_kept(start: Start, settings: Settings, sql: Connection) -> None:
    for _ in range(250):  # more than two batches
        await idle(sql, 31)
    starred, young = await idle(sql, 31, is_favorited=True), await idle(sql, 29)
    await start(settings.model_copy(update={"retention_days": 30, "worker_lease": 3600.0}))

    async def are_gone() -> bool:
        return await left(sql) == {starred.id, young.id}

    await until(are_gone)


async def test_conversations_too_large_to_go_a_hundred_at_once_go_one_by_one(
    start: Start, settings: Settings, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.upkeep.cleaning.RETRY_SECONDS", 0)
    monkeypatch.setattr("chat_api.upkeep.cleaning.GENTLE", 0)
    await sql.execute(
        "create function dawdle() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.1); return old; end $$;"
        " create trigger dawdle before delete on conversations for each row execute function dawdle()"
    )
    for _ in range(5):
        await idle(sql, 31)
    changes = {"retention_days": 30, "database_timeout": 0.3, "worker_lease": 1.0}
    await start(settings.model_copy(update=changes))
    await empty(sql, "conversations")


async def test_generation_days_are_kept(start: Start, settings: Settings, sql: Connection) -> None:
    await idle(sql, 31)
    young = await idle(sql, 29)
    await start(settings.model_copy(update={"generation_days": 30}))

    async def is_gone() -> bool:
        rows = await sql.fetch("select conversation_id from generations")
        return [row["conversation_id"] for row in rows] == [young.id]

    await until(is_gone)
    assert await count(sql, "messages") == 4


async def test_nothing_of_it_goes_by_default(start: Start, settings: Settings, sql: Connection) -> None:
    chat = await idle(sql, 4000)
    await write_journal(sql, 1)
    await start(settings.model_copy(update={"worker_lease": 1.0}))
    await empty(sql, "journal")
    await write_journal(sql, 1)
    await empty(sql, "journal")  # so a whole round has passed
    assert await left(sql) == {chat.id}
    assert (await count(sql, "messages"), await count(sql, "generations")) == (2, 1)


async def test_a_message_to_a_swept_conversation_is_answered_with_404(
    start: Start, settings: Settings, sql: Connection, user: dict[str, str]
) -> None:
    client = await start(settings)
    chat = await open_chat(client, user)
    await sql.execute("update conversations set updated_at = now() - interval '31 days'")
    async with sql.transaction():
        assert await sweep(sql) == (1, None)
        sending = asyncio.create_task(chat.send())
        watcher = await asyncpg.connect(settings.database_url)

        async def waits() -> bool:
            return bool(await watcher.fetchval("select exists (select from pg_locks where not granted)"))

        await until(waits)
        await watcher.close()
    response = await sending
    assert (response.status, (await response.json())["code"]) == (404, "conversation_not_found")
