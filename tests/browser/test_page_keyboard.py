"""The page with only the keyboard, and with a screen reader."""

from __future__ import annotations

from playwright.async_api import BrowserContext, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import Served
from tests.browser.test_page_conversations import open_with
from tests.support.chat import until


async def test_enter_sends_and_shift_enter_begins_a_line(chat: ChatPage) -> None:
    await expect(chat.prompt).to_be_focused()
    await chat.page.keyboard.type("one")
    await chat.page.keyboard.press("Shift+Enter")
    await chat.page.keyboard.type("two")
    await chat.page.keyboard.press("Enter")
    (await chat.model.call()).finish("ok")
    await expect(chat.asked).to_have_text("one\ntwo", use_inner_text=True)
    await expect(chat.prompt).to_have_value("")
    await expect(chat.prompt).to_be_focused()


async def test_an_enter_that_ends_a_composition_sends_nothing(chat: ChatPage) -> None:
    await chat.prompt.fill("にほん")
    await chat.prompt.dispatch_event("keydown", {"key": "Enter", "isComposing": True, "bubbles": True})
    await expect(chat.prompt).to_have_value("にほん")
    assert await chat.questions.count() == 0


async def test_an_enter_while_an_answer_comes_lets_the_text_wait_for_its_turn(chat: ChatPage) -> None:
    call = await chat.ask("Hi", "one ")
    await chat.send("next")
    await expect(chat.page.get_by_role("list", name="Waiting messages")).to_have_text("next")
    await expect(chat.prompt).to_have_value("")
    assert await chat.questions.count() == 1
    call.finish("two")
    (await chat.model.call()).finish("three")
    await expect(chat.said).to_have_text(["one two", "three"])
    await expect(chat.asked).to_have_text(["Hi", "next"])


async def test_everything_is_done_by_keys(context: BrowserContext, service: Served) -> None:
    chat = await open_with(context, service, "tea", "coffee")
    press = chat.page.keyboard.press
    await press("Alt+ArrowDown")
    await expect(chat.page).to_have_title("coffee · samosaChaat")
    await press("Alt+ArrowDown")
    await expect(chat.page).to_have_title("tea · samosaChaat")
    await press("Control+k")
    await chat.page.keyboard.type("cof")
    await expect(chat.rows).to_have_text(["coffee"])
    await press("Enter")
    await expect(chat.row("coffee").get_by_role("link")).to_be_focused()
    await press("F2")
    await chat.page.keyboard.type("espresso")
    await press("Enter")
    await expect(chat.rows).to_have_count(0)  # the search is still for "cof"
    await press("Control+k")
    await press("Control+a")
    await press("Backspace")
    await press("ArrowDown")
    await expect(chat.row("espresso").get_by_role("link")).to_be_focused()
    await press("Enter")
    await expect(chat.page).to_have_title("espresso · samosaChaat")
    await chat.row("espresso").get_by_role("link").focus()
    await press("Tab")
    await press("Enter")
    await expect(chat.page.get_by_role("menuitem", name="Add to favourites")).to_be_focused()
    await press("ArrowUp")
    await expect(chat.page.get_by_role("menuitem", name="Delete")).to_be_focused()
    await press("Home")
    await press("Enter")
    await expect(chat.page.get_by_role("region", name="Favourites")).to_be_visible()
    await press("Delete")
    await press("Control+Shift+Backspace")
    await expect(chat.rows).to_have_text(["tea"])
    await chat.row("tea").get_by_role("link").focus()
    await press("Control+z")
    await expect(chat.rows).to_have_count(2)
    await press("Control+Shift+o")
    await expect(chat.page).to_have_title("samosaChaat")
    await expect(chat.prompt).to_be_focused()


async def test_a_menu_gives_the_focus_back(context: BrowserContext, service: Served) -> None:
    chat = await open_with(context, service, "tea")
    more = chat.button("More for tea")
    await more.focus()
    await chat.page.keyboard.press("Enter")
    await expect(more).to_have_attribute("aria-expanded", "true")
    await chat.page.keyboard.press("Escape")
    await expect(more).to_be_focused()
    await expect(more).to_have_attribute("aria-expanded", "false")


async def test_the_question_mark_lists_the_shortcuts(chat: ChatPage) -> None:
    await chat.page.keyboard.type("?")
    await expect(chat.prompt).to_have_value("?")
    await chat.button("Settings").focus()
    await chat.page.keyboard.press("?")
    dialog = chat.page.get_by_role("dialog", name="Keyboard shortcuts")
    await expect(dialog).to_contain_text("Stop the answer")
    await chat.page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await expect(chat.button("Settings")).to_be_focused()


async def test_the_sidebar_hides_and_comes_back_and_is_remembered(chat: ChatPage) -> None:
    sidebar = chat.page.get_by_role("navigation", name="Conversations")
    await expect(sidebar).to_be_visible()
    await chat.page.keyboard.press("Control+Shift+s")
    await expect(sidebar).to_be_hidden()
    await chat.page.reload()
    await expect(sidebar).to_be_hidden()
    await chat.button("Show the conversations").click()
    await expect(sidebar).to_be_visible()
    await chat.page.reload()
    await expect(sidebar).to_be_visible()


async def test_on_a_phone_the_sidebar_is_a_drawer(chat: ChatPage) -> None:
    await chat.page.set_viewport_size({"width": 390, "height": 800})
    await chat.exchange("Hi", "Hello.")
    sidebar = chat.page.get_by_role("navigation", name="Conversations")
    await expect(sidebar).to_be_hidden()
    await chat.button("Show the conversations").click()
    await expect(sidebar).to_be_visible()
    assert await chat.page.locator("#main").evaluate("main => main.inert")
    await chat.page.keyboard.press("Escape")
    await expect(sidebar).to_be_hidden()
    await chat.button("Show the conversations").click()
    await chat.row("Hi").click()
    await expect(sidebar).to_be_hidden()
    await chat.button("Show the conversations").click()
    await sidebar.get_by_role("button", name="New chat").click()
    await expect(sidebar).to_be_hidden()
    width = "document.documentElement.scrollWidth"
    assert await chat.page.evaluate(width) == 390


async def test_a_screen_reader_hears_the_answer_once_and_not_each_token(chat: ChatPage) -> None:
    await chat.page.evaluate("""() => {
        window.heard = [];
        const place = document.getElementById("announcer");
        const hear = () => place.textContent && heard.push(place.textContent);
        new MutationObserver(hear).observe(place, { childList: true, characterData: true, subtree: true });
    }""")
    call = await chat.ask("Hi", *(f"word{number} " for number in range(30)))
    await expect(chat.answers).to_contain_text("word29")
    call.finish("and **done**.")
    await chat.idle()
    await until(lambda: chat.page.evaluate("heard.length >= 2"))
    words = " ".join(f"word{number}" for number in range(30))
    assert await chat.page.evaluate("heard") == ["The answer begins.", f"{words} and done."]
    live = "[...document.querySelectorAll('[aria-live], [role=log], [role=status], [role=alert]')]"
    assert not await chat.page.evaluate(
        f"{live}.some((each) => each.contains(document.querySelector('.prose')))"
    )


async def test_the_theme_follows_the_system_until_one_is_chosen(chat: ChatPage) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    light = await chat.page.evaluate(ground)
    await chat.page.emulate_media(color_scheme="dark")
    dark = await chat.page.evaluate(ground)
    assert dark != light
    await chat.button("Settings").click()
    await chat.page.get_by_label("Light").check(force=True)
    assert await chat.page.evaluate(ground) == light
    await chat.page.reload()
    assert await chat.page.evaluate(ground) == light


async def test_nothing_moves_for_those_who_dont_want_it(chat: ChatPage) -> None:
    await chat.page.emulate_media(reduced_motion="reduce")
    call = await chat.ask("Hi", "one ")
    await expect(chat.answers).to_contain_text("one")
    still = "document.getAnimations().every((each) => each.playState !== 'running')"
    await until(lambda: chat.page.evaluate(still))
    call.finish()
    await chat.idle()


async def test_a_first_tab_leads_to_the_message_box(chat: ChatPage) -> None:
    await chat.button("Hide the conversations").focus()
    await chat.page.keyboard.press("Shift+Tab")
    await expect(chat.button("Skip to the message box")).to_be_focused()
    await chat.page.keyboard.press("Enter")
    await expect(chat.prompt).to_be_focused()
