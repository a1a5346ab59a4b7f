"""What a worker still holds of an answer, brought in where the database has less."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.queries import Chat, Connection, kill_workers, meet, one, run


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    return await Chat().open(sql)


async def bring_in(
    connection: Connection, chat: Chat, generation_id: UUID, question_id: UUID, **changes: Any
) -> asyncpg.Record | None:
    """Bring in an answer that has ended well, unless told otherwise."""
    parameters = {
        "generation_id": generation_id,
        "conversation_id": chat.id,
        "kind": "send",
        "question_id": question_id,
        "question": "hello",
        "results": None,
        "call_message_id": None,
        "after_id": question_id,
        "idempotency_key": None,
        "worker_id": chat.worker_id,
        "status": "completed",
        "finish_reason": "stop",
        "error_code": None,
        "is_refused": False,
        "content": "so far, so good",
        "reasoning": None,
        "tool_calls": None,
        "usage": None,
        "model_tag": "d20",
        "token_count": 4,
        "inference_time_ms": 40,
        "tries": None,
        "billed": '{"model":"default","prompt_estimate":7,"max_tokens":512}',
        "last_seq": 6,
    }
    return await one(connection, "generations.bring_in", **{**parameters, **changes})


async def interrupted(sql: Connection, chat: Chat, said: str = "so far", **changes: Any) -> tuple[UUID, UUID]:
    """A generation that another worker ended with what the journal had: its id and its question's."""
    row = await chat.start(sql, **changes)
    assert row is not None
    tokens = [{"token": said}] if said else []
    await chat.speak(sql, (row["generation_id"], 0, [{}, *tokens]))
    await kill_workers(sql)
    assert len(await run(sql, "maintenance.interrupt_orphans")) == 1
    return row["generation_id"], row["user_message_id"]


async def test_a_longer_text_continues_the_message_that_is_stored(sql: Connection, chat: Chat) -> None:
    ids = await interrupted(sql, chat)
    before = await sql.fetchrow("select id, position from messages where role = 'assistant'")
    for _ in range(2):  # the reply may be lost
        row = await bring_in(sql, chat, *ids)
        assert row is not None
        after = await sql.fetchrow("select id, position from messages where role = 'assistant'")
        assert after == before
    assert await chat.texts(sql) == ["hello", "so far, so good"]
    ended = await sql.fetchrow("select status, finish_reason, error_code, last_seq from generations")
    assert ended is not None
    assert tuple(ended) == ("completed", "stop", None, 6)
    message = await sql.fetchrow("select token_count, finish_reason from messages where role = 'assistant'")
    assert message is not None
    assert tuple(message) == (4, "stop")
    assert await sql.fetchval("select count(*) from journal") == 0


async def test_a_repetition_says_that_there_is_another_end_now(sql: Connection, chat: Chat) -> None:
    ids = await interrupted(sql, chat)
    first = await bring_in(sql, chat, *ids)
    again = await bring_in(sql, chat, *ids, content="else")
    assert first is not None
    assert again is not None
    assert (first["is_ended"], again["is_ended"]) == (True, False)
    assert await chat.texts(sql) == ["hello", "so far, so good"]


@pytest.mark.parametrize("said", ["so far", ""])
async def test_it_stays_between_its_question_and_the_next(sql: Connection, chat: Chat, said: str) -> None:
    ids = await interrupted(sql, chat, said)
    later = await chat.begin(sql, content="and now?")
    await bring_in(sql, chat, *ids)
    await chat.finish(sql, later, content="now")
    assert await chat.texts(sql) == ["hello", "so far, so good", "and now?", "now"]


async def test_nothing_is_brought_in_over_another_end(sql: Connection, chat: Chat) -> None:
    row = await chat.start(sql)
    assert row is not None
    await chat.finish(sql, row["generation_id"], status="stopped", finish_reason="stopped")
    brought = await bring_in(sql, chat, row["generation_id"], row["user_message_id"])
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "an answer"]


async def test_an_answer_that_was_regenerated_meanwhile_is_not_brought_back(
    sql: Connection, chat: Chat
) -> None:
    ids = await interrupted(sql, chat)
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="better")
    brought = await bring_in(sql, chat, *ids)
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "better"]


@pytest.mark.parametrize("status", ["completed", "interrupted"])
async def test_a_regeneration_that_is_brought_in_replaces_the_old_answer_if_it_ended_well(
    sql: Connection, chat: Chat, status: str
) -> None:
    await chat.finish(sql, await chat.begin(sql), content="old")
    ids = await interrupted(sql, chat, kind="regenerate")
    later = await chat.begin(sql, content="next")
    await chat.finish(sql, later, content="answer")
    await bring_in(sql, chat, *ids, kind="regenerate", status=status)
    kept = ["hello", "so far, so good"] if status == "completed" else ["hello", "old", "so far, so good"]
    assert await chat.texts(sql) == [*kept, "next", "answer"]


@pytest.mark.parametrize("lost", ["generations", "generations, messages"])
async def test_what_a_fail_over_lost_is_stored_again(sql: Connection, chat: Chat, lost: str) -> None:
    row = await chat.start(sql, idempotency_key="k")
    assert row is not None
    for table in lost.split(", "):
        await sql.execute(f"delete from {table}")
    brought = await bring_in(sql, chat, row["generation_id"], row["user_message_id"], idempotency_key="k")
    assert brought is not None
    assert brought["is_ended"] is True
    assert await chat.texts(sql) == ["hello", "so far, so good"]
    # A retry of the request finds it.
    again = await chat.start(sql, idempotency_key="k")
    assert again is not None
    assert (again["outcome"], again["generation_id"]) == ("existed", row["generation_id"])


async def test_a_question_that_a_retry_stored_again_is_not_stored_twice(sql: Connection, chat: Chat) -> None:
    generation_id, question_id = uuid4(), uuid4()  # lost
    await chat.finish(sql, await chat.begin(sql, idempotency_key="k"))
    brought = await bring_in(sql, chat, generation_id, question_id, idempotency_key="k")
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "an answer"]


async def test_nothing_comes_back_into_a_deleted_conversation(sql: Connection, chat: Chat) -> None:
    ids = await interrupted(sql, chat)
    await sql.execute("delete from conversations")
    assert await bring_in(sql, chat, *ids) is None
    assert await sql.fetchval("select count(*) from messages") == 0


async def test_a_deletion_at_the_same_moment_is_waited_for(
    sql: Connection, chat: Chat, database_url: str
) -> None:
    ids = await interrupted(sql, chat)
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        await first.execute("begin")
        await one(first, "conversations.delete", id=chat.id, user_id=chat.user_id)
        assert await meet(sql, first, second, bring_in(second, chat, *ids)) is None
    finally:
        await first.close()
        await second.close()
    assert await sql.fetchval("select count(*) from messages") == 0


async def test_an_empty_answer_makes_no_message(sql: Connection, chat: Chat) -> None:
    ids = await interrupted(sql, chat, "")
    row = await bring_in(sql, chat, *ids, content="", status="failed", finish_reason="error")
    assert row is not None
    assert (row["is_ended"], row["message_id"]) == (True, None)
    assert await chat.texts(sql) == ["hello"]


async def test_it_is_late_after_waiting_for_something_that_it_cannot_see(
    sql: Connection, chat: Chat, database_url: str
) -> None:
    """The next question is being stored at the same moment: asked again, it stays before that one."""
    ids = await interrupted(sql, chat, "")
    first, second = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    try:
        await first.execute("begin")
        await chat.begin(first, content="and now?")
        late = await meet(sql, first, second, bring_in(second, chat, *ids))
        assert late is not None
        assert (late["is_late"], late["is_ended"]) == (True, False)
        again = await bring_in(second, chat, *ids)
        assert again is not None
        assert (again["is_late"], again["is_ended"]) == (False, True)
    finally:
        await first.close()
        await second.close()
    assert await chat.texts(sql) == ["hello", "so far, so good", "and now?"]


async def test_a_lost_regeneration_does_not_replace_a_later_one(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql), content="old")
    lost = await chat.start(sql, kind="regenerate")
    assert lost is not None
    await sql.execute("delete from generations where id = $1", lost["generation_id"])
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="better")
    brought = await bring_in(sql, chat, lost["generation_id"], lost["user_message_id"], kind="regenerate")
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "better"]


async def test_a_regeneration_without_text_is_brought_in_after_the_old_answer(
    sql: Connection, chat: Chat
) -> None:
    await chat.finish(sql, await chat.begin(sql), content="old")
    ids = await interrupted(sql, chat, "", kind="regenerate")
    await chat.begin(sql, content="next")
    await bring_in(sql, chat, *ids, kind="regenerate", status="interrupted", finish_reason="interrupted")
    assert await chat.texts(sql) == ["hello", "old", "so far, so good", "next"]


async def test_readers_without_an_id_find_what_runs_and_not_what_was_brought_in(
    sql: Connection, chat: Chat
) -> None:
    lost = await chat.start(sql)
    assert lost is not None
    await sql.execute("delete from generations")
    running = await chat.begin(sql, content="next")
    await bring_in(sql, chat, lost["generation_id"], lost["user_message_id"])
    row = await one(
        sql, "generations.attach", conversation_id=chat.id, user_id=chat.user_id, generation_id=None
    )
    assert row is not None
    assert row["generation_id"] == running
