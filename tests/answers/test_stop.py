"""Stopping and deleting while an answer is being written."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.chat import Chat, no_answer_lives
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of

NOTHING = {"generation_id": None, "stopped": False}


async def closed(event: asyncio.Event) -> None:
    """Wait until the model server sees that its request is closed."""
    async with asyncio.timeout(5):
        await event.wait()


async def test_stop_keeps_the_text_and_closes_the_model(chat: Chat, model: ModelServer) -> None:
    response, call, seen = await chat.begin(model, "a", "b")
    stopped = await chat.stop()
    assert stopped == {"generation_id": seen[0].data["generation_id"], "stopped": True}
    conversation = await chat.get()
    assert conversation["generation"] is None
    [_, answer] = conversation["messages"]
    assert (answer["content"], answer["finish_reason"], answer["token_count"]) == ("ab", "stopped", 2)
    [done] = await read_events(response)
    assert (done.data["finish_reason"], done.data["message_id"]) == ("stopped", answer["id"])
    await closed(call.closed)


async def test_stop_before_the_first_token_keeps_nothing(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model)
    assert (await chat.stop())["stopped"]
    [done] = await read_events(response)
    assert (done.data["finish_reason"], done.data["message_id"]) == ("stopped", None)
    assert await chat.messages() == [("user", "Hi", None)]
    await closed(call.closed)


async def test_stop_before_the_model_answers_at_all(chat: Chat, model: ModelServer) -> None:
    model.hold_headers = asyncio.Event()
    response = await chat.send()
    call = await model.call()
    assert (await chat.stop())["stopped"]
    assert [event.data.get("finish_reason") for event in await read_events(response)] == [None, "stopped"]
    await no_answer_lives()
    model.hold_headers.set()
    await closed(call.closed)


async def test_stop_may_be_repeated(chat: Chat, model: ModelServer) -> None:
    assert await chat.stop() == NOTHING
    await chat.begin(model, "a")
    several = await asyncio.gather(*(chat.stop() for _ in range(5)))
    assert any(body["stopped"] for body in several)
    assert await chat.stop() == NOTHING
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "a", "stopped")]


async def test_stop_after_done_changes_nothing(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "a")
    assert await chat.stop() == NOTHING
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "a", "stop")]


async def test_a_stopped_conversation_takes_the_next_message(chat: Chat, model: ModelServer) -> None:
    await chat.begin(model, "a")
    await chat.stop()
    await chat.exchange(model, "b")
    assert [role for role, _, _ in await chat.messages()] == ["user", "assistant"] * 2


@pytest.mark.parametrize(("tokens", "content"), [(["a"], "a"), ([], None)])
async def test_stop_ends_a_call_without_stream(
    chat: Chat, model: ModelServer, tokens: list[str], content: str | None
) -> None:
    sending = asyncio.create_task(chat.send(stream=False))
    call = await model.call()
    call.say(*tokens)
    await read_events(await chat.attach(), 1 + len(tokens))
    await chat.stop()
    response = await sending
    body = await response.json()
    assert response.status == 200
    assert body["user_message"]["content"] == "Hi"
    assert (body["message"] and body["message"]["content"]) == content


async def test_deleting_a_conversation_stops_its_model(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "a")
    reader = await chat.attach()
    deleted = await chat.client.delete(chat.path, headers=chat.user)
    assert deleted.status == 204
    [done] = await read_events(response)
    assert (done.data["done"], done.data["message_id"]) == (True, None)
    assert text_of(await read_events(reader)) == "a"
    await closed(call.closed)
    await no_answer_lives()
    assert (await chat.attach()).status == 404
    assert (await chat.send()).status == 404


async def test_deleting_ends_a_call_without_stream(chat: Chat, model: ModelServer) -> None:
    sending = asyncio.create_task(chat.send(stream=False))
    await model.call()
    await chat.client.delete(chat.path, headers=chat.user)
    response = await sending
    assert (response.status, (await response.json())["code"]) == (404, "conversation_not_found")


async def test_a_reader_that_leaves_stops_nothing(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "a")
    response.close()
    reader = await chat.attach()
    call.finish("b")
    assert text_of(await read_events(reader)) == "ab"
    assert not call.closed.is_set()
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "stop")]
