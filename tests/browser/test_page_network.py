"""The page on a bad network, with a token that expires, and over both transports."""

from __future__ import annotations

import time
from uuid import uuid4

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.chat import Sql
from tests.support.tab import token_of
from tests.support.wire import HttpWire


@pytest.fixture
async def wired(context: BrowserContext, service: Served, wire: HttpWire, console: Console) -> ChatPage:
    """The page over a network that can be broken."""
    console.allow("ERR_|WebSocket connection to|status of 403")  # what browsers log on bad networks
    return await open_tab(context, wire.address, service.token(), service.model)


async def choose(chat: ChatPage, transport: str) -> None:
    """Switch the transport in the settings."""
    await chat.button("Settings").click()
    await chat.page.get_by_label(transport).check(force=True)
    await chat.button("Close").click()


@pytest.mark.parametrize("transport", ["Server-sent events", "WebSocket"])
async def test_a_connection_that_breaks_is_mended_and_no_token_is_lost_or_doubled(
    wired: ChatPage, wire: HttpWire, transport: str
) -> None:
    await choose(wired, transport)
    call = await wired.ask("Hi", "one ", "two ")
    await expect(wired.answers).to_contain_text("one two")
    wire.cut()
    await expect(wired.page.get_by_text("Reconnecting…")).to_be_visible()
    call.say("three ", "four ")
    wire.mend()
    await expect(wired.said).to_have_text("one two three four")
    await expect(wired.page.get_by_text("Reconnecting…")).to_be_hidden()
    call.finish("five")
    await wired.idle()
    await expect(wired.said).to_have_text("one two three four five")


async def test_offline_is_told_and_the_answer_is_there_when_it_is_over(
    wired: ChatPage, wire: HttpWire, context: BrowserContext
) -> None:
    call = await wired.ask("Hi", "one ")
    await expect(wired.answers).to_contain_text("one")
    await context.set_offline(True)
    wire.cut()
    await expect(wired.page.get_by_text("You are offline.")).to_be_visible()
    await wired.prompt.fill("a draft")
    call.finish("two")
    wire.mend()
    await context.set_offline(False)
    await expect(wired.page.get_by_text("You are offline.")).to_be_hidden()
    await wired.idle()
    await expect(wired.said).to_have_text("one two")
    await expect(wired.prompt).to_have_value("a draft")


async def test_a_question_asked_while_offline_is_sent_when_it_is_over(
    wired: ChatPage, wire: HttpWire, context: BrowserContext
) -> None:
    await wired.exchange("Hi", "Hello.")
    await context.set_offline(True)
    wire.cut()
    await wired.send("Still there?")
    await expect(wired.asked.last).to_have_text("Still there?")
    await expect(wired.page.get_by_text("You are offline.")).to_be_visible()
    wired.model.say = ["Yes."]
    wire.mend()
    await context.set_offline(False)
    await expect(wired.said.last).to_have_text("Yes.")
    await wired.page.reload()
    await expect(wired.questions).to_have_count(2)


async def go_offline(context: BrowserContext, wire: HttpWire) -> None:
    """Lose the network, as in a tunnel."""
    await context.set_offline(True)
    wire.cut()


async def come_back(context: BrowserContext, wire: HttpWire) -> None:
    """Restore the network."""
    wire.mend()
    await context.set_offline(False)


async def test_the_first_question_of_a_chat_asked_while_offline_is_sent_when_it_is_over(
    wired: ChatPage, wire: HttpWire, context: BrowserContext
) -> None:
    await expect(wired.page.get_by_text("Your conversations will appear here.")).to_be_visible()
    await go_offline(context, wire)
    await wired.send("Still there?")
    await expect(wired.asked).to_have_text("Still there?")
    wired.model.say = ["Yes."]
    await come_back(context, wire)
    await expect(wired.said).to_have_text("Yes.")
    await expect(wired.rows).to_have_text(["Still there?"])
    await expect(wired.prompt).to_have_value("")


BACK_BEFORE_THE_FAILURE = """() => {
    let online = false;
    Object.defineProperty(navigator, "onLine", { configurable: true, get: () => online });
    const { fetch } = window;
    window.fetch = (url, request) => {
        if (online || request?.method !== "POST") return fetch(url, request);
        online = true;
        return Promise.reject(new TypeError("Failed to fetch"));
    };
}"""


async def test_a_first_question_whose_network_is_back_before_its_request_has_failed_is_sent(
    wired: ChatPage,
) -> None:
    await expect(wired.page.get_by_text("Your conversations will appear here.")).to_be_visible()
    wired.model.say = ["Yes."]
    await wired.page.evaluate(BACK_BEFORE_THE_FAILURE)
    await wired.send("Still there?")
    await expect(wired.said).to_have_text("Yes.")
    await expect(wired.rows).to_have_text(["Still there?"])


async def test_who_goes_elsewhere_offline_finds_the_first_question_in_the_message_box(
    wired: ChatPage, wire: HttpWire, context: BrowserContext
) -> None:
    await wired.exchange("Hi", "Hello.")
    await wired.button("New chat").click()
    await go_offline(context, wire)
    await wired.send("Still there?")
    await wired.row("Hi").click()
    await expect(wired.prompt).to_have_value("")
    await wired.button("New chat").click()
    await expect(wired.prompt).to_have_value("Still there?")
    await wired.prompt.press("Enter")
    await wired.prompt.press("Escape")  # a refusal for now
    await expect(wired.button("Send again")).to_be_visible()
    await wired.row("Hi").click()
    await wired.button("New chat").click()
    await expect(wired.prompt).to_have_value("Still there?")
    await come_back(context, wire)
    await wired.page.reload()
    await expect(wired.prompt).to_have_value("Still there?")
    await expect(wired.rows).to_have_count(1)


async def test_a_conversation_opened_while_offline_is_shown_when_it_is_over(
    wired: ChatPage, wire: HttpWire, context: BrowserContext
) -> None:
    await wired.exchange("Hi", "Hello.")
    await wired.button("New chat").click()
    await wired.page.reload()
    await expect(wired.rows).to_have_count(1)
    await go_offline(context, wire)
    await wired.row("Hi").click()
    await expect(wired.button("Try again")).to_be_visible()
    await come_back(context, wire)
    await expect(wired.said).to_have_text("Hello.")


async def test_deleted_while_offline_it_stays_away_and_is_deleted_when_it_is_over(
    wired: ChatPage, wire: HttpWire, context: BrowserContext, sql: Sql
) -> None:
    await wired.exchange("Hi", "Hello.")
    await go_offline(context, wire)
    await wired.menu("Hi", "Delete")
    async with wired.page.expect_event("requestfailed", lambda request: request.method == "DELETE"):
        await wired.button("Dismiss").click()
    await expect(wired.rows).to_have_count(0)
    async with wired.page.expect_response(lambda response: response.request.method == "DELETE"):
        await come_back(context, wire)
    await expect(wired.rows).to_have_count(0)
    assert await sql.fetchval("select count(*) from conversations") == 0


async def test_a_websocket_that_is_blocked_falls_back_and_says_so(wired: ChatPage, wire: HttpWire) -> None:
    wire.upgrades = "refuse"
    await choose(wired, "WebSocket")
    await wired.exchange("Hi", "Hello.")
    await expect(wired.said).to_have_text("Hello.")
    assert wire.upgrades_asked > 0
    await wired.button("Settings").click()
    await expect(wired.page.get_by_text("WebSockets are blocked on the way to the server")).to_be_visible()


async def test_the_chosen_transport_is_kept_and_used(wired: ChatPage, wire: HttpWire) -> None:
    await wired.exchange("Hi", "Hello.")
    assert wire.upgrades_asked == 0
    await choose(wired, "WebSocket")
    await wired.page.reload()
    await expect(wired.said).to_have_text("Hello.")
    await wired.exchange("More?", "Yes.")
    assert wire.upgrades_asked > 0
    assert not [line for line in wire.requests[-20:] if "/messages" in line and "More" in line]
    await wired.button("Settings").click()
    await expect(wired.page.get_by_label("WebSocket")).to_be_checked()


async def test_over_a_websocket_reload_stop_and_regenerate_work_too(wired: ChatPage) -> None:
    await choose(wired, "WebSocket")
    call = await wired.ask("Hi", "one ")
    await expect(wired.answers).to_contain_text("one")
    await wired.page.reload()
    await expect(wired.answers).to_contain_text("one")
    call.say("two ")
    await expect(wired.answers).to_contain_text("one two")
    await wired.button("Stop").click()
    await wired.idle()
    await expect(wired.answers).to_contain_text("You stopped this answer.")
    await wired.button("Regenerate the answer").click()
    (await wired.model.call()).finish("three")
    await wired.idle()
    await expect(wired.said).to_have_text(["three"])


async def test_two_tabs_over_websockets(context: BrowserContext, service: Served) -> None:
    token = service.token()
    tabs = [await open_tab(context, service.address, token, service.model) for _ in range(2)]
    await choose(tabs[0], "WebSocket")
    await tabs[1].page.reload()
    await tabs[0].exchange("Hi", "Hello.")
    await tabs[1].row("Hi").click()
    await expect(tabs[1].said).to_have_text(["Hello."])
    call = await tabs[0].ask("More?", "one ")
    await expect(tabs[1].said.last).to_have_text("one")
    await expect(tabs[1].asked).to_have_text(["Hi", "More?"])
    call.finish("two")
    await expect(tabs[1].said.last).to_have_text("one two")
    await tabs[1].idle()


async def sign_in(page: Page, token: str) -> None:
    """Type a token."""
    await page.get_by_label("Token").fill(token)
    await page.get_by_role("button", name="Sign in").click()


async def test_without_a_token_the_page_asks_for_one(page: Page, service: Served, console: Console) -> None:
    console.allow("status of 401")
    await page.goto(service.address)
    dialog = page.get_by_role("dialog", name="Sign in")
    await expect(dialog).to_be_visible()
    for _ in range(3):
        await page.keyboard.press("Escape")
    await expect(dialog).to_be_visible()
    await sign_in(page, "wrong")
    await expect(dialog).to_contain_text("the token was refused")
    await sign_in(page, f"  Bearer {service.token()} ")
    await expect(dialog).to_be_hidden()
    await expect(page.get_by_text("Your conversations will appear here.")).to_be_visible()
    await page.reload()
    await expect(page.get_by_text("Your conversations will appear here.")).to_be_visible()


async def test_sign_out_forgets_everything(chat: ChatPage) -> None:
    await chat.exchange("Hi", "Hello.")
    await chat.button("Settings").click()
    await chat.button("Sign out").click()
    await expect(chat.page.get_by_role("dialog", name="Sign in")).to_be_visible()
    await expect(chat.rows).to_have_count(0)
    assert await chat.page.evaluate("sessionStorage.getItem('chat.token')") is None


@pytest.mark.parametrize("transport", ["Server-sent events", "WebSocket"])
async def test_a_token_that_ends_in_mid_answer_is_asked_for_and_the_answer_goes_on(
    context: BrowserContext, service: Served, console: Console, transport: str
) -> None:
    console.allow("status of 401")
    user = uuid4()
    first = token_of(service.auth.sign_in(user, exp=time.time() + 10))
    chat = await open_tab(context, service.address, first, service.model)
    await choose(chat, transport)
    call = await chat.ask("Hi", "one ")
    await expect(chat.answers).to_contain_text("one")
    await expect(chat.page.get_by_role("dialog", name="Sign in")).to_be_visible(timeout=20_000)
    await expect(chat.page.get_by_role("dialog")).to_contain_text("Your session has ended")
    call.say("two ")
    await sign_in(chat.page, token_of(service.auth.sign_in(user)))
    await expect(chat.said).to_have_text("one two")
    call.finish("three")
    await chat.idle()
    await expect(chat.said).to_have_text("one two three")
