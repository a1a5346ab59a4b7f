"""What is set for a conversation: its model, instructions, options. Two tabs don't overwrite each other."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from chat_api.bodies import Regenerate
from chat_api.generation import prompt
from chat_api.generation.history import History, Message
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat
from tests.support.endpoints import chosen
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

OPTIONS = {"temperature": 0.1, "max_tokens": 7, "top_k": 3}


async def sent(response: ClientResponse, model: ModelServer) -> dict[str, Any]:
    """What the model server got for this request."""
    assert response.status == 200, await response.text()
    call = await model.call()
    call.finish("x")
    await read_events(response)
    return dict(call.request)


async def changed(chat: Chat, version: object = None, **fields: Any) -> dict[str, Any]:
    """Change the conversation; returns it."""
    response = await chat.change(version, **fields)
    assert response.status == 200, await response.text()
    body: dict[str, Any] = await response.json()
    return body


async def stored(sql: Sql) -> Any:
    """What the newest generation was asked with."""
    options = await sql.fetchval("select options from generations order by position desc limit 1")
    return orjson.loads(options) if options else None


async def test_instructions_take_the_place_of_the_services(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    prompts = {"system_prompt": "Answer.", "system_prompt_thinking": "Think."}
    chat = await open_chat(await start(settings.model_copy(update=prompts)), user)
    assert (await changed(chat, instructions="Be brief."))["instructions"] == "Be brief."
    for options in ({}, {"thinking_mode": True}):
        request = await sent(await chat.send(**options), model)
        assert request["messages"][0]["content"].startswith("Be brief.\n\nHi")
    assert (await changed(chat, instructions=""))["instructions"] is None
    request = await sent(await chat.send(thinking_mode=True), model)
    assert request["messages"][0]["content"].startswith("Think.\n\nHi")


async def test_options_hold_until_a_request_gives_others(chat: Chat, model: ModelServer) -> None:
    assert (await changed(chat, options=OPTIONS))["options"] == OPTIONS
    assert OPTIONS.items() <= (await sent(await chat.send(), model)).items()
    request = await sent(await chat.send(temperature=0.2), model)
    assert (request["temperature"], request["max_tokens"], request["top_k"]) == (0.2, 7, 3)
    assert OPTIONS.items() <= (await sent(await chat.regenerate(), model)).items()  # that was for one answer
    assert (await sent(await chat.regenerate(top_k=0), model))["top_k"] == 0


async def test_options_are_replaced_as_a_whole(chat: Chat, model: ModelServer) -> None:
    await changed(chat, options=OPTIONS)
    assert (await changed(chat, options={"top_k": 4, "temperature": None}))["options"] == {"top_k": 4}
    assert (await changed(chat, title="Tea"))["options"] == {"top_k": 4}
    assert (await changed(chat, options={"unknown": 1}))["options"] is None
    request = await sent(await chat.send(), model)
    assert (request["temperature"], request["max_tokens"], request["top_k"]) == (0.8, 1024, 50)


async def test_thinking_and_searching_can_be_set(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    prompts = {"system_prompt": "Answer.", "system_prompt_thinking": "Think."}
    chat = await open_chat(await start(settings.model_copy(update=prompts)), user)
    await changed(chat, options={"thinking_mode": True, "force_web_search": True})
    request = await sent(await chat.send(), model)
    assert request["messages"][0]["content"] == "Think.\n\nHi"
    assert request["force_web_search"] is True
    request = await sent(await chat.send(thinking_mode=False, force_web_search=False), model)
    assert request["messages"][0]["content"].startswith("Answer.")
    assert "force_web_search" not in request
    # A regeneration repeats what its question was sent with.
    assert "force_web_search" not in await sent(await chat.regenerate(), model)
    assert (await sent(await chat.send(), model))["force_web_search"] is True


async def test_the_next_answer_is_the_new_models(chat: Chat, model: ModelServer) -> None:
    assert (await changed(chat, model_tag="d20"))["model_tag"] == "d20"
    await sent(await chat.send(), model)
    assert (await chat.get())["messages"][1]["model_tag"] == "d20"
    assert (await changed(chat, model_tag=""))["model_tag"] == "default"


async def test_each_answer_keeps_what_was_in_force(chat: Chat, model: ModelServer, sql: Sql) -> None:
    await sent(await chat.send(), model)
    assert await stored(sql) is None
    await changed(chat, instructions="Be brief.", options={"top_k": 3})
    in_force = {"instructions": "Be brief.", "options": {"top_k": 3}}
    await sent(await chat.send(temperature=0.5, max_tokens=9, thinking_mode=True), model)
    asked = {"temperature": 0.5, "max_tokens": 9, "thinking_mode": True}
    assert await stored(sql) == {**asked, "conversation": in_force}
    await changed(chat, instructions="", options={"top_k": 4})
    await sent(await chat.regenerate(top_k=5), model)
    assert await stored(sql) == {"thinking_mode": True, "top_k": 5, "conversation": {"options": {"top_k": 4}}}
    await changed(chat, options={})
    await sent(await chat.regenerate(), model)
    assert await stored(sql) == {"thinking_mode": True}


@pytest.mark.parametrize(
    "text",
    ["x" * 8000, "🦜" * 8000, "e\u0301\u202e\u05e9 \\ \" '; --", "  \n"],
    ids=["long", "emoji", "odd", "blank"],
)
async def test_any_instructions_reach_the_model_unchanged(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, text: str
) -> None:
    openai = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    chat = await open_chat(await start(settings.model_copy(update=openai)), user)
    assert (await changed(chat, instructions=text))["instructions"] == text
    assert (await chat.get())["instructions"] == text
    await chat.send()
    call = await model.call()
    assert call.request["messages"][0] == {"role": "system", "content": text}
    call.close()


def test_a_request_comes_before_the_conversation_and_that_before_the_settings(settings: Settings) -> None:
    history = History([Message("user", "Hi", None, None, 1)], 0)
    options = '{"top_k": 2, "conversation": {"instructions": "Be brief.", "options": {"max_tokens": 5}}}'
    built = prompt.build(history, chosen(settings), Regenerate(), settings, options)
    assert (built.system, built.options.max_tokens, built.options.top_k) == ("Be brief.", 5, 2)
    asked = Regenerate(max_tokens=6, top_k=1)
    given = prompt.limits(asked, settings, options)
    assert (given.temperature, given.max_tokens, given.top_k) == (0.8, 6, 1)


async def test_two_tabs_do_not_overwrite_each_other(chat: Chat) -> None:
    body = await chat.get()
    assert body["version"] == 0
    assert (await changed(chat, 0, title="Tea"))["version"] == 1
    for late in (0, 2, 999_999_999):
        response = await chat.change(late, title="Chai", instructions="x")
        assert (response.status, (await response.json())["code"]) == (412, "conversation_changed")
    body = await chat.get()
    assert (body["title"], body["instructions"], body["version"]) == ("Tea", None, 1)
    assert (await changed(chat, 1, title="Chai"))["version"] == 2
    assert (await changed(chat, title="Tea"))["version"] == 3  # without a version, the last one wins
    response = await chat.client.put(chat.path, json={"title": "x"}, headers={**chat.user, "If-Match": " * "})
    assert (await response.json())["version"] == 4


async def test_of_many_changes_to_one_version_one_is_made(chat: Chat) -> None:
    responses = await asyncio.gather(*(chat.change(0, title=f"{number}") for number in range(20)))
    assert sorted(response.status for response in responses) == [200] + [412] * 19
    [made] = [await response.json() for response in responses if response.status == 200]
    body = await chat.get()
    assert (body["title"], body["version"]) == (made["title"], 1)


@pytest.mark.parametrize(
    "given", ["0", '"x"', 'W/"0"', '"0", "1"', '""', '"-1"', '"00"', '"9999999999"', '"٣"', "", "\u00e9"]
)
async def test_what_can_be_no_version_is_refused(chat: Chat, given: str) -> None:
    headers = {**chat.user, "If-Match": given}
    response = await chat.client.put(chat.path, json={"title": "x"}, headers=headers)
    assert response.status == 422
    [problem] = (await response.json())["detail"]
    assert (problem["type"], problem["loc"]) == ("version_invalid", ["header", "If-Match"])
    assert (await chat.get())["version"] == 0


async def test_a_list_tells_the_version_and_no_instructions(client: Client, chat: Chat) -> None:
    made = await changed(chat, instructions="Be brief.", options={"top_k": 3})
    body = await (await client.get("/api/conversations", headers=chat.user)).json()
    assert body["items"] == [
        {name: value for name, value in made.items() if name not in ("instructions", "options")}
    ]
    opened = await chat.get()
    assert {name: opened[name] for name in made} == made


async def test_nothing_of_this_is_news(chat: Chat, model: ModelServer) -> None:
    """The list has the newest messages first, and `updated_at` tells of them."""
    await sent(await chat.send(), model)
    before = (await chat.get())["updated_at"]
    made = await changed(
        chat, title="Tea", is_favorited=True, model_tag="d20", instructions="x", options=OPTIONS
    )
    assert made["updated_at"] == before


async def test_an_answer_that_is_being_written_keeps_what_it_was_asked_with(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    await changed(chat, options={"top_k": 3})
    response, call, _ = await chat.begin(model, "a")
    await changed(chat, options={"top_k": 4}, instructions="Be brief.", title="Tea")
    call.finish()
    await read_events(response)
    assert await stored(sql) == {"conversation": {"options": {"top_k": 3}}}
    body = await chat.get()
    assert (body["title"], body["options"], body["instructions"]) == ("Tea", {"top_k": 4}, "Be brief.")
