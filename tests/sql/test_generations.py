"""The statements of a generation's life, one by one."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from tests.support.queries import Chat, Connection, history, kill_workers, one, run, tick


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """An empty conversation."""
    return await Chat().open(sql)


async def generation(sql: Connection, generation_id: UUID) -> asyncpg.Record:
    row = await sql.fetchrow("select * from generations where id = $1", generation_id)
    assert row is not None
    return row


# start


async def test_a_start_stores_the_question_and_returns_all_that_the_answer_needs(
    sql: Connection, chat: Chat
) -> None:
    row = await chat.start(sql, content="hi 🥟 e\u0301 \u202e\u05e9\u05dc", idempotency_key="k")
    assert row is not None
    assert (row["outcome"], row["model_tag"]) == ("started", "default")
    assert history(row) == [["user", "hi 🥟 e\u0301 \u202e\u05e9\u05dc"]]
    assert await chat.texts(sql) == ["hi 🥟 e\u0301 \u202e\u05e9\u05dc"]
    stored = await generation(sql, row["generation_id"])
    assert (stored["status"], stored["kind"], stored["idempotency_key"]) == ("running", "send", "k")
    assert (stored["worker_id"], stored["finished_at"]) == (chat.worker_id, None)
    assert stored["user_message_id"] == row["user_message_id"]
    assert row["generation_id"].version == row["user_message_id"].version == 7


async def test_a_start_in_no_such_conversation_does_nothing(sql: Connection, chat: Chat) -> None:
    assert await chat.start(sql, conversation_id=uuid4()) is None
    assert await sql.fetchval("select count(*) from messages") == 0


async def test_a_start_while_another_runs_stores_nothing_and_names_it(sql: Connection, chat: Chat) -> None:
    first = await chat.begin(sql, idempotency_key="k")
    for changes in ({}, {"idempotency_key": "other"}, {"kind": "regenerate"}):
        row = await chat.start(sql, **changes)
        assert row is not None
        assert (row["outcome"], row["generation_id"]) == ("running", first)
    assert await chat.texts(sql) == ["hello"]


@pytest.mark.parametrize("is_finished", [False, True])
@pytest.mark.parametrize(
    ("retry", "is_other"),
    [
        ({}, False),
        ({"content": "something else"}, True),
        ({"kind": "regenerate"}, True),
    ],
)
async def test_a_key_used_before_finds_its_generation_and_stores_nothing(
    sql: Connection, chat: Chat, is_finished: bool, retry: dict[str, Any], is_other: bool
) -> None:
    first = await chat.begin(sql, idempotency_key="k")
    if is_finished:
        await chat.finish(sql, first)
    before = await chat.texts(sql)
    row = await chat.start(sql, **{"idempotency_key": "k", **retry})
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("existed", first)
    assert row["is_other_content"] is is_other
    assert await chat.texts(sql) == before


async def test_a_key_of_a_regeneration_is_no_key_of_a_message(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql))
    again = await chat.begin(sql, kind="regenerate", idempotency_key="k")
    row = await chat.start(sql, idempotency_key="k")
    assert row is not None
    assert (row["outcome"], row["generation_id"], row["is_other_content"]) == ("existed", again, True)
    row = await chat.start(sql, kind="regenerate", idempotency_key="k")
    assert row is not None
    assert (row["outcome"], row["generation_id"], row["is_other_content"]) == ("existed", again, False)


async def test_a_key_counts_in_its_conversation_only(sql: Connection, chat: Chat) -> None:
    await chat.begin(sql, idempotency_key="k")
    other = await Chat(user_id=chat.user_id).open(sql)
    await other.begin(sql, idempotency_key="k")


@pytest.mark.parametrize("earlier", [[], [("assistant", "hi")], [("system", "be kind")], [("user", "")]])
async def test_a_regeneration_without_a_question_does_nothing(
    sql: Connection, chat: Chat, earlier: list[tuple[str, str]]
) -> None:
    for role, content in earlier:
        await chat.say(sql, role, content)
    row = await chat.start(sql, kind="regenerate")
    assert row is not None
    assert (row["outcome"], row["generation_id"]) == ("nothing", None)
    assert await sql.fetchval("select count(*) from generations") == 0


async def test_a_regeneration_asks_the_last_question_without_its_answers(sql: Connection, chat: Chat) -> None:
    await chat.say(sql, "user", "q1", 1)
    await chat.say(sql, "assistant", "a1", 2)
    asked = await chat.say(sql, "user", "q2", 3)
    await chat.say(sql, "assistant", "a2", 4)
    await chat.say(sql, "assistant", "a3", 5)
    row = await chat.start(sql, kind="regenerate")
    assert row is not None
    assert (row["outcome"], row["user_message_id"]) == ("started", asked)
    assert history(row) == [["user", "q1"], ["assistant", "a1"], ["user", "q2"]]
    assert await chat.texts(sql) == ["q1", "a1", "q2", "a2", "a3"]


@pytest.mark.parametrize(
    ("title", "said", "result"),
    [
        ("New conversation", [], "hello"),
        ("New chat", [], "hello"),
        (None, [], "hello"),
        ("Mine", [], "Mine"),
        ("New conversation", ["user"], "New conversation"),
        ("New conversation", ["system", "assistant"], "hello"),
    ],
)
async def test_the_first_question_titles_a_conversation_that_has_no_title_of_its_own(
    sql: Connection, title: str | None, said: list[str], result: str
) -> None:
    chat = await Chat().open(sql, title)
    for role in said:
        await chat.say(sql, role, "earlier")
    await chat.begin(sql)
    assert await sql.fetchval("select title from conversations") == result


async def test_a_start_puts_the_conversation_at_the_top_even_without_a_title(
    sql: Connection, chat: Chat
) -> None:
    await sql.execute("update conversations set updated_at = '2025-01-01 00:00+00'")
    await chat.begin(sql, title="")
    assert await sql.fetchval("select title from conversations") == "New conversation"
    assert await sql.fetchval("select updated_at > '2025-01-02' from conversations")


# the history: the messages that the model is sent


@pytest.mark.parametrize(
    ("max_messages", "max_characters", "sent"),
    [
        (50, 6000, ["aaa", "🥟🥟", "c", "hello"]),
        (4, 11, ["aaa", "🥟🥟", "c", "hello"]),
        (4, 10, ["🥟🥟", "c", "hello"]),
        (4, 8, ["🥟🥟", "c", "hello"]),
        (4, 7, ["c", "hello"]),
        (3, 6000, ["🥟🥟", "c", "hello"]),
        (2, 6000, ["c", "hello"]),
        (1, 6000, ["hello"]),
        (4, 5, ["hello"]),
        (4, 1, ["hello"]),  # too long by itself, but the newest message is always sent
    ],
)
async def test_the_newest_messages_within_both_budgets_are_sent(
    sql: Connection, chat: Chat, max_messages: int, max_characters: int, sent: list[str]
) -> None:
    await chat.say(sql, "user", "aaa", 1)
    await chat.say(sql, "assistant", "🥟🥟", 2)
    await chat.say(sql, "user", "c", 3)
    row = await chat.start(sql, max_messages=max_messages, max_characters=max_characters)
    assert [content for _, content in history(row)] == sent


async def test_a_message_too_long_for_the_budget_ends_the_history_and_is_not_skipped(
    sql: Connection, chat: Chat
) -> None:
    await chat.say(sql, "user", "short", 1)
    await chat.say(sql, "assistant", "long" * 100, 2)
    assert history(await chat.start(sql, max_characters=100)) == [["user", "hello"]]


@pytest.mark.parametrize(
    ("stored", "max_messages", "max_characters", "left_out"),
    [
        (0, 50, 6000, 0),
        (49, 50, 6000, 0),
        (50, 50, 6000, 1),
        (3, 50, 4, 3),  # the new question alone has five characters
        (3, 50, 7, 1),
        (260, 50, 6000, 200),  # no more are counted
    ],
)
@pytest.mark.parametrize("kind", ["send", "regenerate"])
async def test_earlier_messages_that_dont_fit_are_counted(
    sql: Connection, chat: Chat, stored: int, max_messages: int, max_characters: int, left_out: int, kind: str
) -> None:
    for second in range(stored):
        await chat.say(sql, "user", "a", second)
    if kind == "regenerate":
        await chat.say(sql, "user", "hello", stored)
    limits = {"max_messages": max_messages, "max_characters": max_characters}
    row = await chat.start(sql, kind=kind, content=None if kind == "regenerate" else "hello", **limits)
    assert row is not None
    assert row["left_out"] == left_out
    assert len(history(row)) == stored + 1 - left_out or left_out == 200


async def test_empty_messages_are_left_out_and_cost_no_place(sql: Connection, chat: Chat) -> None:
    await chat.say(sql, "user", "a", 1)
    for second in range(2, 6):
        await chat.say(sql, "assistant", "", second)
    assert history(await chat.start(sql, max_messages=2)) == [["user", "a"], ["user", "hello"]]


async def test_messages_of_one_moment_keep_one_order(sql: Connection, chat: Chat) -> None:
    for content in "abcdefgh":
        await chat.say(sql, "user", content)
    assert [content for _, content in history(await chat.start(sql))] == await chat.texts(sql)


async def test_an_empty_question_is_passed_over_by_a_regeneration_and_kept(
    sql: Connection, chat: Chat
) -> None:
    """Only an adopted database can contain an empty question, and a model is never sent one."""
    await chat.say(sql, "user", "q", 1)
    await chat.say(sql, "assistant", "a", 2)
    await chat.say(sql, "user", "", 3)
    await chat.say(sql, "system", "be kind", 4)
    row = await chat.start(sql, kind="regenerate")
    assert history(row) == [["user", "q"]]
    assert row is not None
    await chat.finish(sql, row["generation_id"], content="better")
    assert await chat.texts(sql) == ["q", "", "be kind", "better"]


# finish


async def test_a_finish_stores_the_answer_and_touches_the_conversation(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    await sql.execute("update conversations set updated_at = '2025-01-01 00:00+00'")
    row = await chat.finish(sql, begun, content="bye 🥟", finish_reason="length")
    assert row is not None
    stored = await generation(sql, begun)
    assert (row["is_ended"], row["message_id"]) == (True, stored["message_id"])
    assert (row["finish_reason"], stored["finish_reason"]) == ("length", "length")
    assert (stored["status"], stored["token_count"], stored["inference_time_ms"]) == ("completed", 2, 40)
    assert (stored["last_seq"], stored["error_code"]) == (3, None)
    message = await sql.fetchrow("select * from messages where id = $1", row["message_id"])
    assert message is not None
    assert (message["role"], message["content"], message["finish_reason"]) == (
        "assistant",
        "bye 🥟",
        "length",
    )
    assert (message["token_count"], message["model_tag"], message["inference_time_ms"]) == (2, "d20", 40)
    assert await sql.fetchval("select updated_at > '2025-01-02' from conversations")
    assert await chat.texts(sql) == ["hello", "bye 🥟"]


@pytest.mark.parametrize("status", ["completed", "stopped", "failed", "interrupted"])
async def test_every_end_keeps_the_text_and_frees_the_conversation(
    sql: Connection, chat: Chat, status: str
) -> None:
    begun = await chat.begin(sql)
    await chat.finish(sql, begun, status=status, error_code="c")
    assert (await generation(sql, begun))["status"] == status
    assert await chat.texts(sql) == ["hello", "an answer"]
    await chat.begin(sql)


async def test_a_finish_without_text_stores_no_message(sql: Connection, chat: Chat) -> None:
    row = await chat.finish(sql, await chat.begin(sql), content="", status="failed", finish_reason="error")
    assert row is not None
    assert (row["is_ended"], row["message_id"], row["finish_reason"]) == (True, None, "error")
    assert await chat.texts(sql) == ["hello"]


async def test_a_repeated_finish_changes_nothing_and_tells_the_same(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    slices = {"first_seq": 0, "slice": "[{}, {}, {}]"}
    first = await chat.finish(sql, begun, **slices)
    again = await chat.finish(sql, begun, content="another", finish_reason="length", **slices)
    assert first is not None
    assert again is not None
    assert (first["is_ended"], again["is_ended"]) == (True, False)
    for key in ("status", "message_id", "finish_reason", "error_code"):
        assert again[key] == first[key]
    assert again["content"] == "an answer"  # the stored text, for readers that got another one
    assert await chat.texts(sql) == ["hello", "an answer"]
    assert await sql.fetchval("select count(*) from journal") == 1


async def test_a_finish_with_another_end_is_told_which_one_came_first(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    first = await chat.finish(sql, begun, status="stopped", finish_reason="stopped")
    second = await chat.finish(sql, begun)
    assert first is not None
    assert second is not None
    assert (second["is_ended"], second["message_id"], second["finish_reason"], second["content"]) == (
        False,
        first["message_id"],
        "stopped",
        "an answer",
    )


async def test_another_workers_generation_is_not_ended(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    row = await chat.finish(sql, begun, worker_id=uuid4(), first_seq=0, slice="[{}, {}, {}]")
    assert row is not None
    assert (row["is_ended"], row["status"], row["content"]) == (False, "running", None)
    assert (await generation(sql, begun))["status"] == "running"
    assert await chat.texts(sql) == ["hello"]
    assert await sql.fetchval("select count(*) from journal") == 0


async def test_a_finish_in_a_deleted_conversation_finds_nothing(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    await sql.execute("delete from conversations")
    assert await chat.finish(sql, begun, first_seq=0, slice="[{}, {}, {}]") is None
    assert await sql.fetchval("select count(*) from messages") == 0
    assert await sql.fetchval("select count(*) from journal") == 0


async def test_a_finish_brings_the_last_slice_to_the_journal(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    await chat.speak(sql, (begun, 0, [{}]))
    await chat.finish(sql, begun, first_seq=1, last_seq=3, slice='[{"token":"a"}, {"token":"b"}]')
    rows = await sql.fetch("select first_seq, next_seq, events from journal order by next_seq")
    assert [tuple(row) for row in rows] == [(0, 1, "[{}]"), (1, 3, '[{"token":"a"}, {"token":"b"}]')]


async def test_a_last_slice_that_the_journal_has_already_is_not_written_again(
    sql: Connection, chat: Chat
) -> None:
    """A tick wrote it, but its worker didn't learn that."""
    begun = await chat.begin(sql)
    await chat.speak(sql, (begun, 1, [{}, {}]))
    row = await chat.finish(sql, begun, first_seq=0, last_seq=3, slice="[{}, {}, {}]")
    assert row is not None
    assert row["is_ended"]
    rows = await sql.fetch("select first_seq, next_seq from journal")
    assert [tuple(row) for row in rows] == [(1, 3)]


async def test_a_finish_without_a_last_slice_writes_none(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql))
    assert await sql.fetchval("select count(*) from journal") == 0


@pytest.mark.parametrize(
    ("status", "content", "kept"),
    [
        ("completed", "new", ["q", "new"]),
        ("stopped", "new", ["q", "new"]),
        ("failed", "new", ["q", "old", "older still", "new"]),
        ("interrupted", "new", ["q", "old", "older still", "new"]),
        ("completed", "", ["q", "old", "older still"]),
        ("stopped", "", ["q", "old", "older still"]),
        ("failed", "", ["q", "old", "older still"]),
    ],
)
async def test_a_regeneration_replaces_the_answer_only_with_a_better_one(
    sql: Connection, chat: Chat, status: str, content: str, kept: list[str]
) -> None:
    await chat.say(sql, "user", "q", 1)
    await chat.say(sql, "assistant", "old", 2)
    await chat.say(sql, "assistant", "older still", 3)
    begun = await chat.begin(sql, kind="regenerate")
    await chat.finish(sql, begun, status=status, content=content)
    assert await chat.texts(sql) == kept


async def test_a_regeneration_leaves_earlier_turns_and_other_conversations_alone(
    sql: Connection, chat: Chat
) -> None:
    other = await Chat(user_id=chat.user_id).open(sql)
    for each in (chat, other):
        await each.say(sql, "user", "q1", 1)
        await each.say(sql, "assistant", "a1", 2)
        await each.say(sql, "user", "q2", 3)
        await each.say(sql, "assistant", "a2", 4)
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="better")
    assert await chat.texts(sql) == ["q1", "a1", "q2", "better"]
    assert await other.texts(sql) == ["q1", "a1", "q2", "a2"]


async def test_a_retry_of_the_replaced_answer_gets_the_new_one(sql: Connection, chat: Chat) -> None:
    first = await chat.begin(sql, idempotency_key="k")
    slices = {"first_seq": 0, "slice": "[{}, {}, {}]"}
    await chat.finish(sql, first, **slices)
    regeneration = await chat.begin(sql, kind="regenerate")
    again = await chat.finish(sql, regeneration, content="better", **slices)
    assert await sql.fetchval("select array_agg(generation_id) from journal") == [regeneration]
    exchange = await one(sql, "messages.exchange", generation_id=first)
    assert again is not None
    assert exchange is not None
    assert orjson.loads(exchange["answer"])["id"] == str(again["message_id"])
    assert orjson.loads(exchange["answer"])["content"] == "better"


# attach, stop


async def attach(sql: Connection, chat: Chat, **changes: Any) -> asyncpg.Record | None:
    return await one(
        sql,
        "generations.attach",
        **{"conversation_id": chat.id, "user_id": chat.user_id, "generation_id": None, **changes},
    )


async def test_an_attach_finds_the_newest_generation_or_the_one_it_names(sql: Connection, chat: Chat) -> None:
    row = await attach(sql, chat)
    assert row is not None
    assert row["generation_id"] is None
    first = await chat.begin(sql)
    await chat.finish(sql, first, content="one")
    await sql.execute("update generations set finished_at = now() - interval '90.5 seconds'")
    second = await chat.begin(sql)
    for generation_id, asked in [(second, None), (second, second), (first, first)]:
        row = await attach(sql, chat, generation_id=asked)
        assert row is not None
        assert row["generation_id"] == generation_id
        if generation_id == first:
            assert 90.5 <= row["seconds_since_end"] < 120
        else:
            assert row["seconds_since_end"] is None


async def test_an_attach_finds_no_generation_of_another_conversation(sql: Connection, chat: Chat) -> None:
    other = await Chat(user_id=chat.user_id).open(sql)
    row = await attach(sql, chat, generation_id=await other.begin(sql))
    assert row is not None
    assert row["generation_id"] is None
    assert await attach(sql, chat, conversation_id=uuid4()) is None


async def test_a_stop_marks_the_running_generation_once(sql: Connection, chat: Chat) -> None:
    async def stop(**changes: Any) -> asyncpg.Record | None:
        return await one(
            sql,
            "generations.stop",
            **{"conversation_id": chat.id, "user_id": chat.user_id, "generation_id": None, **changes},
        )

    assert await stop(conversation_id=uuid4()) is None
    row = await stop()
    assert row is not None
    assert row["generation_id"] is None
    begun = await chat.begin(sql)
    row = await stop(generation_id=uuid4())
    assert row is not None
    assert row["generation_id"] is None
    assert (await generation(sql, begun))["stop_requested_at"] is None
    marks = []
    for generation_id in (begun, None):
        row = await stop(generation_id=generation_id)
        assert row is not None
        assert row["generation_id"] == begun
        marks.append((await generation(sql, begun))["stop_requested_at"])
    assert marks[0] is not None
    assert marks[0] == marks[1]
    await chat.finish(sql, begun)
    row = await stop()
    assert row is not None
    assert row["generation_id"] is None


# Leases


async def test_the_generations_of_dead_workers_are_interrupted_once(sql: Connection) -> None:
    alive, dead, unknown = [await Chat().open(sql) for _ in range(3)]
    begun = {chat.worker_id: await chat.begin(sql) for chat in (alive, dead, unknown)}
    finished = await Chat(worker_id=dead.worker_id).open(sql)
    await finished.finish(sql, await finished.begin(sql))
    await kill_workers(sql)
    await tick(sql, alive.worker_id, seconds=60.0)
    await tick(sql, dead.worker_id, seconds=-1.0)
    ended = {row["id"] for row in await run(sql, "maintenance.interrupt_orphans")}
    assert ended == {begun[dead.worker_id], begun[unknown.worker_id]}
    assert await run(sql, "maintenance.interrupt_orphans") == []
    row = await generation(sql, begun[dead.worker_id])
    assert (row["status"], row["finish_reason"]) == ("interrupted", "interrupted")
    assert (row["error_code"], row["message_id"]) == ("worker_lost", None)
    assert (row["token_count"], row["last_seq"]) == (0, 2)  # only its end was written
    assert await dead.texts(sql) == ["hello"]
    await dead.begin(sql)


TOKENS = [{"token": token} for token in ("Zwölf ", "🥟", "e\u0301 ", "\u202eשל")]


@pytest.mark.parametrize(
    ("slices", "content", "tokens", "last_seq"),
    [
        ([(0, [{}, *TOKENS])], "Zwölf 🥟e\u0301 \u202eשל", 4, 6),
        ([(0, [{}, *TOKENS[:2]]), (3, TOKENS[2:])], "Zwölf 🥟e\u0301 \u202eשל", 4, 6),
        ([(3, TOKENS[2:]), (0, [{}, *TOKENS[:2]])], "Zwölf 🥟e\u0301 \u202eשל", 4, 6),
        ([(0, [{}, *TOKENS[:2]]), (0, [{}, *TOKENS[:3]]), (2, TOKENS[1:])], "Zwölf 🥟e\u0301 \u202eשל", 4, 6),
        ([(0, [{}, {"token": str(n)}, {"token": ""}]) for n in "a"], "a", 2, 4),
        ([(0, [{"token": f"{n} "} for n in range(12)])], "0 1 2 3 4 5 6 7 8 9 10 11 ", 12, 13),
        ([(0, [{}])], None, 0, 2),
        ([(0, [{}, {"token": ""}])], None, 1, 3),
        # Any other fields that a model server sends.
        ([(0, [{}, {"token": "a", "gpu": 0, "more": {"token": "b"}}])], "a", 1, 3),
        ([(0, [{}, {"nul\0": "\0\0", "token": "a\\u0000\\"}])], "a\\u0000\\", 1, 3),
        ([(0, [{}, {"token": "a\\", "nul": "\\\0"}, {"token": '"\n\t'}])], 'a\\"\n\t', 2, 4),
    ],
)
async def test_what_a_dead_worker_wrote_is_kept_each_event_once_and_in_order(
    sql: Connection,
    chat: Chat,
    slices: list[tuple[int, list[Any]]],
    content: str | None,
    tokens: int,
    last_seq: int,
) -> None:
    other = await Chat(worker_id=chat.worker_id).open(sql)
    begun, others = await chat.begin(sql), await other.begin(sql)
    for first_seq, events in slices:
        await chat.speak(sql, (begun, first_seq, events), (others, 0, [{}, {"token": "other's"}]))
    await kill_workers(sql)
    await sql.execute("update conversations set updated_at = '2025-01-01', model_tag = 'd20'")
    ended = await run(sql, "maintenance.interrupt_orphans")
    assert {row["id"] for row in ended} == {begun, others}
    row = await generation(sql, begun)
    assert (row["token_count"], row["last_seq"]) == (tokens, last_seq)
    message = await sql.fetchrow("select * from messages where id = $1", row["message_id"])
    if content is None:
        assert row["message_id"] is None
    else:
        assert message is not None
        assert (message["role"], message["content"], message["conversation_id"]) == (
            "assistant",
            content,
            chat.id,
        )
        assert (message["token_count"], message["model_tag"]) == (tokens, "d20")
        assert message["finish_reason"] == "interrupted"
    assert await other.texts(sql) == ["hello", "other's"]
    assert await sql.fetchval("select bool_and(updated_at > '2025-01-02') from conversations")
    before = await sql.fetchval("select count(*) from messages")
    assert await run(sql, "maintenance.interrupt_orphans") == []
    assert await sql.fetchval("select count(*) from messages") == before


async def test_an_interrupted_regeneration_leaves_the_old_answer_in_place(
    sql: Connection, chat: Chat
) -> None:
    await chat.finish(sql, await chat.begin(sql), content="old")
    again = await chat.begin(sql, kind="regenerate")
    await chat.speak(sql, (again, 0, [{}, {"token": "new"}]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    assert await chat.texts(sql) == ["hello", "old", "new"]


async def test_a_lease_is_renewed_and_given_back_and_old_ones_go_with_it(sql: Connection) -> None:
    mine, old, recent = uuid4(), uuid4(), uuid4()
    for worker, seconds in ((mine, -5.0), (mine, 60.0), (old, -3601.0), (recent, -3590.0)):
        await tick(sql, worker, seconds=seconds)
    held = "select array_agg(id) from workers where lease_until > now()"
    assert await sql.fetchval(held) == [mine]
    await run(sql, "maintenance.release_lease", worker_id=mine)
    assert await sql.fetchval("select array_agg(id) from workers") == [recent]
