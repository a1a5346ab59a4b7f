"""Answers that aren't text alone: thinking, tool calls, and ends with nothing said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from chat_api import errors
from chat_api.events import USAGE
from chat_api.inference import connect
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.queries import kill_workers, run
from tests.support.reader import Seen, read_events, text_of
from tests.support.speaker import Speaker, Speech
from tests.support.tab import open_tab

NOTHING_COUNTED = dict.fromkeys(USAGE)
OTHER = '[{"id":"c2","name":"","arguments":""}]'
CALL = {"id": "c1", "name": "weather", "arguments": '{"city":"Pune"}'}


@pytest.fixture
def speaker(monkeypatch: pytest.MonkeyPatch) -> Speaker:
    """What all workers' models say."""
    speaker = Speaker()
    monkeypatch.setitem(connect.PROTOCOLS, "nanochat", speaker)
    return speaker


@pytest.fixture
async def chat(speaker: Speaker, start: Start, settings: Settings, user: dict[str, str]) -> Chat:
    return await open_chat(await start(settings), user)


def use_tool(speech: Speech) -> None:
    speech.call(0, "", "c1", "weather")
    for piece in ('{"city"', ':"Pune"}'):
        speech.call(0, piece)


def seen_of(events: list[Seen]) -> dict[str, Any]:
    """What a reader shows, after any resets."""
    content = reasoning = arguments = ""
    calls = None
    for event in events:
        if "reset" in event.data:
            content, reasoning = event.data["content"], event.data["reasoning"] or ""
            calls = event.data["tool_calls"]
        content += event.data.get("token", "")
        reasoning += event.data.get("reasoning", "") if "reset" not in event.data else ""
        if "tool_call" in event.data:
            piece = event.data["tool_call"]
            arguments += piece["arguments"]
            calls = [{**(calls or [{}])[0], **piece, "arguments": arguments}]
    for call in calls or ():
        call.pop("index", None)
    return {"content": content, "reasoning": reasoning or None, "tool_calls": calls}


async def last(chat: Chat) -> dict[str, Any]:
    message: dict[str, Any] = (await chat.get())["messages"][-1]
    return message


def parts(message: dict[str, Any]) -> dict[str, Any]:
    return {key: message[key] for key in ("content", "reasoning", "tool_calls")}


async def test_thinking_and_calls_reach_readers_and_are_stored_beside_the_text(
    chat: Chat, speaker: Speaker, sql: Sql
) -> None:
    response = await chat.send("Rain?")
    speech = await speaker.speech()
    speech.think("They ask ")
    speech.think("about rain.")
    speech.say("Let me see.")
    use_tool(speech)
    usage = {"prompt_tokens": 9, "completion_tokens": 60, "reasoning_tokens": 50, "cached_tokens": 8}
    speech.finish("tool_calls", **usage)
    seen = await read_events(response)
    assert [event.seq for event in seen] == list(range(8))
    assert list(seen[4].data) == ["tool_call"]
    done = seen[-1].data
    assert (done["finish_reason"], done["token_count"], done["usage"]) == ("tool_calls", 60, usage)
    message = await last(chat)
    said = {"content": "Let me see.", "reasoning": "They ask about rain.", "tool_calls": [CALL]}
    assert parts(message) == seen_of(seen) == said
    assert (message["id"], message["finish_reason"], message["usage"]) == (
        done["message_id"],
        "tool_calls",
        usage,
    )
    assert (await chat.get())["title"] == "Rain?"
    assert await read_events(await chat.attach()) == seen
    await sql.execute("delete from journal")
    reset, retold = await read_events(await chat.attach(seen[2].id))
    assert reset.data == {"reset": True, **said}
    assert retold == seen[-1]


async def test_thinking_is_not_sent_again(chat: Chat, speaker: Speaker) -> None:
    for content in ("one", "two"):
        response = await chat.send(content)
        speech = await speaker.speech()
        speech.think("secret")
        if content == "one":
            speech.say("1")
        speech.finish()
        await read_events(response)
    await chat.send("three")
    turns = (await speaker.speech()).prompt.turns
    assert [(turn.role, turn.content) for turn in turns] == [
        ("user", "one"),
        ("assistant", "1"),
        ("user", "two\n\nthree"),
    ]


async def test_over_a_socket_each_piece_has_its_type(chat: Chat, speaker: Speaker) -> None:
    async with open_tab(chat.client, chat.user) as tab:
        await tab.ask("send", chat.path, content="Rain?")
        speech = await speaker.speech()
        speech.think("hm")
        use_tool(speech)
        speech.finish("tool_calls")
        frames = await tab.events()
    assert [frame["type"] for frame in frames] == ["start", "reasoning", *["tool_call"] * 3, "done"]
    assert frames[1]["reasoning"] == "hm"


@pytest.mark.parametrize(
    ("reason", "code", "told"),
    [
        ("stop", "answer_empty", "error"),
        ("tool_calls", "answer_empty", "error"),
        ("content_filter", "answer_filtered", "content_filter"),
        ("length", "answer_cut_before_text", "length"),
    ],
)
async def test_nothing_said_is_never_a_success(
    chat: Chat, speaker: Speaker, reason: str, code: str, told: str
) -> None:
    response = await chat.send(key="k")
    speech = await speaker.speech()
    speech.live()
    speech.finish(reason, completion_tokens=7)
    seen = await read_events(response)
    _, error, done = (event.data for event in seen)
    assert error["error"] == code
    assert error["detail"][-1] == "."
    assert (done["message_id"], done["finish_reason"]) == (None, told)
    assert done["usage"]["completion_tokens"] == 7
    # The same after a reload.
    conversation = await chat.get()
    assert [message["role"] for message in conversation["messages"]] == ["user"]
    assert conversation["unanswered"] == {
        "generation_id": seen[0].data["generation_id"],
        "error": code,
        "detail": error["detail"],
        "finish_reason": told,
    }
    again = await chat.send(key="k", stream=False)
    assert (again.status, (await again.json())["code"]) == (502, code)
    # And nothing of it once there is an answer.
    response = await chat.regenerate()
    speech = await speaker.speech()
    speech.say("yes")
    speech.finish()
    await read_events(response)
    assert (await chat.get())["unanswered"] is None


async def test_a_stop_before_the_first_word_says_so_after_a_reload(chat: Chat, speaker: Speaker) -> None:
    response = await chat.send()
    await speaker.speech()
    await chat.stop()
    done = (await read_events(response))[-1].data
    assert (done["finish_reason"], done["usage"]) == ("stopped", NOTHING_COUNTED)
    unanswered = (await chat.get())["unanswered"]
    assert (unanswered["error"], unanswered["detail"], unanswered["finish_reason"]) == (None, None, "stopped")


@pytest.mark.parametrize("reason", ["stop", "content_filter"])
async def test_thinking_alone_counts_as_said(chat: Chat, speaker: Speaker, reason: str) -> None:
    response = await chat.send()
    speech = await speaker.speech()
    speech.think("hm")
    speech.finish(reason)
    _, _, done = (event.data for event in await read_events(response))
    message = await last(chat)
    assert parts(message) == {"content": "", "reasoning": "hm", "tool_calls": None}
    assert (message["id"], message["finish_reason"]) == (done["message_id"], reason)


@pytest.mark.parametrize("limit", ["the server's", "MAX_ANSWER_CHARACTERS"])
async def test_thinking_that_was_cut_off_before_the_text_is_kept_and_says_so(
    start: Start, settings: Settings, user: dict[str, str], speaker: Speaker, sql: Sql, limit: str
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"max_answer_characters": 1000})), user)
    response = await chat.send()
    speech = await speaker.speech()
    thought = "hm" if limit == "the server's" else "h" * 1000
    speech.think(thought)
    if limit == "the server's":
        speech.finish("length")
    *_, error, done = await read_events(response)
    assert error.data["error"] == "answer_cut_before_text"
    assert done.data["finish_reason"] == "length"
    message = await last(chat)
    assert (message["id"], message["reasoning"]) == (done.data["message_id"], thought)
    assert message["finish_reason"] == "length"
    await sql.execute("delete from journal")
    reset, *retold = await read_events(await chat.attach(f"{done.id.rpartition(':')[0]}:0"))
    assert (reset.data["content"], reset.data["reasoning"]) == ("", thought)
    assert [event.data for event in retold] == [error.data, done.data]


async def test_an_answer_that_was_filtered_midway_is_kept_and_says_so(chat: Chat, speaker: Speaker) -> None:
    response = await chat.send()
    speech = await speaker.speech()
    speech.say("As I was ")
    speech.finish("content_filter")
    _, _, done = (event.data for event in await read_events(response))
    assert done["finish_reason"] == "content_filter"
    message = await last(chat)
    assert (message["content"], message["finish_reason"]) == ("As I was ", "content_filter")


@pytest.mark.parametrize("reason", ["stop", "content_filter", "length"])
async def test_a_regeneration_that_says_nothing_keeps_the_old_answer(
    chat: Chat, speaker: Speaker, reason: str
) -> None:
    response = await chat.send()
    speech = await speaker.speech()
    speech.say("old")
    speech.finish()
    await read_events(response)
    response = await chat.regenerate()
    (await speaker.speech()).finish(reason)
    *_, error, done = await read_events(response)
    assert "error" in error.data
    assert done.data["message_id"] is None
    assert (await last(chat))["content"] == "old"
    assert (await chat.get())["unanswered"] is None


@pytest.mark.parametrize("alone", [True, False])
async def test_thinking_and_calls_count_in_the_longest_answer(
    start: Start, settings: Settings, user: dict[str, str], speaker: Speaker, alone: bool
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"max_answer_characters": 1000})), user)
    response = await chat.send()
    speech = await speaker.speech()
    if not alone:
        speech.think("h" * 400)
        speech.other(status="x" * 200)
    speech.call(0, "a" * (1000 if alone else 400), "c1", "f")
    seen = await read_events(response)
    async with asyncio.timeout(5):
        await speech.closed.wait()
    assert seen[-1].data["finish_reason"] == "length"
    assert parts(await last(chat)) == seen_of(seen)


@pytest.mark.parametrize("where", ["text", "thinking", "arguments", "id", "name"])
async def test_a_nul_is_stored_as_the_replacement_character(chat: Chat, speaker: Speaker, where: str) -> None:
    response = await chat.send()
    speech = await speaker.speech()
    if where == "text":
        speech.say("a\0")
    elif where == "thinking":
        speech.think("a\0")
    else:
        given = {"arguments": "a", "call_id": "a", "name": "a", {"id": "call_id"}.get(where, where): "a\0"}
        speech.call(0, **given)
    speech.finish()
    assert (await read_events(response))[-1].data["message_id"]
    assert "a\ufffd" in str(parts(await last(chat)))


# time-outs


@pytest.fixture
async def quick(speaker: Speaker, start: Start, settings: Settings, user: dict[str, str]) -> Chat:
    """A chat whose model may be silent for half a second."""
    update = {"inference_first_token_timeout": 0.5, "inference_token_timeout": 0.5}
    return await open_chat(await start(settings.model_copy(update=update)), user)


SIGNS: dict[str, Callable[[Speech], None]] = {
    "thinking": lambda speech: speech.think("hm "),
    "a call": lambda speech: speech.call(0, " "),
    "an event of its own": lambda speech: speech.other(status="searching"),
    "a sign of life": lambda speech: speech.live(),
}


@pytest.mark.parametrize("sign", SIGNS)
async def test_whatever_the_model_sends_keeps_its_answer_alive(
    quick: Chat, speaker: Speaker, sign: str
) -> None:
    response = await quick.send()
    speech = await speaker.speech()
    for _ in range(16):
        SIGNS[sign](speech)
        await asyncio.sleep(0.05)
    speech.say("yes")
    speech.finish()
    seen = await read_events(response)
    assert [event.data["error"] for event in seen if "error" in event.data] == []
    assert text_of(seen) == "yes"


@pytest.mark.parametrize("sign", SIGNS)
async def test_silence_after_it_ends_the_answer(quick: Chat, speaker: Speaker, sign: str) -> None:
    response = await quick.send()
    speech = await speaker.speech()
    SIGNS[sign](speech)
    *_, error, done = await read_events(response)
    assert error.data["error"] == "inference_timeout"
    assert done.data["finish_reason"] == "interrupted"
    async with asyncio.timeout(5):
        await speech.closed.wait()


async def test_the_whole_answer_has_a_limit_and_keeps_what_was_said(
    speaker: Speaker, start: Start, settings: Settings, user: dict[str, str]
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"inference_answer_timeout": 0.3})), user)
    response = await chat.send()
    speech = await speaker.speech()
    speech.think("hm")
    while not speech.closed.is_set():
        speech.live()
        await asyncio.sleep(0.01)
    *_, error, done = await read_events(response)
    assert error.data["error"] == "inference_timeout"
    assert done.data["finish_reason"] == "interrupted"
    message = await last(chat)
    assert (message["reasoning"], message["finish_reason"]) == ("hm", "interrupted")


# refused


@pytest.mark.parametrize(
    ("reason", "is_sent_again"),
    [
        (errors.Refusal(400), False),
        (errors.Refusal(400, "content_filter", param="messages[3].content"), False),
        (errors.Refusal(413), False),
        (errors.Refusal(422, param="messages"), False),
        (errors.Refusal(400, "unsupported_parameter", param="temperature"), True),
        (errors.Refusal(401), True),
        (errors.Refusal(404, "model_not_found"), True),
        (None, True),  # as where the server has no model
    ],
    ids=str,
)
async def test_a_refused_question_does_not_ruin_the_conversation(
    chat: Chat, speaker: Speaker, reason: errors.Refusal | None, is_sent_again: bool
) -> None:
    refusal = errors.InferenceRejected()
    refusal.reason = reason

    async def ask(content: str, error: errors.ChatError | None = None) -> list[tuple[str, str]]:
        response = await chat.send(content)
        speech = await speaker.speech()
        if error is None:
            speech.say("ok")
            speech.finish()
        else:
            speech.fail(error)
        await read_events(response)
        return [(turn.role, turn.content) for turn in speech.prompt.turns]

    await ask("hello")
    await ask("FORBIDDEN", refusal)
    assert (await chat.get())["unanswered"]["error"] == "inference_rejected"
    known = [("user", "hello"), ("assistant", "ok")]
    next_question = "FORBIDDEN\n\nhow is tea made?" if is_sent_again else "how is tea made?"
    assert await ask("how is tea made?") == [*known, ("user", next_question)]
    assert [content for _, content, _ in await chat.messages()][2] == "FORBIDDEN"


# two workers


def think_and_call(speech: Speech) -> None:
    speech.think("so ")
    speech.call(0, '{"city"', "c1", "weather")


KEPT = {"content": "", "reasoning": "so ", "tool_calls": [{**CALL, "arguments": '{"city"'}]}
ALL = {"content": "", "reasoning": "so far", "tool_calls": [CALL]}


async def journalled(sql: Sql) -> None:
    await until(lambda: sql.fetchval("select exists (select from journal where next_seq = 3)"))


async def test_a_dead_workers_thinking_and_calls_are_kept(
    chat: Chat, speaker: Speaker, start: Start, settings: Settings, sql: Sql
) -> None:
    local = await chat.send("Rain?")
    think_and_call(await speaker.speech())
    seen = await read_events(local, 3)
    await journalled(sql)
    await kill_workers(sql)
    await sql.execute("update generations set worker_id = gen_random_uuid()")
    other = Chat(await start(settings), chat.path, chat.user)
    rest = await read_events(await other.attach(seen[-1].id))
    assert [event.data.get("error") for event in rest] == ["worker_lost", None]
    assert parts(await last(other)) == KEPT == seen_of(seen)
    # Who comes when its events are gone, or saw more than was kept, is told all of it.
    await sql.execute("delete from journal")
    for after in (seen[1].id, f"{seen[0].id.rpartition(':')[0]}:9"):
        reset = (await read_events(await other.attach(after)))[0].data
        assert reset == {"reset": True, **KEPT}


@pytest.mark.parametrize(
    ("change", "brought_in"),
    [
        ("select", True),
        ("update messages set reasoning = 's' where role = 'assistant'", True),
        ("update messages set tool_calls = null where role = 'assistant'", True),
        ("update messages set reasoning = null, tool_calls = null where role = 'assistant'", True),
        ("update messages set reasoning = 'else' where role = 'assistant'", False),
        (f"""update messages set tool_calls = '{OTHER}' where role = 'assistant'""", False),
        ("update messages set content = 'text' where role = 'assistant'", False),
        ("update generations set error_code = 'draining'", False),
    ],
)
async def test_a_worker_that_was_taken_for_dead_brings_in_its_thinking_and_calls_or_shows_what_is_stored(
    chat: Chat, speaker: Speaker, sql: Sql, change: str, brought_in: bool
) -> None:
    local = await chat.send("Rain?")
    speech = await speaker.speech()
    think_and_call(speech)
    seen = await read_events(local, 3)
    await journalled(sql)
    async with sql.transaction():
        await kill_workers(sql)
        await run(sql, "maintenance.interrupt_orphans")
        await sql.execute(change)
        speech.think("far")
        speech.call(0, ':"Pune"}')
        speech.finish("tool_calls", reasoning_tokens=2)

        async def finish_waits() -> bool:
            await sql.execute("select pg_stat_clear_snapshot()")  # else it would see its first for ever
            waiting = "query like '% -- generations.finish%' and wait_event_type = 'Lock'"
            return bool(await sql.fetchval(f"select exists (select from pg_stat_activity where {waiting})"))

        await until(finish_waits)
    seen += await read_events(local)
    done = seen[-1].data
    message = await last(chat)
    assert done["message_id"] == message["id"]
    assert (
        done["finish_reason"] == message["finish_reason"] == ("tool_calls" if brought_in else "interrupted")
    )
    assert parts(message) == seen_of(seen)
    assert any("reset" in event.data for event in seen) is not brought_in
    if brought_in:
        assert parts(message) == ALL
        assert message["usage"]["reasoning_tokens"] == 2
        # A reader who comes later is told the same.
        late = await read_events(await chat.attach(f"{UUID(seen[0].data['generation_id'])}:1"))
        assert late[0].data == {"reset": True, **ALL}
        assert late[-1].data == done


async def test_an_answer_that_a_fail_over_lost_is_stored_again_with_all_of_it(
    chat: Chat, speaker: Speaker, sql: Sql
) -> None:
    local = await chat.send("Rain?")
    speech = await speaker.speech()
    think_and_call(speech)
    await read_events(local, 3)
    await sql.execute("delete from generations")
    speech.think("far")
    speech.call(0, ':"Pune"}')
    speech.finish("tool_calls")
    seen = await read_events(local)
    assert not any("reset" in event.data for event in seen)
    assert parts(await last(chat)) == ALL


async def test_readers_elsewhere_see_all_of_it_live(
    chat: Chat, speaker: Speaker, start: Start, settings: Settings
) -> None:
    other: Client = await start(settings)
    local = await chat.send("Rain?")
    speech = await speaker.speech()
    think_and_call(speech)
    remote = await Chat(other, chat.path, chat.user).attach()
    begun = await read_events(remote, 3)
    speech.say("yes")
    speech.finish("tool_calls", prompt_tokens=3)
    assert begun + await read_events(remote) == await read_events(local)
