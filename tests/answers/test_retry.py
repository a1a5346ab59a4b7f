"""A retry with the key of an attempt that never reached the model."""

from __future__ import annotations

import asyncio

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Sql, open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of

AWAY = (503, "away")


async def is_unavailable(chat: Chat, model: ModelServer, key: str = "k") -> str:
    """Send "Hi" while the model server is away; returns the id of the generation."""
    model.refuse = AWAY
    start, error, done = await read_events(await chat.send(key=key))
    await model.call()
    assert (error.data["error"], done.data["message_id"]) == ("inference_unavailable", None)
    model.refuse = None
    return str(start.data["generation_id"])


@pytest.mark.parametrize("stream", [True, False])
async def test_it_tries_again_and_stores_nothing_twice(
    chat: Chat, model: ModelServer, sql: Sql, stream: bool
) -> None:
    failed = await is_unavailable(chat, model)
    [question] = (await chat.get())["messages"]
    again = await is_unavailable(chat, model)
    model.say = ["x"]
    response = await chat.send(key="k", stream=stream)
    if stream:
        events = await read_events(response)
        assert text_of(events) == "x"
        assert events[0].data["user_message_id"] == question["id"]
        assert len({failed, again, events[0].data["generation_id"]}) == 3
    else:
        body = await response.json()
        assert (body["user_message"]["id"], body["message"]["content"]) == (question["id"], "x")
    assert (await model.call()).request["messages"] == [{"role": "user", "content": "Hi"}]
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "x", "stop")]
    assert await sql.fetchval("select count(*) from generations") == 1
    # From here on, it gets that answer.
    assert text_of(await read_events(await chat.send(key="k"))) == "x"
    assert (await chat.get())["title"] == "Hi"


async def test_a_regeneration_tries_again_too(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "old")
    model.refuse = AWAY
    await read_events(await chat.regenerate(key="r", force_web_search=True))
    await model.call()
    model.refuse, model.say = None, ["new"]
    assert text_of(await read_events(await chat.regenerate(key="r"))) == "new"
    assert (await model.call()).request["force_web_search"] is True
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "new", "stop")]


async def test_of_several_at_once_all_get_the_one_answer(chat: Chat, model: ModelServer, sql: Sql) -> None:
    await is_unavailable(chat, model)
    responses = await asyncio.gather(*(chat.send(key="k") for _ in range(8)))
    call = await model.call()
    call.finish("x")
    assert [text_of(await read_events(each)) for each in responses] == ["x"] * 8
    assert len(model.requests) == 2
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "x", "stop")]


async def test_once_another_answer_has_begun_it_stays_failed(chat: Chat, model: ModelServer) -> None:
    await is_unavailable(chat, model)
    response = await chat.regenerate()
    call = await model.call()
    while_it_runs = await chat.send(key="k", stream=False)
    call.finish("x")
    await read_events(response)
    for again in (while_it_runs, await chat.send(key="k", stream=False)):
        assert (again.status, (await again.json())["code"]) == (503, "inference_unavailable")
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "x", "stop")]


async def test_once_something_else_was_asked_it_stays_failed(chat: Chat, model: ModelServer) -> None:
    await is_unavailable(chat, model)
    model.say = ["x"]
    await read_events(await chat.send("Second"))
    await model.call()
    _, error, _ = await read_events(await chat.send(key="k"))
    assert error.data["error"] == "inference_unavailable"
    assert [text for _, text, _ in await chat.messages()] == ["Hi", "Second", "x"]


async def test_the_key_is_still_for_that_message(chat: Chat, model: ModelServer) -> None:
    await is_unavailable(chat, model)
    assert (await chat.send("Other", key="k")).status == 422
    assert (await chat.regenerate(key="k")).status == 422


async def test_an_answer_that_failed_otherwise_is_replayed(chat: Chat, model: ModelServer) -> None:
    response = await chat.send(key="k")
    call = await model.call()
    call.send_bytes(b"data: garbage\n\n")
    seen = await read_events(response)
    assert await read_events(await chat.send(key="k")) == seen
    assert len(model.requests) == 1


async def test_limits_count_it_as_any_other(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    limited = {"sends_per_user": "2/hour", "max_answers_per_user": 1}
    chat = await open_chat(await start(settings.model_copy(update=limited)), user)
    await is_unavailable(chat, model)
    model.say = ["x"]
    assert text_of(await read_events(await chat.send(key="k"))) == "x"
    assert (await chat.send("Third")).status == 429


async def test_who_read_the_failed_attempt_comes_back(chat: Chat, model: ModelServer) -> None:
    failed = await is_unavailable(chat, model)
    response = await chat.send(key="k")
    call = await model.call()
    attached = await chat.attach(f"{failed}:0")
    call.finish("x")
    assert text_of(await read_events(attached)) == text_of(await read_events(response)) == "x"
