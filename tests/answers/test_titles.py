"""Titles by a model, after a conversation's first answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from chat_api.generation import titles
from chat_api.generation.titles import AT_ONCE, MAX_CHARACTERS, one_line
from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab


@pytest.fixture
def titled(settings: Settings) -> Settings:
    return settings.model_copy(update={"title_model": "small"})


@pytest.fixture
async def client(start: Start, titled: Settings) -> Client:
    """A service that has titles made."""
    started: Client = await start(titled)
    return started


async def answered(chat: Chat, model: ModelServer, question: str = "Hi", *said: str, **options: Any) -> None:
    """Ask, and let the model answer."""
    response = await chat.send(question, **options)
    (await model.call()).finish(*said or ("Hello.",))
    await read_events(response)


async def outcomes(client: Client) -> dict[str, float]:
    """How often what became of titles."""
    text = await (await client.get("/metrics")).text()
    counted = re.findall(r'^chat_titles_total{outcome="(\w+)"} (.+)$', text, re.MULTILINE)
    assert len(counted) == 5
    return {outcome: float(count) for outcome, count in counted if float(count)}


def making() -> list[asyncio.Task[None]]:
    """The titles that are being made, or wait for that."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("title-")]


async def none_is_made() -> None:
    """Wait until no title is being made."""
    if tasks := making():
        _, hanging = await asyncio.wait(tasks, timeout=5)
        assert not hanging


async def title(chat: Chat) -> str:
    return str((await chat.get())["title"])


async def test_a_title_takes_the_place_of_the_first_questions_beginning(
    client: Client, chat: Chat, model: ModelServer
) -> None:
    question, answer = "How is\nmasala chai made? " + "x" * 3000, "Boil water. " + "y" * 3000
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        await answered(chat, model, question, answer)
        assert [frame["type"] for frame in await tab.events()] == ["start", "token", "done"]
        assert (await title(chat)).startswith("How is masala chai made? xxx")
        call = await model.call()
        [turn] = call.request["messages"]
        assert question[:MAX_CHARACTERS] in turn["content"]
        assert answer[:MAX_CHARACTERS] in turn["content"]
        assert len(turn["content"]) < 2 * MAX_CHARACTERS + 500
        assert (call.request["temperature"], call.request["max_tokens"]) == (0.2, 500)
        call.finish('"Masala ', 'chai"\n')
        assert await tab.hear() == {"type": "changed", "conversation_id": chat.path.rpartition("/")[2]}
        body = await chat.get()
        assert (body["title"], body["version"]) == ("Masala chai", 1)
        assert [message["content"] for message in body["messages"]] == [question, answer]
        assert await outcomes(client) == {"made": 1}
        assert (await tab.ask("unsubscribe", chat.path))["type"] == "ack"
    assert len(model.requests) == 2


async def test_none_is_asked_for_where_no_model_is_named(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(settings), user)
    await answered(chat, model)
    assert making() == []
    assert (len(model.requests), await title(chat)) == (1, "Hi")


async def test_later_answers_ask_for_none(client: Client, chat: Chat, model: ModelServer) -> None:
    await answered(chat, model)
    (await model.call()).close()  # it breaks off, so the title still is the question's beginning
    await none_is_made()
    for request in (chat.regenerate, chat.send, chat.regenerate):
        response = await request()
        (await model.call()).finish("a")
        await read_events(response)
        await none_is_made()
    await answered(chat, model, parent_id=None)
    await none_is_made()
    assert model.idle
    assert (await title(chat), await outcomes(client)) == ("Hi", {"failed": 1, "kept": 2})


async def test_an_answer_after_questions_that_are_not_sent_asks_for_none(
    start: Start, titled: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(titled.model_copy(update={"max_conversation_history": 1})), user)
    await answered(chat, model)
    (await model.call()).finish("Greetings")
    await none_is_made()
    await answered(chat, model, "And now?")
    await none_is_made()
    assert model.idle
    assert await outcomes(chat.client) == {"made": 1}


async def test_the_first_answer_that_ends_well_asks_for_one(
    client: Client, chat: Chat, model: ModelServer
) -> None:
    model.refuse = (500, "out of order")
    await read_events(await chat.send("Tea?"))
    await model.call()
    model.refuse = None
    response = await chat.regenerate()
    call = await model.call()
    call.say("a")
    await read_events(response, 2)
    await chat.stop()
    await none_is_made()
    assert model.idle
    response = await chat.regenerate()
    (await model.call()).finish("Yes.")
    await read_events(response)
    (await model.call()).finish("About tea")
    await none_is_made()
    assert (await title(chat), await outcomes(client)) == ("About tea", {"made": 1})


async def test_a_conversation_that_its_user_named_asks_for_none(
    client: Client, user: dict[str, str], chat: Chat, model: ModelServer
) -> None:
    named = await open_chat(client, user, title="Mine")
    await answered(named, model)
    await chat.change(title="Mine too")
    await answered(chat, model)
    await none_is_made()
    assert model.idle
    assert [await title(each) for each in (named, chat)] == ["Mine", "Mine too"]
    assert await outcomes(client) == {"kept": 2}


async def rename(chat: Chat) -> None:
    assert (await chat.change(title="Mine")).status == 200


async def delete(chat: Chat) -> None:
    async with chat.client.delete(chat.path, headers=chat.user) as response:
        assert response.status == 204


@pytest.mark.parametrize("does", [rename, delete])
async def test_what_the_user_does_meanwhile_counts(
    start: Start,
    titled: Settings,
    client: Client,
    chat: Chat,
    model: ModelServer,
    sql: Sql,
    does: Callable[[Chat], Awaitable[None]],
) -> None:
    other = await start(titled)
    await answered(chat, model)
    call = await model.call()
    await does(replace(chat, client=other))
    call.finish("Theirs")
    await none_is_made()
    assert await outcomes(client) == {"kept": 1}
    found = await sql.fetchval("select max(title) from conversations")
    assert found == ("Mine" if does is rename else None)


async def test_a_title_is_told_on_every_worker_and_made_by_one(
    start: Start, titled: Settings, chat: Chat, model: ModelServer
) -> None:
    other = await start(titled)
    async with open_tab(other, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        await answered(chat, model)
        await tab.events()
        (await model.call()).finish("Greetings")
        assert (await tab.hear())["type"] == "changed"
        assert await title(replace(chat, client=other)) == "Greetings"
    await none_is_made()
    assert len(model.requests) == 2


Way = Callable[[Call], None]
BAD: dict[str, tuple[Way, str]] = {
    "broken off": (Call.close, "failed"),
    "cut": (Call.cut, "failed"),
    "silent": (lambda _: None, "failed"),
    "slow": (lambda call: call.say("Gree"), "failed"),
    "no events": (lambda call: (call.send_bytes(b"x" * 100_000), call.close())[0], "failed"),
    "nothing": (Call.finish, "empty"),
    "only white space": (lambda call: call.finish(" \n", "\t"), "empty"),
    "only marks": (lambda call: call.finish('"**', '**"'), "empty"),
    "only NUL": (lambda call: call.finish("\0", "\0"), "empty"),
    "only thinking": (lambda call: call.finish("<think>They greet.", "</think>\n"), "empty"),
    "thinking without an end": (lambda call: call.finish("<think>They", " greet."), "empty"),
    "endless": (lambda call: [call.say("word " * 100) for _ in range(1000)].clear(), "empty"),
    "long": (lambda call: call.finish("x" * 20_000), "empty"),
    "huge": (lambda call: call.finish("x" * 1_000_000), "failed"),  # more than an event may have
}


@pytest.mark.parametrize("way", BAD)
async def test_what_is_no_title_leaves_the_old_one(
    client: Client, chat: Chat, model: ModelServer, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    says, outcome = BAD[way]
    monkeypatch.setattr(titles, "SECONDS", 0.3 if way in ("silent", "slow") else 5)
    await answered(chat, model)
    call = await model.call()
    says(call)
    await none_is_made()
    assert (await title(chat), await outcomes(client)) == ("Hi", {outcome: 1})
    if way in ("silent", "slow", "endless"):  # the model is told to stop
        async with asyncio.timeout(5):
            await call.closed.wait()
    await answered(chat, model, "And now?")  # goes on as ever


async def test_a_refused_request_leaves_the_old_one_and_says_why(
    client: Client, chat: Chat, model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    response = await chat.send()
    call = await model.call()
    model.refuse = (400, "no such model")
    call.finish("Hello.")
    await read_events(response)
    await model.call()
    await none_is_made()
    assert (await title(chat), await outcomes(client)) == ("Hi", {"failed": 1})
    assert "title_not_made" in (written := capsys.readouterr().out)
    assert "reason=inference_rejected" in written


async def test_a_bug_leaves_the_old_one_and_is_logged(
    client: Client,
    chat: Chat,
    model: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(titles, "one_line", lambda _, __: 1 / 0)
    await answered(chat, model)
    (await model.call()).finish("Greetings")
    await none_is_made()
    assert (await title(chat), await outcomes(client)) == ("Hi", {"failed": 1})
    assert "title_failed" in capsys.readouterr().out


async def test_a_database_that_is_away_leaves_the_old_one(
    start: Start, titled: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    chat = await open_chat(await start(titled.model_copy(update={"database_timeout": 1.0})), user)
    await answered(chat, model)
    call = await model.call()
    async with sql.transaction():
        await sql.execute("lock table conversations in access exclusive mode")
        call.finish("Greetings")
        await none_is_made()
    assert (await title(chat), await outcomes(chat.client)) == ("Hi", {"failed": 1})


async def test_a_few_are_made_at_once_and_the_others_wait(
    client: Client, user: dict[str, str], model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(titles, "MOST", AT_ONCE + 2)
    chats = [await open_chat(client, user) for _ in range(AT_ONCE + 3)]
    answers = len(chats)
    running = []
    for chat in chats:
        response = await chat.send()
        call = await next_answer(model, running)
        call.finish("Hello.")
        await read_events(response)
    while len(running) < AT_ONCE:
        running.append(await model.call())
    await asyncio.sleep(0.1)
    assert (len(model.requests), model.idle) == (answers + AT_ONCE, True)
    for done in range(AT_ONCE + 2):
        running[done].finish("Greetings")
        if done < 2:
            running.append(await model.call())
    await none_is_made()
    assert await outcomes(client) == {"made": AT_ONCE + 2, "skipped": 1}
    assert [await title(chat) for chat in chats] == ["Greetings"] * (AT_ONCE + 2) + ["Hi"]


async def next_answer(model: ModelServer, running: list[Call]) -> Call:
    """The next call for an answer; those for titles go into `running`."""
    while "title" in (call := await model.call()).request["messages"][0]["content"]:
        running.append(call)
    return call


@pytest.mark.parametrize("way", ["drains", "ends"])
async def test_none_begins_while_the_service_drains_and_none_outlives_it(
    start: Start, titled: Settings, user: dict[str, str], model: ModelServer, way: str
) -> None:
    client: Client = await start(titled.model_copy(update={"drain_seconds": 5.0}))
    chats = [await open_chat(client, user) for _ in range(AT_ONCE + 2)]
    running: list[Call] = []
    for chat in chats[:-1]:
        response = await chat.send()
        (await next_answer(model, running)).finish("Hello.")
        await read_events(response)
    while len(running) < AT_ONCE:
        running.append(await model.call())
    assert len(making()) == AT_ONCE + 1
    late = await chats[-1].send()
    call = await model.call()
    call.say("Hel")
    await read_events(late, 2)
    if way == "drains":
        draining = asyncio.create_task(client.app[GENERATIONS].drain())
        await asyncio.sleep(0.05)
        call.finish("lo.")
        await read_events(late)
        running[0].finish("Greetings")  # what has begun may end
        await draining
        await until(lambda: made(client))
    call.finish("lo.")
    async with asyncio.timeout(5):
        await client.close()
    assert making() == []
    async with asyncio.timeout(5):
        await running[-1].closed.wait()
    assert model.idle
    assert len(model.requests) == len(chats) + AT_ONCE


async def made(client: Client) -> bool:
    return await outcomes(client) == {"made": 1}


@pytest.fixture
def openai(titled: Settings, model: ModelServer) -> Settings:
    given = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return titled.model_copy(update=given)


async def test_the_model_is_the_one_that_is_named_and_its_thinking_is_no_title(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(openai), user)
    for reason, expected in (("length", "Hi"), ("stop", "Greetings")):
        response = await chat.send()
        delta(call := await model.call(), "stop", content="Hello.")
        await read_events(response)
        assert call.request["model"] == "tiny"
        call = await model.call()
        assert call.request["model"] == "small"
        assert [turn["role"] for turn in call.request["messages"]] == ["system", "user"]
        delta(call, None, reasoning_content="They greet. ")
        delta(call, reason, content="Greetings")
        await none_is_made()
        assert await title(chat) == expected
        chat = await open_chat(chat.client, user)


async def test_a_model_that_goes_on_thinking_is_not_taken_for_silent(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    time_outs = dict.fromkeys(("inference_first_token_timeout", "inference_token_timeout"), 1.0)
    chat = await open_chat(await start(openai.model_copy(update=time_outs)), user)
    response = await chat.send()
    delta(await model.call(), "stop", content="Hello.")
    await read_events(response)
    call = await model.call()
    for _ in range(4):
        await asyncio.sleep(0.4)
        delta(call, None, reasoning_content="They greet. ")
    delta(call, "stop", content="Greetings")
    await none_is_made()
    assert await title(chat) == "Greetings"


def delta(call: Call, reason: str | None, **said: str) -> None:
    call.send({"choices": [{"index": 0, "delta": said, "finish_reason": reason}]})
    if reason is not None:
        call.send_bytes(b"data: [DONE]\n\n")
        call.close()


async def test_thinking_without_an_answer_asks_for_none(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(openai), user)
    response = await chat.send()
    delta(await model.call(), "stop", reasoning_content="They greet.")
    await read_events(response)
    await none_is_made()
    assert model.idle
    assert await title(chat) == "Hi"


async def test_calls_of_tools_are_no_answer_yet(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(openai), user)
    tool = {"type": "function", "function": {"name": "weather"}}
    response = await chat.send("Rain?", tools=[tool])
    call = await model.call()
    asks = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": "{}"}}
    call.send({"choices": [{"index": 0, "delta": {"tool_calls": [asks]}, "finish_reason": "tool_calls"}]})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()
    await read_events(response)
    await none_is_made()
    assert model.idle
    results = {"results": [{"tool_call_id": "c1", "content": "rain"}]}
    response = await chat.client.post(f"{chat.path}/tool_results", json=results, headers=chat.user)
    delta(await model.call(), "stop", content="It rains.")
    await read_events(response)
    call = await model.call()
    assert "Rain?" in call.request["messages"][-1]["content"]
    assert "It rains." in call.request["messages"][-1]["content"]
    delta(call, "stop", content="Rain today")
    await none_is_made()
    assert await title(chat) == "Rain today"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("Masala chai", "Masala chai"),
        ("  Masala \t chai  ", "Masala chai"),
        ("\n\nMasala chai\nIt is about tea.", "Masala chai"),
        ('"Masala chai"', "Masala chai"),
        ("“Masala chai”", "Masala chai"),
        ("„Masala chai“", "Masala chai"),
        ("«Masala chai»", "Masala chai"),
        ("「マサラチャイ」", "マサラチャイ"),
        ("**Masala chai**", "Masala chai"),
        ("# Masala chai", "Masala chai"),
        ('`**"Masala chai"**`', "Masala chai"),
        ('The "best" chai', 'The "best" chai'),
        ('"Chai" and "tea"', '"Chai" and "tea"'),
        ("Learning C#", "Learning C#"),
        ("मसाला चाय 🫖", "मसाला चाय 🫖"),
        ("Masala\0chai", "Masala chai"),
        ("Masala\x1b[31m chai", "Masala [31m chai"),
        ("<think>tea</think>Masala chai", "Masala chai"),
        ("\n<think>\ntea\n</think>\n\nMasala chai", "Masala chai"),
        ("They ask for tea.\n</think>\n\nMasala chai", "Masala chai"),
        ("x" * 700, "x" * 40),
        ("word " * 20, ("word " * 8).rstrip()),
        ('"', '"'),
        ("", ""),
    ],
)
def test_a_title_is_one_line(said: str, expected: str) -> None:
    assert one_line(said, 40) == expected
