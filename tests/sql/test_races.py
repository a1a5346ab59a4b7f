"""Statements that meet: one holds its transaction open, and the other waits."""

from __future__ import annotations

import asyncio
from uuid import UUID

import asyncpg
import pytest

from tests.sql.test_bring_in import bring_in
from tests.support.queries import Chat, Connection, blocked, kill_workers, meet, one, run


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """An empty conversation."""
    return await Chat().open(sql)


async def count(sql: Connection, table: str) -> int:
    number: int = await sql.fetchval(f"select count(*) from {table}")
    return number


async def test_of_two_messages_at_once_one_starts_and_the_other_is_told_which(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(first, content="one")
    row = await meet(sql, first, second, chat.start(second, content="two"))
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("running", begun)
    assert await chat.texts(sql) == ["one"]
    assert await count(sql, "generations") == 1


async def test_of_two_messages_at_once_the_other_starts_when_the_first_is_taken_back(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    await chat.begin(first, content="one", title="one")
    row = await meet(sql, first, second, chat.start(second, content="two", title="two"), end="rollback")
    assert row is not None
    assert row["outcome"] == "started"
    assert await chat.texts(sql) == ["two"]
    assert await sql.fetchval("select title from conversations") == "two"


async def test_a_retry_at_the_same_moment_attaches_and_stores_once(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(first, idempotency_key="k")
    row = await meet(sql, first, second, chat.start(second, idempotency_key="k"))
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("existed", begun)
    assert await chat.texts(sql) == ["hello"]


async def test_what_a_key_was_raced_for_is_told_when_it_is_asked_again(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    await chat.begin(first, idempotency_key="k")
    row = await meet(sql, first, second, chat.start(second, idempotency_key="k", content="other"))
    assert row is not None
    assert (row["outcome"], row["is_other_content"]) == ("existed", None)
    row = await chat.start(second, idempotency_key="k", content="other")
    assert row is not None
    assert (row["outcome"], row["is_other_content"]) == ("existed", True)


async def test_a_retry_that_meets_the_end_of_its_generation_stores_nothing(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    """Nothing is running any more when the retry looks again, but its key is still taken."""
    await chat.finish(first, await chat.begin(first, idempotency_key="k"))
    with pytest.raises(asyncpg.UniqueViolationError) as raised:
        await meet(sql, first, second, chat.start(second, idempotency_key="k"))
    assert raised.value.constraint_name == "uq_generations_idempotency_key"
    assert await count(sql, "messages") == 2
    row = await chat.start(second, idempotency_key="k")
    assert row is not None
    assert row["outcome"] == "existed"


async def test_of_many_messages_at_once_exactly_one_starts(
    sql: Connection, database_url: str, chat: Chat
) -> None:
    async with asyncpg.create_pool(database_url, min_size=8, max_size=8) as pool:

        async def send(number: int) -> str:
            async with pool.acquire() as connection:
                row = await chat.start(connection, content=f"{number}")
                assert row is not None
                outcome: str = row["outcome"]
                return outcome

        outcomes = await asyncio.gather(*(send(number) for number in range(24)))
    assert sorted(outcomes) == ["running"] * 23 + ["started"]
    assert len(await chat.texts(sql)) == 1


async def test_a_start_that_meets_the_deletion_of_its_conversation_stores_nothing(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    await one(first, "conversations.delete", id=chat.id, user_id=chat.user_id)
    with pytest.raises(asyncpg.ForeignKeyViolationError) as raised:
        await meet(sql, first, second, chat.start(second))
    assert raised.value.constraint_name == "generations_conversation_id_fkey"
    assert await count(sql, "generations") == await count(sql, "messages") == 0


async def test_a_finish_that_meets_the_deletion_of_its_conversation_finds_nothing(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await one(first, "conversations.delete", id=chat.id, user_id=chat.user_id)
    assert await meet(sql, first, second, chat.finish(second, begun)) is None
    assert await count(sql, "messages") == 0


async def test_a_finish_that_meets_the_end_by_another_worker_is_told_that_end_and_when_asked_again_its_text(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await chat.speak(sql, (begun, 0, [{}, {"token": "so far"}]))
    await kill_workers(sql)
    await first.execute("rollback; begin")  # dates what comes
    await run(first, "maintenance.interrupt_orphans")
    row = await meet(sql, first, second, chat.finish(second, begun, content="so far, so good"))
    assert row is not None
    assert (row["is_ended"], row["finish_reason"], row["content"]) == (False, "interrupted", None)
    assert (row["status"], row["error_code"]) == ("interrupted", "worker_lost")
    assert row["message_id"] == await sql.fetchval("select message_id from generations")
    again = await chat.finish(second, begun, content="so far, so good")
    assert again is not None
    assert (again["is_ended"], again["message_id"], again["content"]) == (False, row["message_id"], "so far")
    assert await chat.texts(sql) == ["hello", "so far"]


async def test_a_finish_that_meets_its_own_repetition_stores_once(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    slices = {"first_seq": 0, "slice": "[{}, {}, {}]"}
    row = await chat.finish(first, begun, **slices)
    again = await meet(sql, first, second, chat.finish(second, begun, **slices))
    assert row is not None
    assert again is not None
    assert (row["is_ended"], again["is_ended"]) == (True, False)
    for key in ("status", "message_id", "finish_reason", "error_code"):
        assert again[key] == row[key]
    assert await count(sql, "messages") == 2
    assert await count(sql, "journal") == 1


@pytest.mark.parametrize("said", ["so far", ""])
async def test_a_regeneration_that_meets_the_old_answer_being_brought_in_replaces_it_when_asked_again(
    sql: Connection, first: Connection, second: Connection, chat: Chat, said: str
) -> None:
    old = await chat.start(sql)
    assert old is not None
    await chat.speak(sql, (old["generation_id"], 0, [{}, {"token": said}]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    again = await chat.begin(sql, kind="regenerate")
    brought = await bring_in(first, chat, old["generation_id"], old["user_message_id"])
    assert brought is not None
    assert brought["is_ended"] is True
    late = await meet(sql, first, second, chat.finish(second, again, content="better"))
    assert late is not None
    assert (late["is_ended"], late["status"]) == (False, "running")
    row = await chat.finish(second, again, content="better")
    assert row is not None
    assert row["is_ended"] is True
    assert await chat.texts(second) == ["hello", "better"]


async def test_an_answer_to_a_message_needs_not_see_what_it_waited_for(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await chat.update(first, title="T")
    row = await meet(sql, first, second, chat.finish(second, begun))
    assert row is not None
    assert row["is_ended"] is True


async def test_a_finish_that_meets_a_stop_ends_after_it(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await one(first, "generations.stop", conversation_id=chat.id, user_id=chat.user_id, generation_id=None)
    row = await meet(sql, first, second, chat.finish(second, begun))
    assert row is not None
    assert row["is_ended"] is True
    assert await count(sql, "messages") == 2


@pytest.mark.parametrize("end", ["finish", "interrupt_orphans"])
async def test_a_deletion_in_the_middle_of_an_end_waits_for_it(
    sql: Connection, database_url: str, first: Connection, second: Connection, chat: Chat, end: str
) -> None:
    """All lock the conversation before the generation; otherwise they would deadlock."""
    begun = await chat.begin(sql)
    await kill_workers(sql)
    await first.execute("select pg_advisory_xact_lock(1)")
    await sql.execute("""
        create function halt() returns trigger language plpgsql
        as $$ begin perform pg_advisory_xact_lock(1); return null; end $$;
        create trigger halt before update on conversations for each statement execute function halt()
    """)
    ending = chat.finish(second, begun) if end == "finish" else one(second, "maintenance.interrupt_orphans")
    finishing = asyncio.create_task(ending)
    await blocked(sql, second.get_server_pid())
    third = await asyncpg.connect(database_url)
    deleting = asyncio.create_task(one(third, "conversations.delete", id=chat.id, user_id=chat.user_id))
    await blocked(sql, third.get_server_pid())
    await first.execute("commit")
    async with asyncio.timeout(5):
        finished, deleted = await asyncio.gather(finishing, deleting)
    await third.close()
    assert finished is not None
    assert finished["is_ended" if end == "finish" else "id"] == (True if end == "finish" else begun)
    assert deleted is not None
    assert await count(sql, "messages") == await count(sql, "generations") == 0


async def test_orphans_are_ended_by_one_of_two_workers(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    """The second worker doesn't wait for the first, but takes the remaining orphans."""
    begun = await chat.begin(sql)
    await chat.speak(sql, (begun, 0, [{}, {"token": "a"}]))
    await kill_workers(sql)
    await first.execute("rollback; begin")  # dates what comes
    ended: list[UUID] = [row["id"] for row in await run(first, "maintenance.interrupt_orphans")]
    assert ended == [begun]
    later = await (await Chat().open(sql)).begin(sql)
    async with asyncio.timeout(5):
        assert [row["id"] for row in await run(second, "maintenance.interrupt_orphans")] == [later]
    await first.execute("commit")
    assert await run(second, "maintenance.interrupt_orphans") == []
    assert await chat.texts(sql) == ["hello", "a"]


async def test_of_many_workers_that_look_for_orphans_at_once_each_is_ended_by_one(
    sql: Connection, database_url: str
) -> None:
    begun = set()
    for _ in range(30):
        chat = await Chat().open(sql)
        begun.add(generation_id := await chat.begin(sql))
        await chat.speak(sql, (generation_id, 0, [{}, {"token": "a"}]))
    await kill_workers(sql)
    async with asyncpg.create_pool(database_url, min_size=6, max_size=6) as pool:

        async def interrupt() -> list[UUID]:
            async with pool.acquire() as connection:
                return [row["id"] for row in await run(connection, "maintenance.interrupt_orphans")]

        ended = [each for some in await asyncio.gather(*(interrupt() for _ in range(6))) for each in some]
    assert (len(ended), set(ended)) == (30, begun)
    assert await count(sql, "messages") == 60
    assert await sql.fetchval("select count(*) from messages where content = 'a'") == 30


async def test_an_orphan_that_is_ended_at_the_same_moment_is_not_ended_again(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await kill_workers(sql)
    await first.execute("rollback; begin")  # dates what comes
    await first.execute("update generations set status = 'completed', finished_at = now()")
    assert await meet(sql, first, second, one(second, "maintenance.interrupt_orphans")) is None
    assert await sql.fetchval("select status from generations where id = $1", begun) == "completed"


async def test_orphans_that_meet_an_end_or_a_deletion_pass_it_over(
    sql: Connection, first: Connection, second: Connection, chat: Chat
) -> None:
    begun = await chat.begin(sql)
    await kill_workers(sql)
    await chat.finish(first, begun)
    async with asyncio.timeout(5):
        assert await run(second, "maintenance.interrupt_orphans") == []
    await first.execute("rollback; begin")
    await one(first, "conversations.delete", id=chat.id, user_id=chat.user_id)
    async with asyncio.timeout(5):
        assert await run(second, "maintenance.interrupt_orphans") == []
    await first.execute("rollback")
    assert [row["id"] for row in await run(second, "maintenance.interrupt_orphans")] == [begun]
