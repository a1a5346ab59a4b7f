"""The hooks in a React application that Vite has built, against the real service."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from playwright.async_api import BrowserContext, Locator, Page, Route, expect

from chat_api.settings import Settings
from tests.browser.conftest import Console, Served
from tests.browser.openai import begin_call, end, go_on, say, speaking_openai, think
from tests.browser.site import Site
from tests.support.model_server import Call, ModelServer


@dataclass(frozen=True)
class Thread:
    """A tab of the application."""

    page: Page

    @property
    def messages(self) -> Locator:
        return self.page.locator("ol > li")

    @property
    def alert(self) -> Locator:
        return self.page.get_by_role("alert")

    async def shows(self, *messages: str, running: bool = False) -> None:
        """Wait until it shows these messages."""
        await expect(self.messages).to_have_text(list(messages))
        await expect(self.page.locator("main")).to_have_attribute("data-running", str(running).lower())

    async def do(self, action: str) -> Any:
        """Call a hook's function without waiting for it."""
        return await self.page.evaluate(f"void view.{action}")

    async def ids(self) -> list[str]:
        """The messages' ids."""
        ids: list[str] = await self.page.evaluate("view.messages.map(({ id }) => id)")
        return ids


class Open:
    """Opens tabs of one user."""

    def __init__(self, context: BrowserContext, pages: str, service: Served, transport: str) -> None:
        self._context = context
        self._address = f"{pages}/conversation.html"
        self.service = service
        self._asked = {"service": service.address, "token": service.token(), "transport": transport}

    async def __call__(self, conversation: str = "", **asked: str) -> Thread:
        page = await self._context.new_page()
        await page.goto(f"{self._address}?{urlencode({**self._asked, **asked})}#{conversation}")
        thread = Thread(page)
        await expect(page.locator("main")).to_have_attribute("data-status", "ready")
        return thread

    async def asked(self, question: str = "Hi", *tokens: str) -> tuple[Thread, Call]:
        """A new conversation with its first question, and these tokens of its answer."""
        thread = await self()
        await thread.do(f"send({question!r})")
        call = await self.service.model.call()
        call.say(*tokens)
        await thread.shows(f"user: {question}", f"assistant: {''.join(tokens)}", running=True)
        return thread, call


@pytest.fixture
def opened(request: pytest.FixtureRequest, context: BrowserContext, pages: str, service: Served) -> Open:
    """Opens tabs, over the WebSocket unless the test is marked with EITHER."""
    return Open(context, pages, service, getattr(request, "param", "ws"))


EITHER = pytest.mark.parametrize("opened", ["sse", "ws"], indirect=True)


@EITHER
async def test_message_is_shown_at_once_and_its_answer_while_it_is_written(
    opened: Open, service: Served
) -> None:
    thread = await opened()
    await thread.do("send('Hi')")
    await expect(thread.messages).to_have_text(["user: Hi", "assistant:"])
    call = await service.model.call()
    call.say("Hel", "lo")
    await thread.shows("user: Hi", "assistant: Hello", running=True)
    keys = await thread.page.evaluate("view.messages.map(({ key }) => key)")
    call.finish("!")
    await thread.shows("user: Hi", "assistant: Hello!")
    await expect(thread.messages.last).to_have_attribute("data-state", "stored")
    await thread.page.wait_for_function("view.messages.at(-1).created_at")  # it is the stored one
    assert await thread.page.evaluate("view.messages.map(({ key }) => key)") == keys
    await expect(thread.page.get_by_role("heading")).to_have_text("Hi")
    await expect(thread.page.get_by_role("navigation").get_by_role("button")).to_have_text(["Hi"])
    assert await thread.page.evaluate("location.hash.slice(1) === view.id")


async def test_component_is_rendered_at_most_once_a_frame(opened: Open) -> None:
    thread, call = await opened.asked()
    count = "(function count() { drawn++; requestAnimationFrame(count) })()"
    await thread.page.evaluate(f"window.drawn = window.renders = 0; {count}")
    for number in range(1000):
        call.say(f"{number} ")
        if number % 100 == 0:
            await asyncio.sleep(0)
    call.finish("end")
    await expect(thread.messages.last).to_contain_text("999 end")
    renders, frames = await thread.page.evaluate("[renders / 2, drawn]")  # StrictMode renders twice
    assert 1 <= renders <= frames


@EITHER
async def test_answer_goes_on_after_a_reload(opened: Open) -> None:
    thread, call = await opened.asked("Hi", "Hel", "lo")
    await thread.page.reload()
    await thread.shows("user: Hi", "assistant: Hello", running=True)
    call.say(" wor")
    await thread.shows("user: Hi", "assistant: Hello wor", running=True)
    call.finish("ld")
    await thread.shows("user: Hi", "assistant: Hello world")


@EITHER
async def test_answer_goes_on_after_its_component_was_unmounted(opened: Open, service: Served) -> None:
    thread, call = await opened.asked("Hi", "Hel")
    await thread.page.evaluate("setShown(false)")
    await expect(thread.messages).to_have_count(0)
    call.say("lo")
    await thread.page.wait_for_timeout(1500)  # until nothing of it is kept
    assert not call.closed.is_set()
    await thread.page.evaluate("setShown(true)")
    await thread.shows("user: Hi", "assistant: Hello", running=True)
    call.finish("!")
    await thread.shows("user: Hi", "assistant: Hello!")


@pytest.mark.parametrize("opened", ["sse"], indirect=True)
async def test_question_that_is_on_its_way_when_its_component_is_unmounted_is_stored(
    opened: Open, service: Served
) -> None:
    is_unmounted = asyncio.Event()

    async def hold(route: Route) -> None:
        await is_unmounted.wait()
        await route.continue_()

    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    await thread.page.route("**/messages", hold)
    await thread.page.evaluate("void view.send('And now?'), setShown(false)")
    await thread.page.wait_for_timeout(1500)  # until nothing of it would be kept
    is_unmounted.set()
    (await service.model.call()).finish("Still here")
    await thread.page.evaluate("setShown(true)")
    await thread.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")


async def test_stop_keeps_what_was_said(opened: Open) -> None:
    thread, call = await opened.asked("Hi", "Hel")
    await thread.do("stop()")
    await thread.shows("user: Hi", "assistant: Hel")
    await call.closed.wait()
    await thread.page.wait_for_function("view.messages.at(-1).finish_reason === 'stopped'")
    assert not await thread.page.evaluate("view.isStopping")


@EITHER
async def test_stop_before_the_answer_has_begun_stops_it_as_it_begins(opened: Open, service: Served) -> None:
    thread = await opened()
    await thread.page.evaluate("view.send('Hi'), void view.stop()")
    await thread.shows("user: Hi")
    await thread.page.wait_for_function("!view.isStopping")
    while not service.model.idle:
        await (await service.model.call()).closed.wait()


async def test_edited_question_and_its_versions(opened: Open, service: Served) -> None:
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    first, _ = await thread.ids()
    await thread.do(f"edit({first!r}, 'Bye')")
    call = await service.model.call()
    call.say("Good")
    await thread.shows("user: Bye", "assistant: Good", running=True)
    call.finish("bye")
    await thread.shows("user: Bye", "assistant: Goodbye")
    await thread.page.wait_for_function("view.messages[0].siblings?.ids.length === 2")
    await thread.do(f"switchTo({first!r})")
    await thread.shows("user: Hi", "assistant: Hello")


async def test_answer_is_done_again_in_place_of_the_old_one(opened: Open, service: Served) -> None:
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    await thread.do("regenerate()")
    call = await service.model.call()
    await thread.shows("user: Hi", "assistant:", running=True)
    call.say("Hey")
    await thread.shows("user: Hi", "assistant: Hey", running=True)
    call.finish("!")
    await thread.shows("user: Hi", "assistant: Hey!")
    await thread.page.wait_for_function("view.messages[1].siblings?.ids.length === 2")


async def test_answer_that_was_cut_is_gone_on_with(opened: Open, service: Served) -> None:
    thread, call = await opened.asked("Hi", "Hel")
    await thread.do("stop()")
    await thread.page.wait_for_function("view.messages.at(-1).created_at")
    await thread.page.evaluate("seen = [], void view.goOn()")
    call = await service.model.call()
    await thread.shows("user: Hi", "assistant: Hel", running=True)
    call.finish("lo")
    await thread.shows("user: Hi", "assistant: Hello")
    assert "" not in await thread.page.evaluate("seen")


@EITHER
async def test_two_tabs_show_the_same(opened: Open, service: Served) -> None:
    thread, call = await opened.asked("Hi", "Hel")
    other = await opened(await thread.page.evaluate("view.id"))
    await other.shows("user: Hi", "assistant: Hel", running=True)
    call.finish("lo")
    for each in (thread, other):
        await each.shows("user: Hi", "assistant: Hello")
    await other.do("send('And now?')")
    call = await service.model.call()
    call.say("Still")
    for each in (thread, other):
        await each.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still", running=True)
    await thread.do("send('Later')")
    for each in (thread, other):
        await expect(each.page.locator("ul > li")).to_have_text(["Later"])
    call.finish(" here")
    (await service.model.call()).finish("Now")
    for each in (thread, other):
        said = ["user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here"]
        await each.shows(*said, "user: Later", "assistant: Now")
    assert await thread.ids() == await other.ids()


@pytest.mark.parametrize("opened", ["sse"], indirect=True)
async def test_refused_question_stays_with_its_error_until_it_is_sent_again_or_discarded(
    opened: Open, service: Served, console: Console
) -> None:
    console.allow("429")
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    body = json.dumps({"code": "sending_too_fast", "detail": "Wait."})
    headers = {"Access-Control-Allow-Origin": "*"}
    refuse = partial(Route.fulfill, status=429, body=body, content_type="application/json", headers=headers)
    await thread.page.route("**/messages", refuse)
    for question in ("And now?", "Never mind"):
        assert await thread.page.evaluate("(question) => view.send(question)", question) is False
    await expect(thread.alert).to_have_text("sending_too_fast")
    for number in (2, 3):
        await expect(thread.messages.nth(number)).to_have_attribute("data-state", "failed")
    assert await thread.page.evaluate("view.discard(view.messages[3].key)") == "Never mind"
    await expect(thread.alert).to_be_empty()
    await thread.page.unroute("**/messages")
    await thread.do("retry(view.messages[2].key)")
    (await service.model.call()).finish("Still here")
    await thread.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")


async def test_failure_of_the_model_is_told_and_the_answer_asked_for_again(
    opened: Open, service: Served
) -> None:
    thread, call = await opened.asked("Hi", "Hel")
    call.cut()
    await expect(thread.alert).to_have_text("inference_interrupted")
    await thread.shows("user: Hi", "assistant: Hel")
    await thread.page.reload()
    await thread.shows("user: Hi", "assistant: Hel")
    await thread.do("regenerate()")
    (await service.model.call()).finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    await expect(thread.alert).to_be_empty()


async def test_question_without_an_answer_says_why_after_a_reload(opened: Open, service: Served) -> None:
    thread, call = await opened.asked()
    call.cut()
    await thread.shows("user: Hi")
    await expect(thread.alert).to_have_text("inference_interrupted")
    await thread.page.reload()
    await thread.shows("user: Hi")
    await expect(thread.alert).to_have_text("inference_interrupted")
    await thread.do("regenerate()")
    (await service.model.call()).finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")


async def test_question_without_a_network_waits_for_one(
    opened: Open, service: Served, context: BrowserContext, console: Console
) -> None:
    console.allow("ERR_INTERNET_DISCONNECTED|WebSocket connection to")
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    await context.set_offline(True)
    await expect(thread.page.locator("main")).to_have_attribute("data-connection", "offline")
    await thread.do("send('And now?')")
    await expect(thread.messages.nth(2)).to_have_attribute("data-state", "sending")
    await context.set_offline(False)
    (await service.model.call()).finish("Still here")
    await thread.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")
    await expect(thread.page.locator("main")).to_have_attribute("data-connection", "online")


async def test_list_follows_what_is_done_here_and_in_another_tab(
    opened: Open, service: Served, console: Console
) -> None:
    console.allow("404")  # the deleted conversation
    thread, call = await opened.asked("First")
    call.finish("Hello")
    other = await opened()
    await other.do("send('Second')")
    (await service.model.call()).finish("Hello")
    titles = [each.page.get_by_role("navigation").get_by_role("button") for each in (thread, other)]
    for each in titles:
        await expect(each).to_have_text(["Second", "First"])
    await other.page.evaluate("list.update(view.id, { title: 'Third' })")
    for each in titles:
        await expect(each).to_have_text(["Third", "First"])
    await titles[1].nth(1).click()
    await other.shows("user: First", "assistant: Hello")
    await other.page.evaluate("open(null)")
    await other.shows()
    assert await other.page.evaluate("list.remove(list.conversations[0].id)")
    for each in titles:
        await expect(each).to_have_text(["First"])


@pytest.mark.parametrize("opened", ["sse"], indirect=True)
async def test_conversation_is_followed_again_once_a_token_is_taken_again(
    opened: Open, service: Served, console: Console
) -> None:
    console.allow("401")
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    conversation = await thread.page.evaluate("view.id")
    refusal = {"status": 401, "json": {"detail": "No.", "code": "invalid_token"}}
    allowed = {"Access-Control-Allow-Origin": "*"}
    await thread.page.route("**/api/conversations/**", partial(Route.fulfill, **refusal, headers=allowed))
    await expect(thread.alert).to_have_text("invalid_token", timeout=20_000)
    await expect(thread.page.locator("main")).to_have_attribute("data-connection", "signed-out")
    await thread.page.unroute_all()
    await thread.page.evaluate("chat.conversations.list()")
    other = await opened(conversation)
    await other.do("send('And now?')")
    (await service.model.call()).finish("Still here")
    await thread.shows("user: Hi", "assistant: Hello", "user: And now?", "assistant: Still here")
    await expect(thread.alert).to_be_empty()


async def test_conversation_that_is_gone_says_so(opened: Open, console: Console) -> None:
    console.allow("404")
    thread = await opened()
    await thread.page.evaluate("open('01a22c76-c6f8-7899-8531-c7e49cb4abba')")
    await expect(thread.alert).to_have_text("conversation_not_found")
    await expect(thread.page.locator("main")).to_have_attribute("data-status", "failed")


@EITHER
async def test_conversation_that_is_deleted_in_another_tab_is_gone(opened: Open, console: Console) -> None:
    console.allow("404")
    thread, call = await opened.asked()
    call.finish("Hello")
    await thread.shows("user: Hi", "assistant: Hello")
    other = await opened()
    await other.page.evaluate("(id) => list.remove(id)", await thread.page.evaluate("view.id"))
    await thread.shows()
    await expect(thread.alert).to_have_text("conversation_not_found")
    await expect(thread.page.get_by_role("navigation").get_by_role("button")).to_have_count(0)


async def test_hooks_work_with_react_18(
    context: BrowserContext, site: Site, built_for_18: Path, service: Served
) -> None:
    site.files["/18/"] = built_for_18
    thread, call = await Open(context, f"{site.url}/18", service, "ws").asked("Hi", "Hel")
    await thread.page.reload()
    call.finish("lo")
    await thread.shows("user: Hi", "assistant: Hello")
    versions = await thread.page.evaluate("react")
    assert versions.startswith("18.")


class TestTools:
    """With a model that thinks and calls tools."""

    @pytest.fixture
    def settings(self, settings: Settings, model: ModelServer) -> Settings:
        return speaking_openai(settings, model)

    @EITHER
    async def test_thinking_and_calls_are_shown_and_the_calls_results_are_answered(
        self, opened: Open, service: Served
    ) -> None:
        thread = await opened(tools="yes")
        other = await opened()
        await thread.do("send('Umbrella?')")
        call = await service.model.call()
        think(call, "Ask ", "them.")
        begin_call(call, 0, "call_1", "weather")
        go_on(call, 0, '{"city":')
        await thread.shows("user: Umbrella?", 'assistant: (Ask them.) weather{"city":', running=True)
        go_on(call, 0, '"Pune"}')
        end(call, "tool_calls")
        call = await service.model.call()
        assert [each["role"] for each in call.request["messages"]] == ["user", "assistant", "tool"]
        say(call, "Take")
        called = ["user: Umbrella?", 'assistant: (Ask them.) weather{"city":"Pune"}', "tool: rain"]
        await thread.shows(*called, "assistant: Take", running=True)
        await other.page.evaluate("(id) => open(id)", await thread.page.evaluate("view.id"))
        await other.shows(*called, "assistant: Take", running=True)
        say(call, " one.")
        end(call)
        for each in (thread, other):
            await each.shows(*called, "assistant: Take one.")

    async def test_open_calls_get_their_results_later(self, opened: Open, service: Served) -> None:
        thread = await opened()
        await thread.page.evaluate(
            "void view.send('Umbrella?', { tools: [{ type: 'function', function: { name: 'w' } }] })"
        )
        call = await service.model.call()
        begin_call(call, 0, "call_1", "w", "{}")
        end(call, "tool_calls")
        await thread.page.wait_for_function("view.messages.at(-1).finish_reason === 'tool_calls'")
        await thread.page.reload()
        await thread.shows("user: Umbrella?", "assistant: w{}")
        await thread.do("sendResults([{ tool_call_id: 'call_1', content: 'rain' }])")
        call = await service.model.call()
        say(call, "Yes")
        end(call)
        await thread.shows("user: Umbrella?", "assistant: w{}", "tool: rain", "assistant: Yes")
