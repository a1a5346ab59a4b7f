"""The results of tool calls in the database: stored once, and in their place whatever fails."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import asyncpg
import orjson
import pytest

from tests.sql.test_bring_in import bring_in
from tests.support.queries import Chat, Connection, kill_workers, meet, run

CALLS = '[{"id": "c1", "name": "weather", "arguments": ""}, {"id": "c2", "name": "time", "arguments": ""}]'
GIVEN = [{"tool_call_id": "c2", "content": "noon"}, {"tool_call_id": "c1", "content": "rain"}]


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """A conversation whose last answer called two tools."""
    chat = await Chat().open(sql)
    await call(sql, chat)
    return chat


async def call(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    await chat.finish(sql, begun, content="", tool_calls=CALLS, finish_reason="tool_calls")


async def give(connection: Connection, chat: Chat, **changes: Any) -> asyncpg.Record:
    """Give the results of both calls."""
    results = orjson.dumps(GIVEN).decode()
    given = {"kind": "results", "content": None, "title": "", "results": results}
    row = await chat.start(connection, **{**given, **changes})
    assert row is not None
    return row


def lost(row: asyncpg.Record) -> dict[str, Any]:
    """What a worker holds of an answer to results, as `bring_in` takes it."""
    contents = {each["tool_call_id"]: each["content"] for each in GIVEN}
    results = [
        {"id": message_id, "tool_call_id": call_id, "content": contents[call_id]}
        for call_id, message_id in orjson.loads(row["result_ids"])
    ]
    return {
        "kind": "results",
        "results": orjson.dumps(results).decode(),
        "call_message_id": row["call_message_id"],
        "after_id": row["after_id"],
    }


async def test_they_are_stored_in_the_order_of_the_calls(sql: Connection, chat: Chat) -> None:
    row = await give(sql, chat)
    stored = await sql.fetch("select id, tool_call_id from messages where role = 'tool' order by position")
    assert [each["tool_call_id"] for each in stored] == ["c1", "c2"]
    assert orjson.loads(row["result_ids"]) == [["c1", str(stored[0]["id"])], ["c2", str(stored[1]["id"])]]
    assert row["after_id"] == stored[1]["id"]
    assert row["call_message_id"] == await sql.fetchval("select id from messages where role = 'assistant'")
    assert row["user_message_id"] == await sql.fetchval("select id from messages where role = 'user'")


@pytest.mark.parametrize("said", ["so far", ""])
async def test_their_answer_is_brought_in_between_them_and_the_next_question(
    sql: Connection, chat: Chat, said: str
) -> None:
    row = await give(sql, chat)
    await chat.speak(sql, (row["generation_id"], 0, [{}, *([{"token": said}] if said else [])]))
    await kill_workers(sql)
    assert len(await run(sql, "maintenance.interrupt_orphans")) == 1
    await chat.begin(sql, content="and now?")
    brought = await bring_in(sql, chat, row["generation_id"], row["user_message_id"], **lost(row))
    assert brought is not None
    assert brought["is_ended"]
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "so far, so good", "and now?"]


@pytest.mark.parametrize("tables", [["generations"], ["generations", "messages"]])
async def test_what_a_failover_lost_is_stored_again_and_found_by_a_repetition(
    sql: Connection, chat: Chat, tables: list[str]
) -> None:
    row = await give(sql, chat)
    await sql.execute("delete from generations where id = $1", row["generation_id"])
    if "messages" in tables:
        await sql.execute("delete from messages where role = 'tool'")
    for is_ended in (True, False):
        brought = await bring_in(sql, chat, row["generation_id"], row["user_message_id"], **lost(row))
        assert brought is not None
        assert brought["is_ended"] is is_ended
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "so far, so good"]
    again = await give(sql, chat)
    assert (again["outcome"], again["generation_id"]) == ("existed", row["generation_id"])
    assert again["is_other_content"] is False


async def test_results_that_a_retry_stored_again_are_not_stored_twice(sql: Connection, chat: Chat) -> None:
    row = await give(sql, chat)
    await sql.execute("delete from generations where id = $1", row["generation_id"])
    await sql.execute("delete from messages where role = 'tool'")
    again = await give(sql, chat)
    await chat.finish(sql, again["generation_id"], after_id=again["after_id"])
    brought = await bring_in(sql, chat, row["generation_id"], row["user_message_id"], **lost(row))
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "an answer"]


async def test_a_regeneration_of_calls_that_were_answered_is_not_brought_in(
    sql: Connection, chat: Chat
) -> None:
    begun = await chat.start(sql, kind="regenerate")
    assert begun is not None
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    row = await give(sql, chat)
    await chat.finish(sql, row["generation_id"], after_id=row["after_id"])
    brought = await bring_in(sql, chat, begun["generation_id"], begun["user_message_id"], kind="regenerate")
    assert brought is not None
    assert brought["is_ended"] is False
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "an answer"]


async def test_a_regeneration_of_their_answer_is_brought_in_and_leaves_them(
    sql: Connection, chat: Chat
) -> None:
    row = await give(sql, chat)
    await chat.finish(sql, row["generation_id"], after_id=row["after_id"])
    begun = await chat.start(sql, kind="regenerate")
    assert begun is not None
    assert (begun["after_id"], begun["result_ids"]) == (row["after_id"], None)
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    ids: tuple[UUID, UUID] = begun["generation_id"], begun["user_message_id"]
    await bring_in(sql, chat, *ids, kind="regenerate", after_id=begun["after_id"])
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "so far, so good"]


async def test_the_index_decides_at_the_same_moment(
    sql: Connection, chat: Chat, first: Connection, second: Connection
) -> None:
    """The first answer has ended already when the second request stops waiting for it."""
    begun = await give(first, chat)
    await chat.finish(first, begun["generation_id"], after_id=begun["after_id"])
    with pytest.raises(asyncpg.UniqueViolationError, match="uq_generations_call_message"):
        await meet(sql, first, second, give(second, chat))
    again = await give(second, chat)
    assert (again["outcome"], again["generation_id"]) == ("existed", begun["generation_id"])
    assert await chat.texts(sql) == ["hello", "", "rain", "noon", "an answer"]


async def test_while_the_first_one_runs_the_second_is_asked_to_look_again(
    sql: Connection, chat: Chat, first: Connection, second: Connection
) -> None:
    begun = await give(first, chat)
    row = await meet(sql, first, second, give(second, chat))
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("existed", begun["generation_id"])
    assert row["is_other_content"] is None
    assert (await give(second, chat))["is_other_content"] is False


@pytest.mark.parametrize("said", ["x", ""])
async def test_the_outcomes(sql: Connection, chat: Chat, said: str) -> None:
    unknown = orjson.dumps([*GIVEN, {"tool_call_id": "c3", "content": ""}]).decode()
    row = await give(sql, chat, results=unknown)
    assert (row["outcome"], row["unknown_call_id"]) == ("no_such_call", "c3")
    begun = await chat.begin(sql, content="never mind")
    assert (await give(sql, chat))["outcome"] == "no_calls"
    await chat.finish(sql, begun, content=said)
    assert (await give(sql, chat))["outcome"] == "no_calls"
    await call(sql, chat)
    assert (await give(sql, chat))["outcome"] == "started"
