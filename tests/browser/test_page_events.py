"""The page: events that aren't words, and those that replace what is shown."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest
from playwright.async_api import Route, expect

from chat_api import events
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import Console

IDS = {"generation_id": "g", "conversation_id": "c", "user_message_id": "u"}
DONE = {"done": True, "message_id": "m", "finish_reason": "stop", "token_count": 1, "inference_time_ms": 1}


def stream(*data: dict[str, Any]) -> str:
    """The body of an event stream."""
    return "".join(f"id: g:{seq}\ndata: {json.dumps(each)}\n\n" for seq, each in enumerate(data))


async def answer_with(
    chat: ChatPage, console: Console, *data: dict[str, Any], start: dict[str, Any] = IDS
) -> None:
    """Let the service answer the next question with these events, and keep what it has stored to itself."""
    console.allow("ERR_FAILED")
    await chat.page.route("**/api/conversations/*-*-*", lambda route: route.abort())

    async def play(route: Route) -> None:
        await route.fulfill(body=stream(start, *data), content_type="text/event-stream")

    await chat.page.route("**/messages", play)
    await chat.send("Hi")
    await chat.idle()


async def test_what_the_model_server_does_is_told_until_it_speaks(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    call.send({"status": "searching"})
    await expect(chat.answers.get_by_text("Searching…")).to_be_visible()
    call.say("Found ")
    await expect(chat.said).to_have_text("Found")
    await expect(chat.answers.get_by_text("Searching…")).to_be_hidden()
    call.finish("it.")
    await chat.idle()
    await expect(chat.said).to_have_text("Found it.")


@pytest.mark.parametrize(
    "strange",
    [{"status": {"a": 1}}, {"status": " "}, {"status": None}, {"surprise": 1}, {"text": "x", "type": "done"}],
)
async def test_an_event_of_an_unknown_kind_passes_by(chat: ChatPage, strange: dict[str, Any]) -> None:
    call = await chat.ask("Hi", "one ")
    call.send(strange)
    call.say("two")
    await expect(chat.said).to_have_text("one two")
    await expect(chat.button("Stop")).to_be_enabled()
    call.finish(".")
    await chat.idle()
    await expect(chat.said).to_have_text("one two.")
    await expect(chat.answers.locator(".status")).to_be_hidden()


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        (12, "12 earlier messages were not sent to the model."),
        (1, "1 earlier message was not sent to the model."),
        (10000, "10,000 earlier messages were not sent to the model."),
    ],
)
async def test_history_that_was_left_out_is_told(
    chat: ChatPage, monkeypatch: pytest.MonkeyPatch, left_out: int, told: str
) -> None:
    start = events.start

    def counted(*ids: UUID, history: object = None) -> bytes:
        return start(*ids[:3], {"sent": 3, "left_out": left_out})

    monkeypatch.setattr(events, "start", counted)
    await chat.exchange("Hi", "Hello.")
    await expect(chat.answers.get_by_text(told)).to_be_visible()


@pytest.mark.parametrize("history", [None, {"sent": 3, "left_out": 0}])
async def test_nothing_is_told_of_history_that_was_sent(
    chat: ChatPage, console: Console, history: dict[str, int] | None
) -> None:
    start = IDS if history is None else {**IDS, "history": history}
    await answer_with(chat, console, {"token": "Hello."}, DONE, start=start)
    await expect(chat.said).to_have_text("Hello.")
    await expect(chat.answers.locator(".left-out")).to_be_hidden()


CALL = {"index": 0, "id": "c1", "name": "weather", "arguments": "{}"}
SAID = [{"reasoning": "old"}, {"token": "old"}, {"tool_call": CALL}]


async def test_a_reset_replaces_all_that_was_shown(chat: ChatPage, console: Console) -> None:
    calls = [{"id": "c2", "name": "time", "arguments": '{"zone":1}'}]
    reset = {"reset": True, "content": "new", "reasoning": "new thought", "tool_calls": calls}
    await answer_with(chat, console, *SAID, reset, DONE)
    await expect(chat.said).to_have_text("new")
    await expect(chat.calls).to_have_count(1)
    await expect(chat.calls).to_contain_text('{"zone":1}')
    await chat.thinking.locator("summary").click()
    await expect(chat.thinking.locator(".prose")).to_have_text("new thought")


@pytest.mark.parametrize("more", [{"reasoning": None, "tool_calls": None}, {}], ids=["null", "missing"])
async def test_a_reset_without_thinking_and_calls_takes_them_away(
    chat: ChatPage, console: Console, more: dict[str, None]
) -> None:
    await answer_with(chat, console, *SAID, {"reset": True, "content": "new", **more}, DONE)
    await expect(chat.said).to_have_text("new")
    await expect(chat.calls).to_have_count(0)
    await expect(chat.thinking).to_be_hidden()
