"""The transport under the AI SDK's useChat, in a React application that Vite has built."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, Locator, Page, Request, Route, expect

from chat_api.settings import Settings
from tests.browser.conftest import Served
from tests.browser.openai import begin_call, end, go_on, say, speaking_openai, think
from tests.browser.packages.application import Application, node
from tests.support.model_server import Call, ModelServer


@dataclass(frozen=True)
class Chat:
    """A tab of the application."""

    page: Page

    @property
    def messages(self) -> Locator:
        return self.page.locator("ol > li")

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    async def shows(self, *messages: str, status: str = "ready") -> None:
        """Wait until it shows these messages."""
        await expect(self.messages).to_have_text(list(messages))
        await expect(self.page.locator("main")).to_have_attribute("data-status", status)

    async def do(self, action: str) -> None:
        """Call a function of useChat without waiting for it."""
        await self.page.evaluate(f"void view.{action}")

    async def stored(self) -> list[Any]:
        """The stored messages, once no answer is being written."""
        while await self.is_written():
            pass
        messages: list[Any] = await self.page.evaluate(
            "chat.conversations.get(view.id).then(({ messages }) => messages)"
        )
        return messages

    async def is_written(self) -> bool:
        """Whether an answer is being written."""
        is_written: bool = await self.page.evaluate(
            "chat.conversations.get(view.id).then(({ generation }) => generation !== null)"
        )
        return is_written


class Open:
    """Opens tabs of one user."""

    def __init__(self, context: BrowserContext, pages: str, service: Served, transport: str) -> None:
        self._context = context
        self._address = f"{pages}/ai.html"
        self.service = service
        self._asked = {"service": service.address, "token": service.token(), "transport": transport}

    async def __call__(self, conversation: str = "", **asked: str) -> Chat:
        page = await self._context.new_page()
        await page.goto(f"{self._address}?{urlencode({**self._asked, **asked})}#{conversation}")
        await page.wait_for_function("window.view")
        return Chat(page)

    async def asked(self, *tokens: str) -> tuple[Chat, Call]:
        """A new conversation with its first question, and these tokens of its answer."""
        chat = await self()
        await chat.do("sendMessage({ text: 'Hi' })")
        call = await self.service.model.call()
        call.say(*tokens)
        await chat.shows("user: Hi", f"assistant: {''.join(tokens)}", status="streaming")
        return chat, call

    async def answered(self) -> Chat:
        """A conversation with a question and its answer."""
        chat, call = await self.asked("Hel")
        call.finish("lo")
        await chat.shows("user: Hi", "assistant: Hello")
        return chat


@pytest.fixture
def opened(request: pytest.FixtureRequest, context: BrowserContext, pages: str, service: Served) -> Open:
    """Opens tabs, over the WebSocket unless the test is marked with EITHER."""
    return Open(context, pages, service, getattr(request, "param", "ws"))


EITHER = pytest.mark.parametrize("opened", ["sse", "ws"], indirect=True)


@EITHER
async def test_answer_is_streamed_and_a_reload_goes_on_with_it(opened: Open) -> None:
    chat, call = await opened.asked("Hel", "lo")
    await chat.page.reload()
    await chat.shows("user: Hi", "assistant: Hello", status="streaming")
    call.say(" wor")
    await chat.shows("user: Hi", "assistant: Hello wor", status="streaming")
    call.finish("ld")
    await chat.shows("user: Hi", "assistant: Hello world")
    await chat.page.reload()
    await chat.shows("user: Hi", "assistant: Hello world")


async def test_answer_that_ends_between_loading_and_resuming_is_shown(opened: Open, service: Served) -> None:
    chat, call = await opened.asked("Hel")
    loads = 0

    async def is_written(request: Request) -> bool:
        response = await chat.page.request.get(request.url, headers=request.headers)
        return (await response.json())["generation"] is not None

    async def finish_before_the_second(route: Route) -> None:
        nonlocal loads
        loads += 1
        if loads == 2:
            call.finish("lo")
        while loads > 1 and await is_written(route.request):
            pass
        await route.continue_()

    await chat.page.route("**/api/conversations/*", finish_before_the_second)
    await chat.page.reload()
    await chat.shows("user: Hi", "assistant: Hello")
    assert loads > 1


async def test_neither_unmounting_nor_resuming_again_stops_the_model(opened: Open) -> None:
    chat, call = await opened.asked("Hel")
    await chat.do("resumeStream()")
    await chat.shows("user: Hi", "assistant: Hel", status="streaming")
    await chat.page.evaluate("void view.resumeStream(), void view.resumeStream()")
    call.say("lo")
    await chat.shows("user: Hi", "assistant: Hello", status="streaming")
    await chat.page.evaluate("setShown(false)")
    await expect(chat.messages).to_have_count(0)
    call.say(" wor")
    assert await chat.is_written()
    call.finish("ld")
    stored = (await chat.stored())[-1]
    assert (stored["content"], stored["finish_reason"]) == ("Hello world", "stop")


@EITHER
async def test_stop_stops_the_model_and_keeps_what_it_said(opened: Open) -> None:
    chat, call = await opened.asked("Hel")
    await chat.do("stop()")
    await chat.shows("user: Hi", "assistant: Hel")
    await call.closed.wait()
    stored = (await chat.stored())[-1]
    assert (stored["content"], stored["finish_reason"]) == ("Hel", "stopped")


async def test_stop_of_an_answer_that_was_resumed_stops_the_model(opened: Open) -> None:
    chat, call = await opened.asked("Hel")
    await chat.page.reload()
    await chat.shows("user: Hi", "assistant: Hel", status="streaming")
    await chat.do("stop()")
    await call.closed.wait()
    await chat.shows("user: Hi", "assistant: Hel")


async def test_stop_before_the_answer_has_begun_stops_it_as_it_begins(opened: Open, service: Served) -> None:
    chat = await opened()
    await chat.page.evaluate("view.sendMessage({ text: 'Hi' }), setTimeout(() => view.stop())")
    await chat.shows("user: Hi")
    while not (stored := await chat.stored()):
        pass
    assert [each["role"] for each in stored] == ["user"]
    while not service.model.idle:
        await (await service.model.call()).closed.wait()


@pytest.mark.parametrize("reload", [False, True])
async def test_answer_is_done_again_as_another_version(opened: Open, service: Served, reload: bool) -> None:
    chat = await opened.answered()
    await chat.do("sendMessage({ text: 'And now?' })")
    (await service.model.call()).finish("Still here")
    await chat.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")
    if reload:
        await chat.page.reload()
        await chat.page.wait_for_function("window.view?.messages.length === 4")
    await chat.do("regenerate({ messageId: view.messages[1].id })")
    (await service.model.call()).finish("Hey")
    await chat.shows("user: Hi", "assistant: Hey")
    stored = await chat.stored()
    assert [each["content"] for each in stored] == ["Hi", "Hey"]
    assert len(stored[1]["siblings"]["ids"]) == 2
    await chat.do("regenerate()")
    (await service.model.call()).finish("Ho")
    await chat.shows("user: Hi", "assistant: Ho")


@pytest.mark.parametrize("reload", [False, True])
async def test_edited_question_stands_beside_the_old_one(opened: Open, service: Served, reload: bool) -> None:
    chat = await opened.answered()
    await chat.do("sendMessage({ text: 'And now?' })")
    (await service.model.call()).finish("Still here")
    await chat.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")
    if reload:
        await chat.page.reload()
        await chat.page.wait_for_function("window.view?.messages.length === 4")
    for question in ("And then?", "And thence?"):
        await chat.do(f"sendMessage({{ text: {question!r}, messageId: view.messages[2].id }})")
        (await service.model.call()).finish("Gone")
        await chat.shows("user: Hi", "assistant: Hello", f"user: {question}", "assistant: Gone")
    stored = await chat.stored()
    assert [each["content"] for each in stored] == ["Hi", "Hello", "And thence?", "Gone"]
    assert len(stored[2]["siblings"]["ids"]) == 3
    await chat.do("sendMessage({ text: 'Ho', messageId: view.messages[0].id })")
    (await service.model.call()).finish("Hum")
    await chat.shows("user: Ho", "assistant: Hum")
    assert len((await chat.stored())[0]["siblings"]["ids"]) == 2


async def test_failure_keeps_what_was_said_and_its_code(opened: Open, service: Served) -> None:
    chat, call = await opened.asked("Hel")
    call.cut()
    await chat.shows("user: Hi", "assistant: Hel", status="error")
    await expect(chat.alert).to_contain_text("inference_interrupted")
    await chat.do("regenerate()")
    (await service.model.call()).finish("Hello")
    await chat.shows("user: Hi", "assistant: Hello")


async def test_refusal_has_its_code(opened: Open) -> None:
    chat = await opened()
    await chat.do(f"sendMessage({{ text: {'x' * 9000!r} }})")
    await expect(chat.page.locator("main")).to_have_attribute("data-status", "error")
    await expect(chat.alert).to_contain_text("validation_failed")


async def test_two_tabs_read_the_same_answer(opened: Open) -> None:
    chat, call = await opened.asked("Hel")
    other = await opened(await chat.page.evaluate("view.id"))
    await other.shows("user: Hi", "assistant: Hel", status="streaming")
    call.finish("lo")
    for each in (chat, other):
        await each.shows("user: Hi", "assistant: Hello")


READ = """
import { Answer } from "@samosachaat/chat-client";
import { ConversationTransport, shownParts } from "@samosachaat/chat-client/ai-sdk";
import { readUIMessageStream } from "ai";

const answer = new Answer("c", { question: {} });
[{ type: "start", user_message_id: "u" }, ...EVENTS, { type: "done", message_id: "m", finish_reason: "stop" }]
  .forEach((event, seq) => answer.take({ generation_id: "g", seq, ...event }));
const transport = new ConversationTransport({ send: () => answer });
const messages = [{ id: "1", role: "user", parts: [{ type: "text", text: "Hi" }] }];
const stream = await transport.sendMessages({ trigger: "submit-message", chatId: "c", messages });
let message;
for await (message of readUIMessageStream({ stream })) continue;
const told = (parts) => parts.map(({ type, text, rawInput }) => `${type} ${text ?? rawInput ?? ""}`.trim());
console.log(JSON.stringify([told(message.parts), told(shownParts(message))]));
"""
SAID = [
    {"type": "reasoning", "reasoning": "Hm"},
    {"type": "token", "token": "Hel"},
    {"type": "token", "token": "lo"},
]
CALL = {"id": "call_1", "name": "w", "arguments": '{"a'}


@pytest.mark.parametrize(
    ("reset", "all_parts", "shown"),
    [
        # A worker has the whole of what was said: it goes on.
        (
            {"content": "Hello world", "reasoning": "Hm", "tool_calls": [CALL]},
            ["step-start", "reasoning Hm", "text Hello world", 'tool-w {"a'],
            ["step-start", "reasoning Hm", "text Hello world", 'tool-w {"a'],
        ),
        # A worker was killed, and its last words are lost.
        (
            {"content": "Hel", "reasoning": "Hm", "tool_calls": None},
            [
                "step-start",
                "reasoning Hm",
                "text Hello",
                "data-reset",
                "step-start",
                "reasoning Hm",
                "text Hel!",
            ],
            ["step-start", "reasoning Hm", "text Hel!"],
        ),
    ],
)
async def test_reset_is_a_part_behind_which_stands_what_is_true(
    application: Application, reset: dict[str, Any], all_parts: list[str], shown: list[str]
) -> None:
    then = [] if reset["tool_calls"] else [{"type": "token", "token": "!"}]
    events = json.dumps([*SAID, {"type": "reset", **reset}, *then])
    script = application.write("reset.js", READ.replace("EVENTS", events))
    assert json.loads(await application.run(node(24), script)) == [all_parts, shown]


class TestTools:
    """With a model that thinks and calls tools."""

    @pytest.fixture
    def settings(self, settings: Settings, model: ModelServer) -> Settings:
        return speaking_openai(settings, model)

    @EITHER
    async def test_thinking_and_calls_are_parts_and_results_are_answered_in_the_same_message(
        self, opened: Open, service: Served
    ) -> None:
        chat = await opened(tools="yes")
        await chat.do("sendMessage({ text: 'Umbrella?' })")
        call = await service.model.call()
        think(call, "Ask ", "them.")
        say(call, "Let me see.")
        begin_call(call, 0, "call_1", "weather")
        go_on(call, 0, '{"city":')
        said = "assistant: (Ask them.) Let me see. tool-weather"
        await chat.shows("user: Umbrella?", f"{said} input-streaming {{}}", status="streaming")
        go_on(call, 0, '"Pune"}')
        end(call, "tool_calls")
        call = await service.model.call()
        assert [each["role"] for each in call.request["messages"]] == ["user", "assistant", "tool"]
        assert call.request["messages"][-1]["content"] == "rain"
        say(call, "Take")
        said += ' output-available {"city":"Pune"} rain Take'
        await chat.shows("user: Umbrella?", said, status="streaming")
        await chat.page.reload()
        await chat.shows("user: Umbrella?", said, status="streaming")
        say(call, " one.")
        end(call)
        await chat.shows("user: Umbrella?", f"{said} one.")
        await chat.page.reload()
        await chat.shows("user: Umbrella?", f"{said} one.")
        metadata = await chat.page.evaluate("view.messages[1].metadata")
        stored = await chat.stored()
        assert metadata["messageIds"] == [each["id"] for each in stored if each["role"] == "assistant"]
