"""Accessibility: axe-core checks the page's states, in both themes and on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import Console, Served
from tests.browser.sample import ANSWER, QUESTION

SIZES = {"desktop": (1200, 800), "phone": (390, 844)}
LOOKS = [(theme, size) for theme in ("light", "dark") for size in SIZES]


async def faults(page: Page) -> list[str]:
    """The problems that axe finds, with their elements."""
    results = await Axe().run(page)
    return [
        f"{violation['id']} ({violation['impact']}): {[node['html'][:120] for node in violation['nodes']]}"
        for violation in results.response["violations"]
        if violation["id"] != "heading-order"  # an answer's headings come from the model
    ]


@pytest.fixture(params=LOOKS, ids="-".join)
async def look(request: pytest.FixtureRequest, chat: ChatPage, console: Console) -> ChatPage:
    """The page in each look, without animations, because colours would be measured in mid-fade."""
    console.allow("TrustedHTML|TrustedScript")  # axe's own
    theme, size = request.param
    width, height = SIZES[size]
    await chat.page.set_viewport_size({"width": width, "height": height})
    await chat.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    return chat


async def test_no_fault_at_the_beginning(look: ChatPage) -> None:
    await expect(look.page.get_by_text("What's on your mind?")).to_be_visible()
    assert await faults(look.page) == []


async def test_no_fault_in_a_conversation_while_and_after_it_is_answered(look: ChatPage) -> None:
    call = await look.ask(QUESTION, ANSWER)
    await expect(look.said.locator(".hljs-keyword").first).to_be_visible()
    assert await faults(look.page) == []
    call.cut()
    await expect(look.button("Try again")).to_be_visible()
    await look.answers.hover()
    assert await faults(look.page) == []


async def test_no_fault_in_dialogs_menus_notices_and_the_sidebar(look: ChatPage) -> None:
    await look.exchange(QUESTION, "Yes.")
    if await look.button("Show the conversations").is_visible():
        await look.button("Show the conversations").click()
    assert await faults(look.page) == []
    await look.row(QUESTION).get_by_role("button").click()
    assert await faults(look.page) == []
    await look.page.get_by_role("menuitem", name="Add to favourites").click()
    await look.button(f"More for {QUESTION}").click()
    await look.page.get_by_role("menuitem", name="Rename").click()
    assert await faults(look.page) == []
    await look.page.keyboard.press("Escape")
    for button in ("Settings", "Keyboard shortcuts"):
        await look.button(button).click()
        assert await faults(look.page) == []
        await look.button("Close").click()
    await look.row(QUESTION).get_by_role("button").click()
    await look.page.get_by_role("menuitem", name="Delete").click()
    await expect(look.button("Undo")).to_be_visible()
    assert await faults(look.page) == []


async def test_no_fault_when_the_connection_is_bad(
    look: ChatPage, context: BrowserContext, console: Console
) -> None:
    console.allow("ERR_INTERNET_DISCONNECTED")  # a browser fetches the page's icon when it is idle
    await context.set_offline(True)
    await expect(look.page.get_by_text("You are offline.")).to_be_visible()
    assert await faults(look.page) == []


async def test_no_fault_at_the_sign_in(context: BrowserContext, service: Served, console: Console) -> None:
    console.allow("TrustedHTML|TrustedScript")
    for theme in ("light", "dark"):
        page = await context.new_page()
        await page.emulate_media(color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
        await page.goto(service.address)
        await expect(page.get_by_role("dialog", name="Sign in")).to_be_visible()
        assert await faults(page) == []
        await page.close()


async def test_everything_is_there_at_twice_the_size_of_type(chat: ChatPage) -> None:
    await chat.page.set_viewport_size({"width": 640, "height": 480})  # 1280 by 960 at 200 %
    await chat.exchange(QUESTION, ANSWER)
    assert await chat.page.evaluate("document.documentElement.scrollWidth") == 640
    for name in ("Send", "Show the conversations", "Model: m1"):
        await expect(chat.button(name)).to_be_in_viewport()


async def test_a_second_axe_would_find_what_is_wrong(chat: ChatPage, console: Console) -> None:
    console.allow("TrustedHTML|TrustedScript")
    await chat.page.evaluate("document.getElementById('prompt').labels[0].remove()")
    await chat.page.evaluate("document.getElementById('prompt').placeholder = ''")
    assert [fault.partition(" ")[0] for fault in await faults(chat.page)] == ["label"]
