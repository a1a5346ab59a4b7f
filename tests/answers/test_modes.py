"""Thinking and searching: asked for with a message, and repeated when it is answered again."""

from __future__ import annotations

from typing import Any

import pytest

from chat_api.bodies import Regenerate
from chat_api.generation import prompt
from chat_api.generation.history import History, Message
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat
from tests.support.endpoints import chosen
from tests.support.model_server import ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

HISTORY = History([Message("user", "Hi", None, None, 1)], 0)


async def sent(chat: Chat, model: ModelServer, **options: Any) -> dict[str, Any]:
    """Send "Hi"; returns what the model server got."""
    response = await chat.send(**options)
    call = await model.call()
    call.finish("x")
    await read_events(response)
    return dict(call.request)


async def sent_again(chat: Chat, model: ModelServer, **options: Any) -> dict[str, Any]:
    """Have the last message answered again; returns what the model server got."""
    response = await chat.regenerate(**options)
    call = await model.call()
    call.finish("y")
    await read_events(response)
    return dict(call.request)


async def test_a_search_is_asked_for_and_repeated(chat: Chat, model: ModelServer) -> None:
    assert (await sent(chat, model, force_web_search=True))["force_web_search"] is True
    assert (await sent_again(chat, model))["force_web_search"] is True
    assert (await sent_again(chat, model, force_web_search=None))["force_web_search"] is True
    assert "force_web_search" not in await sent_again(chat, model, force_web_search=False)
    assert "force_web_search" not in await sent_again(chat, model)


async def test_another_message_has_options_of_its_own(chat: Chat, model: ModelServer) -> None:
    await sent(chat, model, force_web_search=True)
    assert "force_web_search" not in await sent(chat, model)
    assert "force_web_search" not in await sent_again(chat, model)


async def test_a_failed_regeneration_leaves_them(chat: Chat, model: ModelServer) -> None:
    await sent(chat, model, force_web_search=True)
    response = await chat.regenerate()
    call = await model.call()
    call.send_bytes(b"data: garbage\n\n")
    await read_events(response)
    assert (await sent_again(chat, model))["force_web_search"] is True


async def test_only_what_was_given_is_stored(chat: Chat, model: ModelServer, sql: Sql) -> None:
    await sent(chat, model, temperature=0.1)
    await sent(chat, model, thinking_mode=False)
    stored = await sql.fetch("select options from generations order by position")
    assert [row["options"] for row in stored] == ['{"temperature":0.1}', '{"thinking_mode":false}']


@pytest.mark.parametrize(
    ("asked", "thinking", "instructions"),
    [
        (Regenerate(), "Think.", "Answer."),
        (Regenerate(thinking_mode=False), "Think.", "Answer."),
        (Regenerate(thinking_mode=True), "Think.", "Think."),
        (Regenerate(thinking_mode=True), "", "Answer."),
    ],
)
def test_thinking_has_its_instructions(asked: Regenerate, thinking: str, instructions: str) -> None:
    settings = Settings(system_prompt="Answer.", system_prompt_thinking=thinking)
    built = prompt.build(HISTORY, chosen(settings), asked, settings, prompt.options_of(asked))
    assert (built.system, built.thinking_mode) == (instructions, asked.thinking_mode)


async def test_a_regeneration_thinks_as_its_question_did(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    client = await start(
        settings.model_copy(update={"system_prompt": "Answer.", "system_prompt_thinking": "Think."})
    )
    chat = await open_chat(client, user)
    for request in (await sent(chat, model, thinking_mode=True), await sent_again(chat, model)):
        assert request["messages"][0]["content"] == "Think.\n\nHi"
    request = await sent_again(chat, model, thinking_mode=False)
    assert request["messages"][0]["content"] == "Answer.\n\nHi"


async def test_a_socket_asks_for_them_too(client: Client, chat: Chat, model: ModelServer) -> None:
    async with open_tab(client, chat.user) as tab:
        for kind, fields in (("send", {"content": "Hi", "force_web_search": True}), ("regenerate", {})):
            ack = await tab.ask(kind, chat.path, **fields)
            assert ack["type"] == "ack", ack
            call = await model.call()
            assert call.request["force_web_search"] is True
            call.finish("x")
            await tab.events()
