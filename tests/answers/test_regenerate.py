"""Answering the last message again: the old answer goes only when there is a new one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.chat import Chat, Sql, no_answer_lives
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events, text_of

OLD = [("user", "Hi", None), ("assistant", "old", "stop")]


async def cut_short(call: Call, chat: Chat) -> None:
    call.say("half")
    await read_events(await chat.attach(), 2)
    call.cut()


async def fail(call: Call, _: Chat) -> None:
    call.send_bytes(b"data: garbage\n\n")


async def say_nothing(call: Call, _: Chat) -> None:
    call.finish()


async def stop(_: Call, chat: Chat) -> None:
    await chat.stop()


Ending = Callable[[Call, Chat], Awaitable[None]]


async def test_the_new_answer_replaces_the_old(chat: Chat, model: ModelServer) -> None:
    seen = await chat.exchange(model, "old")
    response = await chat.regenerate()
    call = await model.call()
    assert call.request["messages"] == [{"role": "user", "content": "Hi"}]
    assert await chat.messages() == OLD
    call.finish("new")
    events = await read_events(response)
    assert text_of(events) == "new"
    assert events[0].data["user_message_id"] == seen[0].data["user_message_id"]
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "new", "stop")]
    assert (await chat.get())["messages"][1]["id"] == events[-1].data["message_id"]


async def test_without_stream_it_returns_both_messages(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "old")
    model.say = ["new"]
    response = await chat.regenerate(stream=False)
    question, answer = (await chat.get())["messages"]
    assert answer["content"] == "new"
    assert await response.json() == {"user_message": question, "message": answer}


async def test_its_options_reach_the_model(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "old")
    await chat.regenerate(temperature=0.1, max_tokens=7, top_k=3)
    request = (await model.call()).request
    assert (request["temperature"], request["max_tokens"], request["top_k"]) == (0.1, 7, 3)


@pytest.mark.parametrize(
    ("end", "more"),
    [(fail, []), (say_nothing, []), (stop, []), (cut_short, [("assistant", "half", "interrupted")])],
)
async def test_the_old_answer_stays_when_no_new_one_comes(
    chat: Chat, model: ModelServer, end: Ending, more: list[tuple[str, str, str]]
) -> None:
    await chat.exchange(model, "old")
    response = await chat.regenerate()
    await end(await model.call(), chat)
    assert (await read_events(response))[-1].data["done"]
    assert await chat.messages() == OLD + more
    # The next regeneration succeeds, and leaves one answer.
    model.say = ["new"]
    await (await chat.regenerate()).read()
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "new", "stop")]


@pytest.mark.parametrize(("end", "status"), [(fail, 502), (say_nothing, 502), (stop, 200), (cut_short, 200)])
async def test_without_stream_a_failure_is_an_error(
    chat: Chat, model: ModelServer, end: Ending, status: int
) -> None:
    await chat.exchange(model, "old")
    sending = asyncio.create_task(chat.regenerate(stream=False))
    await end(await model.call(), chat)
    response = await sending
    assert response.status == status
    assert (await chat.messages())[:2] == OLD
    if status == 200:
        kept = {stop: None, cut_short: "half"}[end]
        message = (await response.json())["message"]
        assert (message and message["content"]) == kept


async def test_a_stopped_regeneration_with_text_replaces(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "old")
    response = await chat.regenerate()
    call = await model.call()
    call.say("new")
    await read_events(response, 2)
    await chat.stop()
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "new", "stopped")]


async def test_only_the_last_exchange_is_replaced(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "one")
    await chat.exchange(model, "two")
    response = await chat.regenerate()
    call = await model.call()
    assert [message["content"] for message in call.request["messages"]] == ["Hi", "one", "Hi"]
    call.finish("three")
    await read_events(response)
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "one", "Hi", "three"]


async def test_a_message_that_was_never_answered_can_be(chat: Chat, model: ModelServer) -> None:
    model.refuse = (503, "")
    await (await chat.send()).read()
    model.refuse, model.say = None, ["at last"]
    await (await chat.regenerate()).read()
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "at last", "stop")]


async def test_without_a_users_message_there_is_nothing_to_regenerate(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    for _ in range(2):
        for response in (await chat.regenerate(), await chat.regenerate(stream=False)):
            assert (response.status, (await response.json())["code"]) == (400, "nothing_to_regenerate")
        await sql.execute(  # what an adopted database may hold
            "insert into messages (conversation_id, role, content)"
            " select id, 'assistant', 'Welcome' from conversations"
        )
    assert model.requests == []


async def test_an_empty_question_of_an_adopted_database_harms_nothing(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    await sql.execute(
        "insert into messages (conversation_id, role, content) select id, 'user', '' from conversations"
    )
    assert (await chat.regenerate()).status == 400
    assert (await chat.get())["generation"] is None
    await chat.exchange(model, "x")


async def test_a_running_answer_is_in_the_way(chat: Chat, model: ModelServer) -> None:
    _, call, seen = await chat.begin(model, "a")
    response = await chat.regenerate()
    assert response.status == 409
    assert (await response.json())["generation_id"] == seen[0].data["generation_id"]
    call.finish()
    await no_answer_lives()
