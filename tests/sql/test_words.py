"""What models say beside text, and questions that they refuse: stored, joined, sent again and read."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from tests.sql.test_bring_in import bring_in, interrupted
from tests.support.queries import Chat, Connection, history, kill_workers, one, opened, run, shown

CALL = {"id": "c1", "name": "weather", "arguments": '{"city":"Pune"}'}
CALLS = orjson.dumps([CALL]).decode()
USAGE = {"prompt_tokens": 9, "completion_tokens": 6, "reasoning_tokens": 4, "cached_tokens": None}
REFUSED: dict[str, Any] = {
    "status": "failed",
    "finish_reason": "error",
    "error_code": "inference_rejected",
    "is_refused": True,
    "content": "",
}


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    return await Chat().open(sql)


async def answer(sql: Connection) -> asyncpg.Record:
    """The only answer that is stored."""
    row = await sql.fetchrow("select * from messages where role = 'assistant'")
    assert row is not None
    return row


async def call_tools(
    sql: Connection, chat: Chat, question: str = "Rain?", content: str = "", tool_calls: str = CALLS
) -> None:
    """Store a question, and an answer that calls tools."""
    await chat.finish(
        sql,
        await chat.begin(sql, content=question),
        content=content,
        tool_calls=tool_calls,
        finish_reason="tool_calls",
    )


async def use_tool(sql: Connection, chat: Chat, content: str = "", calls: str = CALLS) -> None:
    """Store an answer that calls a tool, and the tool's result."""
    await call_tools(sql, chat, content=content, tool_calls=calls)
    await sql.execute(
        "insert into messages (conversation_id, role, content, tool_call_id) values ($1, 'tool', '', 'c1')",
        chat.id,
    )


@pytest.mark.parametrize(
    "said",
    [
        {"content": "yes"},
        {"reasoning": "hm"},
        {"tool_calls": CALLS},
        {"content": "yes", "reasoning": "hm", "tool_calls": CALLS},
    ],
    ids=" ".join,
)
async def test_whatever_was_said_makes_a_message(sql: Connection, chat: Chat, said: dict[str, str]) -> None:
    nothing = {"content": "", "reasoning": None, "tool_calls": None}
    usage = orjson.dumps(USAGE).decode()
    begun = await chat.begin(sql)
    await chat.finish(sql, begun, **{**nothing, **said}, usage=usage)
    row = await answer(sql)
    assert {key: row[key] for key in nothing} == {**nothing, **said}
    assert orjson.loads(row["usage"]) == USAGE
    assert orjson.loads(await sql.fetchval("select usage from generations")) == USAGE
    message = shown(await opened(sql, chat.id, chat.user_id))[1]
    assert message["reasoning"] == said.get("reasoning")
    assert message["tool_calls"] == ([CALL] if "tool_calls" in said else None)
    assert message["usage"] == USAGE
    exchange = await one(sql, "messages.exchange", generation_id=begun)
    assert exchange is not None
    assert orjson.loads(exchange["answer"]) == message
    again = await chat.finish(sql, begun, content="other")
    assert again is not None
    assert [again[key] for key in nothing] == [row[key] for key in nothing]


@pytest.mark.parametrize("reason", ["stop", "content_filter", "length"])
async def test_nothing_said_makes_none_but_its_usage_is_kept(
    sql: Connection, chat: Chat, reason: str
) -> None:
    usage = orjson.dumps(USAGE).decode()
    begun = await chat.begin(sql)
    row = await chat.finish(sql, begun, content="", status="failed", finish_reason=reason, usage=usage)
    assert row is not None
    assert row["message_id"] is None
    assert orjson.loads(await sql.fetchval("select usage from generations")) == USAGE


async def test_calls_are_sent_with_their_results_and_thinking_is_not(sql: Connection, chat: Chat) -> None:
    await use_tool(sql, chat)
    await chat.finish(sql, await chat.begin(sql, content="?"), content="", reasoning="only thought")
    row = await chat.start(sql, content="and now?")
    assert row is not None
    sent = orjson.loads(row["history"])
    assert [each[:4] for each in sent[::-1]] == [
        ["user", "Rain?", None, None],
        ["assistant", "", [CALL], None],
        ["tool", "", None, "c1"],
        ["user", "?", None, None],
        ["user", "and now?", None, None],
    ]
    positions = [each[4] for each in sent]
    assert positions[0] is None
    assert positions[1:] == sorted(positions[1:], reverse=True)


async def test_calls_count_in_the_budget_of_characters(sql: Connection, chat: Chat) -> None:
    await use_tool(sql, chat)
    room = len("and now?") + len(CALLS)
    row = await chat.start(sql, content="and now?", max_characters=room - 1)
    assert history(row) == [["tool", ""], ["user", "and now?"]]
    await sql.execute("delete from generations where status = 'running'")
    row = await chat.start(sql, content="and now?", max_characters=room + len("and now?"))
    assert history(row)[0] == ["assistant", ""]


async def test_a_regeneration_takes_the_results_of_the_old_answers_calls_with_it(
    sql: Connection, chat: Chat
) -> None:
    await use_tool(sql, chat, content="Let me see.")
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="", reasoning="hm")
    rows = await sql.fetch("select role, reasoning from messages order by position")
    assert [tuple(row) for row in rows] == [("user", None), ("assistant", "hm")]


# refused


async def test_a_refused_question_is_not_sent_with_the_next_one(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql, content="one"), content="1")
    await chat.finish(sql, await chat.begin(sql, content="bad"), **REFUSED)
    row = await chat.start(sql, content="two")
    assert history(row) == [["user", "one"], ["assistant", "1"], ["user", "two"]]
    assert await chat.texts(sql) == ["one", "1", "bad", "two"]  # it is still there


@pytest.mark.parametrize(
    ("end", "is_sent_later"),
    [
        ({}, True),
        ({"status": "stopped", "finish_reason": "stopped"}, True),
        ({"status": "stopped", "finish_reason": "stopped", "content": ""}, False),
        (REFUSED, False),
        ({**REFUSED, "is_refused": False}, False),
    ],
    ids=str,
)
async def test_a_refused_question_is_asked_again_alone_and_sent_later_once_it_has_an_answer(
    sql: Connection, chat: Chat, end: dict[str, Any], is_sent_later: bool
) -> None:
    await chat.finish(sql, await chat.begin(sql, content="first"), **REFUSED)
    await chat.finish(sql, await chat.begin(sql, content="bad"), **REFUSED)
    again = await chat.start(sql, kind="regenerate")
    assert again is not None
    assert history(again) == [["user", "bad"]]
    await chat.finish(sql, again["generation_id"], **{"content": "fine", **end})
    asked = history(await chat.start(sql, content="next"))
    assert asked == ([["user", "bad"], ["assistant", "fine"]] if is_sent_later else []) + [["user", "next"]]


async def test_a_question_with_an_answer_is_sent_though_doing_it_again_was_refused(
    sql: Connection, chat: Chat
) -> None:
    await chat.finish(sql, await chat.begin(sql, content="one"), content="1")
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), **REFUSED)
    assert history(await chat.start(sql, content="two")) == [
        ["user", "one"],
        ["assistant", "1"],
        ["user", "two"],
    ]


async def give(sql: Connection, chat: Chat, *contents: str) -> asyncpg.Record:
    """Begin the answer to these results of the calls of the last message."""
    results = [{"tool_call_id": f"c{n}", "content": text} for n, text in enumerate(contents, 1)]
    given = orjson.dumps(results).decode()
    row = await chat.start(sql, kind="results", content=None, title="", results=given)
    assert row is not None
    assert row["outcome"] == "started"
    return row


class TestRefusedResults:
    """The model server refuses what tools gave, such as a page with words that it filters."""

    @pytest.fixture
    async def refused(self, sql: Connection, chat: Chat) -> Chat:
        """Two calls whose results were refused, after a call whose result was taken."""
        await use_tool(sql, chat)
        await chat.finish(sql, await chat.begin(sql, content="ok?"), content="ok")
        calls = orjson.dumps([CALL, {**CALL, "id": "c2"}]).decode()
        await call_tools(sql, chat, "Now?", tool_calls=calls)
        row = await give(sql, chat, "bad", "worse")
        await chat.finish(sql, row["generation_id"], after_id=row["after_id"], **REFUSED)
        return chat

    async def marks(self, sql: Connection) -> list[str]:
        rows = await sql.fetch("select content from messages where is_refused order by position")
        return [row["content"] for row in rows]

    async def test_are_not_sent_with_the_next_question(self, sql: Connection, refused: Chat) -> None:
        assert await self.marks(sql) == ["bad", "worse"]
        sent = history(await refused.start(sql, content="and?"))
        assert [turn[1] for turn in sent if turn[0] in ("user", "tool")] == [
            "Rain?",
            "",
            "ok?",
            "Now?",
            "and?",
        ]

    async def test_are_answered_again_alone_and_sent_later_once_they_have_an_answer(
        self, sql: Connection, refused: Chat
    ) -> None:
        again = await refused.start(sql, kind="regenerate")
        assert again is not None
        assert [turn[1] for turn in history(again)][-2:] == ["bad", "worse"]
        await refused.finish(sql, again["generation_id"], after_id=again["after_id"], content="fine")
        assert await self.marks(sql) == []
        sent = history(await refused.start(sql, content="and?"))
        assert [turn[1] for turn in sent][-4:] == ["bad", "worse", "fine", "and?"]

    async def test_stay_refused_while_no_regeneration_succeeds(self, sql: Connection, refused: Chat) -> None:
        for end in (REFUSED, {**REFUSED, "is_refused": False}):
            again = await refused.start(sql, kind="regenerate")
            assert again is not None
            await refused.finish(sql, again["generation_id"], after_id=again["after_id"], **end)
            assert await self.marks(sql) == ["bad", "worse"]

    async def test_with_an_answer_are_sent_though_doing_it_again_was_refused(
        self, sql: Connection, refused: Chat
    ) -> None:
        for end in ({"content": "fine"}, REFUSED):
            again = await refused.start(sql, kind="regenerate")
            assert again is not None
            await refused.finish(sql, again["generation_id"], after_id=again["after_id"], **end)
        assert await self.marks(sql) == []

    @pytest.mark.parametrize("lost", ["generations", "generations, messages where role = 'tool'"])
    async def test_are_brought_in_as_such(self, sql: Connection, chat: Chat, lost: str) -> None:
        await call_tools(sql, chat)
        row = await give(sql, chat, "bad")
        ids = [
            (each["id"], each["content"])
            for each in await sql.fetch("select id, content from messages where role = 'tool'")
        ]
        for table in lost.split(", "):
            await sql.execute(f"delete from {table}")
        results = [{"id": str(each), "tool_call_id": "c1", "content": text} for each, text in ids]
        await bring_in(
            sql,
            chat,
            row["generation_id"],
            row["user_message_id"],
            **REFUSED,
            kind="results",
            after_id=row["after_id"],
            call_message_id=row["call_message_id"],
            results=orjson.dumps(results).decode(),
            question="Rain?",
        )
        assert await self.marks(sql) == ["bad"]
        sent = history(await chat.start(sql, content="and?"))
        assert [turn[0] for turn in sent] == ["user", "assistant", "user"]


@pytest.mark.parametrize("code", ["inference_error", "inference_rejected", "answer_filtered", None])
async def test_no_other_end_takes_a_question_out_of_the_history(
    sql: Connection, chat: Chat, code: str | None
) -> None:
    end = {**REFUSED, "error_code": code, "is_refused": False}
    await chat.finish(sql, await chat.begin(sql, content="one"), **end)
    assert history(await chat.start(sql, content="two")) == [["user", "one"], ["user", "two"]]


# brought in


async def test_more_thinking_and_longer_calls_are_brought_in(sql: Connection, chat: Chat) -> None:
    row = await chat.start(sql)
    assert row is not None
    pieces = [
        {"reasoning": "so "},
        {"tool_call": {"index": 0, "id": "c1", "name": "weather", "arguments": "{"}},
    ]
    await chat.speak(sql, (row["generation_id"], 0, [{}, *pieces]))
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    before = await answer(sql)
    assert (before["content"], before["reasoning"]) == ("", "so ")
    brought = await bring_in(
        sql,
        chat,
        row["generation_id"],
        row["user_message_id"],
        content="",
        reasoning="so far",
        tool_calls=CALLS,
        usage=orjson.dumps(USAGE).decode(),
        finish_reason="tool_calls",
    )
    assert brought is not None
    assert brought["is_ended"] is True
    after = await answer(sql)
    assert after["id"] == before["id"]
    assert (after["content"], after["reasoning"], after["finish_reason"]) == ("", "so far", "tool_calls")
    assert orjson.loads(after["tool_calls"]) == [CALL]
    assert orjson.loads(after["usage"]) == USAGE
    assert orjson.loads(await sql.fetchval("select usage from generations")) == USAGE


@pytest.mark.parametrize("lost", ["generations", "generations, messages"])
async def test_a_lost_refusal_is_brought_in_as_one(sql: Connection, chat: Chat, lost: str) -> None:
    row = await chat.start(sql, content="bad")
    assert row is not None
    for table in lost.split(", "):
        await sql.execute(f"delete from {table}")
    await bring_in(sql, chat, row["generation_id"], row["user_message_id"], **REFUSED, question="bad")
    assert history(await chat.start(sql, content="next")) == [["user", "next"]]


async def test_a_regeneration_that_is_brought_in_puts_a_refused_question_back(
    sql: Connection, chat: Chat
) -> None:
    await chat.finish(sql, await chat.begin(sql, content="bad"), **REFUSED)
    ids = await interrupted(sql, chat, kind="regenerate")
    await bring_in(sql, chat, *ids, kind="regenerate")
    asked = history(await chat.start(sql, content="next"))
    assert asked == [["user", "bad"], ["assistant", "so far, so good"], ["user", "next"]]


# joined from the journal


def piece(index: int, arguments: str, **first: str) -> dict[str, Any]:
    return {"tool_call": {"index": index, **first, "arguments": arguments}}


@pytest.mark.parametrize(
    ("events", "content", "reasoning", "calls", "tokens"),
    [
        ([{"reasoning": "a "}, {"reasoning": "b"}], "", "a b", None, 2),
        ([{"reasoning": "a"}, {"token": "b"}, {"reasoning": "c"}], "b", "ac", None, 3),
        ([piece(0, "", id="x", name="f"), piece(0, "{"), piece(0, "}")], "", None, [("x", "f", "{}")], 3),
        (  # two calls at once, the second begun first
            [piece(1, "[", id="y", name="g"), piece(0, "{", id="x", name="f"), piece(1, "]"), piece(0, "}")],
            "",
            None,
            [("y", "g", "[]"), ("x", "f", "{}")],
            4,
        ),
        ([piece(0, '{"nul":"\\u0000"}', id="x", name="f")], "", None, [("x", "f", '{"nul":"\\u0000"}')], 1),
        ([piece(0, "\0", id="\0", name="🥟")], "", None, [("\ufffd", "🥟", "\ufffd")], 1),
        ([{"reasoning": "\0"}], "", "\ufffd", None, 1),
        ([piece(0, "x")], "", None, [("", "", "x")], 1),  # the slice with its beginning is gone
        # Fields that a server sends along with its text, and events of its own, say nothing.
        ([{"token": "a", "reasoning": "b", "tool_call": None}], "a", None, None, 1),
        (
            [{"token": "a"}, {"status": "searching", "tool_call": "x"}, {"reasoning": None}],
            "a",
            None,
            None,
            1,
        ),
    ],
)
async def test_what_a_dead_worker_wrote_of_thinking_and_calls_is_kept(
    sql: Connection,
    chat: Chat,
    events: list[dict[str, Any]],
    content: str,
    reasoning: str | None,
    calls: list[tuple[str, str, str]] | None,
    tokens: int,
) -> None:
    other = await Chat(worker_id=chat.worker_id).open(sql)
    begun, others = await chat.begin(sql), await other.begin(sql)
    await chat.speak(sql, (begun, 0, [{}, *events[:1]]), (others, 0, [{}, piece(0, "7", id="o", name="o")]))
    await chat.speak(sql, (begun, 1, events), (others, 0, [{}]))  # the first event comes twice
    await kill_workers(sql)
    await run(sql, "maintenance.interrupt_orphans")
    row = await sql.fetchrow(
        "select * from messages where role = 'assistant' and conversation_id = $1", chat.id
    )
    assert row is not None
    assert (row["content"], row["reasoning"], row["token_count"]) == (content, reasoning, tokens)
    found = (
        None
        if row["tool_calls"] is None
        else [tuple(each.values()) for each in orjson.loads(row["tool_calls"])]
    )
    assert found == calls
    (others_message,) = shown(await opened(sql, other.id, other.user_id))[1:]
    assert others_message["tool_calls"] == [{"id": "o", "name": "o", "arguments": "7"}]


# read


async def read(sql: Connection, generation_id: UUID) -> asyncpg.Record:
    (row,) = await run(sql, "journal.read", ids=[generation_id], next_seqs=[0])
    return row


async def test_an_answer_cut_before_its_text_is_read_with_its_error(sql: Connection, chat: Chat) -> None:
    begun = await chat.begin(sql)
    cut = {"status": "failed", "finish_reason": "length", "error_code": "answer_cut_before_text"}
    await chat.finish(sql, begun, **cut, content="", reasoning="hm", usage=orjson.dumps(USAGE).decode())
    row = await read(sql, begun)
    assert (row["error_code"], row["finish_reason"]) == ("answer_cut_before_text", "length")
    assert (row["content"], row["reasoning"], orjson.loads(row["usage"])) == ("", "hm", USAGE)
    # Done again with success, it has no error any more.
    again = await chat.begin(sql, kind="regenerate")
    await chat.finish(sql, again, content="cut", finish_reason="length")
    row = await read(sql, begun)
    assert (row["error_code"], row["finish_reason"], row["content"]) == (None, "length", "cut")


@pytest.mark.parametrize("reason", ["tool_calls", "content_filter", "stop"])
async def test_a_failed_answer_that_was_replaced_is_read_without_its_error(
    sql: Connection, chat: Chat, reason: str
) -> None:
    begun = await chat.begin(sql)
    await chat.finish(sql, begun, status="failed", finish_reason="error", error_code="inference_error")
    again = await chat.begin(sql, kind="regenerate")
    await chat.finish(sql, again, content="", reasoning="better", tool_calls=CALLS, finish_reason=reason)
    row = await read(sql, begun)
    assert (row["error_code"], row["finish_reason"]) == (None, reason)
    assert (row["content"], row["reasoning"], orjson.loads(row["tool_calls"])) == ("", "better", [CALL])


# unanswered


async def unanswered(sql: Connection, chat: Chat, **changes: Any) -> tuple[Any, ...]:
    row = await opened(sql, chat.id, chat.user_id, **changes)
    assert row is not None
    return row["unanswered_id"], row["unanswered_error"], row["unanswered_reason"]


NOTHING = (None, None, None)


async def test_the_last_question_says_why_it_has_no_answer(sql: Connection, chat: Chat) -> None:
    assert await unanswered(sql, chat) == NOTHING
    await chat.finish(sql, await chat.begin(sql))
    assert await unanswered(sql, chat) == NOTHING
    begun = await chat.begin(sql)
    assert await unanswered(sql, chat) == NOTHING  # it is being written
    await chat.finish(
        sql, begun, status="failed", finish_reason="content_filter", error_code="answer_filtered", content=""
    )
    assert await unanswered(sql, chat) == (begun, "answer_filtered", "content_filter")
    assert await unanswered(sql, chat, max_rows=1) == (begun, "answer_filtered", "content_filter")
    again = await chat.begin(sql, kind="regenerate")
    assert await unanswered(sql, chat) == NOTHING
    await chat.finish(sql, again, status="stopped", finish_reason="stopped", content="")
    assert await unanswered(sql, chat) == (again, None, "stopped")
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="", reasoning="hm")
    assert await unanswered(sql, chat) == NOTHING


async def test_a_regeneration_that_failed_leaves_no_question_unanswered(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql))
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), **REFUSED)
    assert await unanswered(sql, chat) == NOTHING


async def test_a_question_that_nothing_was_begun_for_has_no_reason(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql), **REFUSED)
    await chat.say(sql, "user", "stored by another service")
    assert await unanswered(sql, chat) == NOTHING


async def test_earlier_messages_are_shown_without_the_newest_ones_reason(sql: Connection, chat: Chat) -> None:
    await chat.finish(sql, await chat.begin(sql), **REFUSED)
    last = await chat.say(sql, "user", "x")
    assert await unanswered(sql, chat, before_id=last) == NOTHING


@pytest.mark.parametrize("max_bytes", [1, 1_000_000])
async def test_a_conversation_too_long_for_one_piece_says_it_too(
    sql: Connection, chat: Chat, max_bytes: int
) -> None:
    for number in range(501):
        await chat.say(sql, "assistant" if number % 2 else "user", f"{number}")
    begun = await chat.begin(sql)
    await chat.finish(sql, begun, **REFUSED)
    row = await opened(sql, chat.id, chat.user_id, max_bytes=max_bytes)
    assert row is not None
    assert row["is_all"] is False
    assert row["end_position"] == 1 + await sql.fetchval("select max(position) from messages")
    assert row["unanswered_id"] == begun


async def test_thinking_and_calls_count_in_the_size_of_a_piece(sql: Connection, chat: Chat) -> None:
    for name in ("reasoning", "tool_calls"):
        said = {
            "content": "",
            "reasoning": None,
            "tool_calls": None,
            name: orjson.dumps(["x" * 100]).decode(),
        }
        await chat.finish(sql, await chat.begin(sql), **said)
    row = await opened(sql, chat.id, chat.user_id, max_bytes=50)
    assert row is not None
    assert [message["role"] for message in shown(row)] == ["user", "assistant"]
    rest = await one(
        sql,
        "messages.piece",
        conversation_id=chat.id,
        user_id=chat.user_id,
        after_position=row["last_position"],
        end_position=row["end_position"],
        max_bytes=50,
    )
    assert [message["role"] for message in shown(rest)] == ["user", "assistant"]
    assert shown(rest)[1]["tool_calls"] == ["x" * 100]


async def test_an_export_has_all_of_it(sql: Connection, chat: Chat) -> None:
    await use_tool(sql, chat)
    lines = [
        orjson.loads(row["line"])
        for row in await run(sql, "users.export", user_id=chat.user_id, conversation_id=None)
    ]
    assert [line.get("tool_calls") for line in lines if line["type"] == "message"] == [None, [CALL], None]
    assert [line.get("tool_call_id") for line in lines if line["type"] == "message"] == [None, None, "c1"]
    (record,) = [line for line in lines if line["type"] == "generation"]
    assert {"usage", "options", "model_tag", "price", "prompt_estimate", "max_tokens"} <= record.keys()
    assert [line["id"] for line in lines if line["type"] == "usage"] == [record["id"]]
    assert await run(sql, "users.export", user_id=uuid4(), conversation_id=None) == []
