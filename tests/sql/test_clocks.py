"""A clock that jumps: what was stored earlier is dated ahead, or long ago, all of a sudden."""

from __future__ import annotations

from uuid import uuid4

import orjson
import pytest

from tests.support.queries import Chat, Connection, history, one, opened, run, shown, tick

# What a clock that is set changes: everything stored before is so far from now.
TIMES = {
    "conversations": ("created_at", "updated_at"),
    "messages": ("created_at",),
    "generations": ("started_at", "finished_at", "stop_requested_at"),
    "workers": ("started_at", "lease_until", "steady_since"),
    "allowances": ("full_at",),
}
JUMPS = ["-1 minute", "-5 seconds", "-10 years", "1 minute", "10 years"]
MINUTE = 60.0


async def jump(connection: Connection, by: str) -> None:
    """Set the clock forward by so much, as far as the rows can tell."""
    for table, columns in TIMES.items():
        changes = ", ".join(f"{column} = {column} - interval '{by}'" for column in columns)
        await connection.execute(f"update {table} set {changes}")


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    return await Chat().open(sql)


@pytest.mark.parametrize("by", JUMPS)
async def test_messages_keep_the_order_in_which_they_were_stored(
    sql: Connection, chat: Chat, by: str
) -> None:
    for question in ("one", "two"):
        await chat.finish(sql, await chat.begin(sql, content=question), content=f"to {question}")
    await jump(sql, by)
    row = await chat.start(sql, content="three")
    expected = ["one", "to one", "two", "to two", "three"]
    assert [content for _, content in history(row)] == expected
    assert row is not None
    await jump(sql, by)  # while the answer is written
    await chat.finish(sql, row["generation_id"], content="to three")
    row = await opened(sql, chat.id, chat.user_id)
    assert [each["content"] for each in shown(row)] == [*expected, "to three"]
    # Regenerating answers the newest question, and replaces its answer alone.
    await jump(sql, by)
    row = await chat.start(sql, kind="regenerate")
    assert [content for _, content in history(row)] == expected
    assert row is not None
    await chat.finish(sql, row["generation_id"], content="better")
    assert await chat.texts(sql) == [*expected, "better"]
    row = await chat.start(sql, content="four")
    assert [content for _, content in history(row)] == [*expected, "better", "four"]


@pytest.mark.parametrize("by", JUMPS)
async def test_the_newest_generation_is_the_one_that_started_last(
    sql: Connection, chat: Chat, by: str
) -> None:
    await chat.finish(sql, await chat.begin(sql))
    await jump(sql, by)
    last = await chat.begin(sql)
    for _ in range(2):
        row = await one(
            sql, "generations.attach", conversation_id=chat.id, user_id=chat.user_id, generation_id=None
        )
        assert row is not None
        assert row["generation_id"] == last
        await chat.finish(sql, last)


@pytest.mark.parametrize("by", JUMPS)
async def test_a_living_worker_keeps_its_answers_and_a_dead_one_loses_them_within_two_leases(
    sql: Connection, by: str
) -> None:
    """After the jump, `alive` ticks first and looks for orphans, `idle` ticks later, and `dead` never."""
    alive, idle, dead = [await Chat().open(sql) for _ in range(3)]
    begun = {chat.id: await chat.begin(sql) for chat in (alive, idle, dead)}
    for chat in (alive, idle, dead):
        await tick(sql, chat.worker_id, seconds=MINUTE)
    await sql.execute("update workers set steady_since = steady_since - interval '1 hour'")
    await jump(sql, by)
    assert await run(sql, "maintenance.interrupt_orphans") == []
    await tick(sql, alive.worker_id, seconds=MINUTE)
    assert await run(sql, "maintenance.interrupt_orphans") == []
    ended = []
    for _ in range(6):
        await jump(sql, "20 seconds")  # which pass
        await tick(sql, idle.worker_id, seconds=MINUTE)
        await tick(sql, alive.worker_id, seconds=MINUTE)
        ended += await run(sql, "maintenance.interrupt_orphans")
    assert [row["id"] for row in ended] == [begun[dead.id]]


async def test_nobody_is_taken_for_dead_after_a_gap_in_which_nobody_could_renew(sql: Connection) -> None:
    """The database hung for longer than a lease. The first to be served again looks for orphans at once."""
    first, second = [await Chat().open(sql) for _ in range(2)]
    for chat in (first, second):
        await chat.begin(sql)
        await tick(sql, chat.worker_id, seconds=MINUTE)
    await sql.execute("update workers set steady_since = steady_since - interval '1 hour'")
    for gap in ("40 seconds", "2 minutes"):
        await jump(sql, gap)
        assert await run(sql, "maintenance.interrupt_orphans") == []
        await tick(sql, first.worker_id, seconds=MINUTE)
        assert await run(sql, "maintenance.interrupt_orphans") == []
        await tick(sql, second.worker_id, seconds=MINUTE)
        assert await run(sql, "maintenance.interrupt_orphans") == []


async def test_a_worker_without_a_gap_is_steady_after_a_lease_and_not_before(sql: Connection) -> None:
    worker = uuid4()
    steady = "select is_steady from live_workers"
    for expected in (False, False, False, True, True):
        await tick(sql, worker, seconds=MINUTE)
        assert await sql.fetchval(steady) is expected
        await jump(sql, "21 seconds")
    await jump(sql, "31 seconds")
    await tick(sql, worker, seconds=MINUTE)
    assert await sql.fetchval(steady) is False


@pytest.mark.parametrize("by", ["-1 hour", "-10 years"])
async def test_an_allowance_is_not_stretched(sql: Connection, by: str) -> None:
    user_id = uuid4()
    chats = [await Chat(user_id=user_id).open(sql) for _ in range(4)]
    limits = orjson.dumps(
        [{"name": "sends_per_user", "subject": str(user_id), "every": "30 s", "period": "60 s"}]
    ).decode()
    for chat, outcome in zip(chats[:3], ("started", "started", "limited"), strict=True):
        row = await chat.start(sql, limits=limits)
        assert row is not None
        assert row["outcome"] == outcome
    await jump(sql, by)
    for chat, outcome in ((chats[2], "started"), (chats[3], "started")):
        row = await chat.start(sql, limits=limits)
        assert row is not None
        assert row["outcome"] == outcome


async def test_a_start_that_waited_for_others_is_limited_by_what_they_took(
    sql: Connection, first: Connection
) -> None:
    user_id = uuid4()
    chats = [await Chat(user_id=user_id).open(sql) for _ in range(3)]
    limits = orjson.dumps(
        [{"name": "sends_per_user", "subject": str(user_id), "every": "30 s", "period": "60 s"}]
    ).decode()
    await first.fetchval("select now()")  # its transaction begins before the others
    for chat in chats[:2]:
        await chat.begin(sql, limits=limits)
    row = await chats[2].start(first, limits=limits)
    assert row is not None
    assert (row["outcome"], row["limited_by"]) == ("limited", "sends_per_user")
