"""The page: messages that are sent while an answer is being written wait for their turn."""

from __future__ import annotations

import asyncio

from playwright.async_api import BrowserContext, Locator, Route, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.wire import HttpWire


def waiting(chat: ChatPage) -> Locator:
    """The messages that wait."""
    return chat.page.get_by_role("list", name="Waiting messages").get_by_role("listitem")


def take_back(chat: ChatPage, number: int = 0) -> Locator:
    """The button that takes one back."""
    return waiting(chat).nth(number).get_by_role("button", name="Take this message back")


async def other_tab(context: BrowserContext, service: Served, chat: ChatPage, title: str) -> ChatPage:
    """Another tab with the same conversation."""
    token = await chat.page.evaluate("sessionStorage['chat.token']")
    other = await open_tab(context, service.address, token, service.model)
    await other.row(title).click()
    return other


async def test_a_message_waits_and_is_answered_after_the_running_answer(chat: ChatPage) -> None:
    call = await chat.ask("A", "a ")
    await expect(chat.said).to_have_text("a")
    await chat.send("B")
    await expect(waiting(chat)).to_have_text(["B"])
    await expect(chat.prompt).to_have_value("")
    await expect(chat.prompt).to_be_focused()
    await chat.send("C")
    await expect(waiting(chat)).to_have_text(["B", "C"])
    await expect(chat.button("Stop")).to_be_visible()
    await chat.page.reload()
    await expect(waiting(chat)).to_have_text(["B", "C"])
    await expect(chat.said).to_have_text("a")
    call.finish("whole")
    call = await chat.model.call()
    await expect(chat.asked).to_have_text(["A", "B"])
    await expect(waiting(chat)).to_have_text(["C"])
    call.finish("b")
    (await chat.model.call()).finish("c")
    await expect(chat.said).to_have_text(["a whole", "b", "c"])
    await chat.idle()
    await expect(chat.asked).to_have_text(["A", "B", "C"])
    await expect(waiting(chat)).to_have_count(0)


async def test_a_message_is_taken_back_into_the_message_box(chat: ChatPage) -> None:
    call = await chat.ask("A", "a ")
    for text in ("B", "<b>नमस्ते</b> 👩‍👩‍👧", "D"):
        await chat.send(text)
        await expect(waiting(chat).last).to_have_text(text)
    await chat.prompt.fill("a draft")
    await take_back(chat, 1).click()
    await expect(waiting(chat)).to_have_text(["B", "D"])
    await expect(chat.prompt).to_have_value("<b>नमस्ते</b> 👩‍👩‍👧\n\na draft")
    await take_back(chat, 0).focus()
    await chat.page.keyboard.press("Enter")
    await expect(waiting(chat)).to_have_text(["D"])
    await expect(chat.prompt).to_be_focused()
    await chat.page.reload()
    await expect(waiting(chat)).to_have_text(["D"])
    call.finish()
    call = await chat.model.call()
    assert call.request["messages"][-1]["content"] == "D"
    call.finish("d")
    await expect(chat.said.last).to_have_text("d")
    await expect(waiting(chat)).to_have_count(0)


async def test_a_button_sends_later_and_the_other_one_still_stops(chat: ChatPage) -> None:
    call = await chat.ask("A", "a ")
    await expect(chat.button("Send after this answer")).to_be_hidden()
    await chat.prompt.fill("B")
    await chat.button("Send after this answer").click()
    await expect(waiting(chat)).to_have_text(["B"])
    await expect(chat.button("Send after this answer")).to_be_hidden()
    await chat.prompt.fill("😀" * 8001)
    await expect(chat.button("Send after this answer")).to_be_disabled()
    await chat.prompt.fill("")
    await chat.button("Stop").click()
    await asyncio.wait_for(call.closed.wait(), 10)
    (await chat.model.call()).finish("b")
    await expect(chat.said.last).to_have_text("b")
    await expect(chat.answers.first).to_contain_text("You stopped this answer.")
    await expect(waiting(chat)).to_have_count(0)


async def test_another_tab_sees_what_waits_and_takes_it_back(
    context: BrowserContext, reader_transport: None, service: Served, chat: ChatPage
) -> None:
    call = await chat.ask("A", "a ")
    other = await other_tab(context, service, chat, "A")
    await expect(other.said).to_have_text("a")
    await chat.send("B")
    await expect(waiting(other)).to_have_text(["B"])
    await other.send("C")
    await expect(waiting(chat)).to_have_text(["B", "C"])
    await take_back(other, 0).click()
    await expect(other.prompt).to_have_value("B")
    await expect(waiting(chat)).to_have_text(["C"])
    call.finish()
    (await chat.model.call()).finish("c")
    for tab in (chat, other):
        await expect(tab.asked).to_have_text(["A", "C"])
        await expect(tab.said.last).to_have_text("c")
        await expect(waiting(tab)).to_have_count(0)


async def test_a_message_that_comes_when_the_answer_has_just_ended_is_answered_at_once(
    chat: ChatPage,
) -> None:
    call = await chat.ask("A", "a ")
    await expect(chat.said).to_have_text("a")
    is_over = asyncio.Event()

    async def hold(route: Route) -> None:
        await is_over.wait()
        await route.continue_()

    await chat.page.route("**/messages", hold)
    await chat.send("B")
    await expect(waiting(chat)).to_have_text(["B"])
    call.finish("whole")
    await chat.idle()
    is_over.set()
    call = await chat.model.call()
    call.say("b ")
    await expect(chat.said).to_have_text(["a whole", "b"])
    await expect(chat.button("Stop")).to_be_visible()
    await expect(waiting(chat)).to_have_count(0)
    call.finish("whole")
    await chat.idle()
    await expect(chat.said).to_have_text(["a whole", "b whole"])


async def test_more_than_ten_are_refused_and_the_text_is_in_the_box(chat: ChatPage, console: Console) -> None:
    console.allow("status of 409")
    await chat.ask("A", "a ")
    for number in range(10):
        await chat.send(f"B{number}")
        await expect(waiting(chat)).to_have_count(number + 1)
    await chat.send("too many")
    await expect(chat.prompt).to_have_value("too many")
    await expect(waiting(chat)).to_have_count(10)
    await expect(chat.page.locator(".toast")).to_be_visible()


async def test_a_message_that_was_sent_without_a_network_waits_once_it_is_back(
    context: BrowserContext, service: Served, wire: HttpWire, console: Console
) -> None:
    console.allow("ERR_|WebSocket connection to")
    chat = await open_tab(context, wire.address, service.token(), service.model)
    call = await chat.ask("A", "a ")
    await expect(chat.said).to_have_text("a")
    wire.cut()
    await chat.send("B")
    await expect(waiting(chat)).to_have_text(["B"])
    await expect(take_back(chat)).to_have_count(0)  # it is still on its way
    wire.mend()
    await expect(take_back(chat)).to_be_visible()
    call.finish("whole")
    (await chat.model.call()).finish("b")
    await expect(chat.said).to_have_text(["a whole", "b"])
    await expect(chat.asked).to_have_text(["A", "B"])


async def test_a_page_that_is_left_before_it_was_sent_has_it_in_its_box(chat: ChatPage) -> None:
    await chat.ask("A", "a ")
    await expect(chat.said).to_have_text("a")
    await chat.page.route("**/messages", lambda _: None)  # no response
    await chat.send("B")
    await expect(waiting(chat)).to_have_text(["B"])
    await chat.page.reload()
    await expect(chat.said).to_have_text("a")
    await expect(chat.prompt).to_have_value("B")
    await expect(waiting(chat)).to_have_count(0)
