"""The page: questions are edited, answers have versions and go on, messages are taken back."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import BrowserContext, Locator, Route, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.chat import Sql, until
from tests.support.wire import HttpWire


def tool(message: Locator, name: str) -> Locator:
    """A button below a message."""
    return message.get_by_role("button", name=name, exact=True)


def version(message: Locator) -> Locator:
    """Which version of a message is shown, of how many, as it is read aloud."""
    return message.locator(".versions .hidden")


def editor(chat: ChatPage) -> Locator:
    """The field in which a question is edited."""
    return chat.page.get_by_role("textbox", name="Your message")


async def begin_edit(chat: ChatPage, number: int = 0) -> Locator:
    """Click on a question's edit button."""
    await chat.questions.nth(number).hover()
    await tool(chat.questions.nth(number), "Edit your message").click()
    return editor(chat)


async def edit(chat: ChatPage, number: int, text: str, answer: str) -> None:
    """Send an edit of a question, and wait for its answer."""
    field = await begin_edit(chat, number)
    await field.fill(text)
    await field.press("Enter")
    (await chat.model.call()).finish(answer)
    await chat.idle()
    await expect(chat.said.last).to_have_text(answer)


@pytest.fixture
async def two(chat: ChatPage) -> ChatPage:
    """Two questions with their answers."""
    await chat.exchange("A", "a")
    await chat.exchange("B", "b")
    return chat


class TestAnEdit:
    async def test_stands_beside_the_question_and_both_can_be_shown(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        await expect(field).to_be_focused()
        await expect(field).to_have_value("B")
        await field.fill("B2")
        await two.button("Save").click()
        call = await two.model.call()
        await expect(two.asked).to_have_text(["A", "B2"])
        call.finish("b2")
        await two.idle()
        await expect(two.said).to_have_text(["a", "b2"])
        question = two.questions.nth(1)
        await expect(version(question)).to_have_text("2 of 2")
        await expect(tool(question, "Next version")).to_be_disabled()
        await tool(question, "Previous version").click()
        await expect(two.asked).to_have_text(["A", "B"])
        await expect(two.said).to_have_text(["a", "b"])
        await expect(version(question)).to_have_text("1 of 2")
        await expect(tool(question, "Previous version")).to_be_disabled()
        await tool(question, "Next version").click()
        await expect(two.said).to_have_text(["a", "b2"])
        await two.page.reload()
        await expect(two.asked).to_have_text(["A", "B2"])
        await expect(version(question)).to_have_text("2 of 2")
        await expect(version(two.questions.first)).to_be_hidden()

    async def test_of_the_first_question_begins_the_conversation_again(self, two: ChatPage) -> None:
        await edit(two, 0, "A2", "a2")
        await expect(two.asked).to_have_text(["A2"])
        await expect(version(two.questions.first)).to_have_text("2 of 2")
        await tool(two.questions.first, "Previous version").click()
        await expect(two.asked).to_have_text(["A", "B"])
        assert [turn["content"] for turn in two.model.requests[-1].request["messages"]] == ["A2"]

    async def test_is_all_done_by_keys(self, two: ChatPage) -> None:
        press = two.page.keyboard.press
        await tool(two.questions.nth(1), "Edit your message").focus()
        await press("Enter")
        await expect(editor(two)).to_be_focused()
        await two.page.keyboard.type(" more")
        await press("Shift+Enter")
        await two.page.keyboard.type("lines")
        await press("Enter")
        (await two.model.call()).finish("b2")
        await two.idle()
        await expect(two.asked.last).to_have_text("B more\nlines", use_inner_text=True)
        await expect(two.prompt).to_be_focused()
        question = two.questions.nth(1)
        await tool(question, "Previous version").focus()
        await press("Enter")
        await expect(two.said).to_have_text(["a", "b"])
        await expect(tool(question, "Next version")).to_be_focused()  # there is no previous one
        await press("Enter")
        await expect(two.said).to_have_text(["a", "b2"])
        await expect(tool(question, "Previous version")).to_be_focused()

    async def test_goes_on_in_the_same_direction_by_the_same_key(self, chat: ChatPage) -> None:
        await chat.exchange("A", "a")
        for number in (2, 3, 4):
            await edit(chat, 0, f"A{number}", f"a{number}")
        await tool(chat.questions, "Previous version").focus()
        for number in (3, 2):
            await chat.page.keyboard.press("Enter")
            await expect(chat.asked).to_have_text([f"A{number}"])
            await expect(version(chat.questions)).to_have_text(f"{number} of 4")
            await expect(tool(chat.questions, "Previous version")).to_be_focused()

    async def test_is_cancelled_by_escape_and_what_was_written_comes_back(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        await field.press("Escape")
        await expect(editor(two)).to_have_count(0)
        await expect(two.asked).to_have_text(["A", "B"])
        await expect(tool(two.questions.nth(1), "Edit your message")).to_be_focused()
        await expect(two.button("Undo")).to_have_count(0)  # nothing was written
        await two.page.keyboard.press("Enter")
        await field.fill("half a thought")
        await field.press("Escape")
        await expect(two.asked).to_have_text(["A", "B"])
        await two.button("Undo").click()
        await expect(field).to_have_value("half a thought")
        await two.button("Cancel").click()
        await expect(two.asked).to_have_text(["A", "B"])
        assert len(two.model.requests) == 2

    async def test_survives_a_reload_and_a_look_at_another_conversation(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        await field.fill("half a 思い 🌍")
        await two.button("New chat").click()
        await expect(two.questions).to_have_count(0)
        await two.row("A").click()
        await expect(field).to_have_value("half a 思い 🌍")
        await two.page.reload()
        await expect(field).to_have_value("half a 思い 🌍")
        await expect(two.prompt).to_have_value("")
        await field.press("Enter")
        (await two.model.call()).finish("b2")
        await two.idle()
        await expect(two.asked).to_have_text(["A", "half a 思い 🌍"])
        await two.page.reload()
        await expect(two.asked).to_have_text(["A", "half a 思い 🌍"])
        await tool(two.questions.nth(1), "Previous version").click()
        await expect(two.asked).to_have_text(["A", "B"])  # it isn't edited any more
        await expect(editor(two)).to_have_count(0)

    async def test_that_says_nothing_or_too_much_is_not_sent(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        for text in ("", " \u200b ", "😀" * 8001):
            await field.fill(text)
            await expect(two.button("Save")).to_be_disabled()
            await field.press("Enter")
        await expect(two.page.get_by_text("1 too many")).to_be_visible()
        long = ("Ünïcode नमस्ते 👩‍👩‍👧 \n" * 400)[:7900].strip()
        await field.fill(long)
        await field.press("Enter")
        call = await two.model.call()
        assert call.request["messages"][-1]["content"] == long
        call.finish("b2")
        await two.idle()
        await expect(two.asked.last).to_have_text(long, use_inner_text=True)

    async def test_an_enter_that_ends_a_composition_sends_nothing(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        await field.fill("にほん")
        for key in ("Enter", "Escape"):
            await field.dispatch_event("keydown", {"key": key, "isComposing": True, "bubbles": True})
        await expect(field).to_have_value("にほん")
        assert len(two.model.requests) == 2

    async def test_that_is_refused_is_in_its_field_again_and_is_told(
        self, two: ChatPage, console: Console
    ) -> None:
        console.allow("status of 500")
        refused = '{"detail": "Not now.", "code": "busy"}'
        await two.page.route(
            "**/messages",
            lambda route: route.fulfill(status=500, body=refused, content_type="application/json"),
            times=1,
        )
        field = await begin_edit(two, 0)
        await field.fill("A2")
        await field.press("Enter")
        await expect(two.questions.first).to_contain_text("Not now.")
        await expect(field).to_have_value("A2")
        await expect(two.said).to_have_text(["a", "b"])
        await field.press("Enter")
        (await two.model.call()).finish("a2")
        await two.idle()
        await expect(two.said).to_have_text(["a2"])
        await expect(editor(two)).to_have_count(0)
        await expect(two.page.get_by_text("Not now.")).to_have_count(0)


async def test_a_first_question_that_is_refused_is_sent_again(chat: ChatPage, console: Console) -> None:
    console.allow("status of 500")
    refused = '{"detail": "Not now.", "code": "busy"}'
    await chat.page.route(
        "**/api/conversations",
        lambda route: route.fulfill(status=500, body=refused, content_type="application/json"),
        times=1,
    )
    await chat.send("Hi")
    await expect(chat.questions).to_contain_text("Not now.")
    chat.model.say = ["Hello."]
    await chat.button("Send again").click()
    await expect(chat.said).to_have_text(["Hello."])
    await expect(chat.asked).to_have_text(["Hi"])


class TestAnAnswer:
    async def test_done_again_is_another_version(self, chat: ChatPage) -> None:
        await chat.exchange("Hi", "first")
        await chat.button("Regenerate the answer").click()
        (await chat.model.call()).finish("second")
        await chat.idle()
        await expect(version(chat.answers)).to_have_text("2 of 2")
        await tool(chat.answers, "Previous version").click()
        await expect(chat.said).to_have_text("first")
        await expect(version(chat.answers)).to_have_text("1 of 2")
        await chat.page.reload()
        await expect(chat.said).to_have_text("first")
        await expect(version(chat.answers)).to_have_text("1 of 2")

    async def test_in_the_middle_is_done_again_and_what_came_after_it_stays_below_the_old_one(
        self, two: ChatPage
    ) -> None:
        await two.answers.first.hover()
        await tool(two.answers.first, "Regenerate the answer").click()
        call = await two.model.call()
        await expect(two.asked).to_have_text(["A"])
        assert [turn["content"] for turn in call.request["messages"]] == ["A"]
        call.say("a2 ")
        await expect(two.said).to_have_text(["a2"])
        await two.page.reload()
        await expect(two.said).to_have_text(["a2"])
        call.finish("whole")
        await two.idle()
        await expect(two.said).to_have_text(["a2 whole"])
        await tool(two.answers.first, "Previous version").click()
        await expect(two.said).to_have_text(["a", "b"])

    async def test_in_the_middle_that_fails_leaves_what_was_there(self, two: ChatPage) -> None:
        await two.answers.first.hover()
        await tool(two.answers.first, "Regenerate the answer").click()
        (await two.model.call()).close()
        await expect(two.said).to_have_text(["a", "b"])
        await expect(two.answers.first).to_contain_text("broke off")
        await expect(two.answers.last).not_to_contain_text("broke off")

    async def test_that_was_stopped_goes_on_where_it_was(self, chat: ChatPage) -> None:
        call = await chat.ask("Count", "**one** ", "two ")
        await expect(chat.said).to_contain_text("two")
        await chat.page.keyboard.press("Escape")
        await chat.idle()
        await expect(chat.answers).to_contain_text("You stopped this answer.")
        is_read = asyncio.Event()

        async def hold(route: Route) -> None:
            await is_read.wait()
            await route.continue_()

        await chat.page.route("**/continue", hold)
        await tool(chat.answers, "Continue").click()
        await expect(chat.button("Stop")).to_be_visible()
        await expect(chat.said).to_have_text("one two")  # it stays on the page
        is_read.set()
        call = await chat.model.call()
        call.say("three ")
        await expect(chat.said).to_have_text("one two three")
        await chat.page.reload()
        await expect(chat.said).to_have_text("one two three")
        call.finish("four")
        await chat.idle()
        await expect(chat.said).to_have_text("one two three four")
        await expect(chat.said.locator("strong")).to_have_text("one")
        await expect(version(chat.answers)).to_have_text("2 of 2")
        await expect(tool(chat.answers, "Continue")).to_have_count(0)
        await tool(chat.answers, "Previous version").click()
        await expect(chat.said).to_have_text("one two")
        await expect(tool(chat.answers, "Continue")).to_be_visible()

    async def test_that_broke_off_goes_on_by_a_key(self, chat: ChatPage) -> None:
        call = await chat.ask("Count", "one ")
        await expect(chat.said).to_have_text("one")
        call.cut()
        await expect(chat.button("Try again")).to_be_visible()
        await chat.idle()
        await tool(chat.answers, "Continue").press("Enter")
        (await chat.model.call()).finish("two")
        await chat.idle()
        await expect(chat.said).to_have_text("one two")
        await expect(chat.button("Try again")).to_have_count(0)

    async def test_that_is_told_again_to_have_broken_off_keeps_the_focus(self, chat: ChatPage) -> None:
        """The stream tells it, and then what is stored does: a key that comes between goes nowhere else."""
        main = await chat.page.locator("script[type=module]").get_attribute("src")
        focused = await chat.page.evaluate(
            """async (main) => {
                const { AnswerView } = await import(new URL("thread/answer.js", new URL(main, location)));
                const answer = new AnswerView({});
                document.body.append(answer.element);
                const offers = [{ text: "Try again", act() {} }, { text: "Continue", act() {} }];
                answer.fail("It broke off.", true, offers);
                answer.element.querySelector(".notice button:last-child").focus();
                answer.fail("It broke off.", true, offers);
                return document.activeElement.textContent;
            }""",
            main,
        )
        assert focused == "Continue"

    async def test_that_cannot_go_on_is_the_old_one_again(self, chat: ChatPage) -> None:
        await chat.ask("Count", "one ")
        await expect(chat.said).to_have_text("one")
        await chat.button("Stop").click()
        await chat.idle()
        await tool(chat.answers, "Continue").click()
        (await chat.model.call()).close()
        await expect(chat.answers).to_contain_text("broke off")
        await chat.idle()
        await expect(chat.said).to_have_text("one")
        await expect(version(chat.answers)).to_be_hidden()
        await expect(tool(chat.answers, "Continue")).to_be_visible()


class TestADeletion:
    async def test_is_asked_about_and_takes_what_comes_after_it(self, two: ChatPage, sql: Sql) -> None:
        await two.answers.first.hover()
        await tool(two.answers.first, "Delete the answer").click()
        dialog = two.page.get_by_role("dialog", name="Delete this message?")
        await expect(dialog).to_contain_text("The 2 messages after it are deleted too")
        await dialog.get_by_role("button", name="Cancel").click()
        await expect(two.said).to_have_text(["a", "b"])
        assert await sql.fetchval("select count(*) from messages") == 4
        await two.answers.first.hover()
        await tool(two.answers.first, "Delete the answer").click()
        await dialog.get_by_role("button", name="Delete").click()
        await expect(two.asked).to_have_text(["A"])
        await expect(two.said).to_have_text([""])  # there is no answer: it may be tried again
        assert await sql.fetchval("select count(*) from messages") == 1
        await two.button("Try again").click()
        (await two.model.call()).finish("a2")
        await expect(two.said).to_have_text(["a2"])

    async def test_shows_the_version_that_is_left_and_is_done_by_keys(self, two: ChatPage) -> None:
        await edit(two, 1, "B2", "b2")
        press = two.page.keyboard.press
        await tool(two.questions.nth(1), "Delete your message").focus()
        await press("Enter")
        await expect(two.page.get_by_role("button", name="Delete", exact=True)).to_be_focused()
        await press("Enter")
        await expect(two.asked).to_have_text(["A", "B"])
        await expect(version(two.questions.nth(1))).to_be_hidden()
        await expect(two.prompt).to_be_focused()


class TestWhileAnAnswerIsWritten:
    async def test_nothing_else_is_changed(self, two: ChatPage) -> None:
        await edit(two, 1, "B2", "b2")
        call = await two.ask("C", "c ")
        await expect(two.said.last).to_have_text("c")
        question, answer = two.questions.nth(1), two.answers.first
        for button in (
            tool(question, "Previous version"),
            tool(question, "Edit your message"),
            tool(question, "Delete your message"),
            tool(answer, "Regenerate the answer"),
            tool(answer, "Delete the answer"),
        ):
            await expect(button).to_be_disabled()
        await expect(tool(question, "Copy your message")).to_be_enabled()
        await two.page.reload()
        await expect(two.said.last).to_have_text("c")
        await expect(tool(question, "Previous version")).to_be_disabled()
        call.finish("d")
        await two.idle()
        await expect(tool(question, "Previous version")).to_be_enabled()
        await expect(tool(two.questions.last, "Edit your message")).to_be_enabled()

    async def test_an_edit_waits_in_its_field(self, two: ChatPage) -> None:
        field = await begin_edit(two, 1)
        await field.fill("B2")
        call = await two.ask("C", "c ")
        await expect(two.button("Save")).to_be_disabled()
        await field.press("Enter")
        await expect(field).to_have_value("B2")
        await field.press("Escape")  # leaves the edit, and doesn't stop the answer
        call.finish("d")
        await two.idle()
        await expect(two.said.last).to_have_text("c d")


@pytest.fixture
async def tabs(
    context: BrowserContext, reader_transport: None, service: Served, two: ChatPage
) -> tuple[ChatPage, ChatPage]:
    """Two tabs with the same conversation."""
    token = await two.page.evaluate("sessionStorage['chat.token']")
    other = await open_tab(context, service.address, token, service.model)
    await other.row("A").click()
    await expect(other.said).to_have_text(["a", "b"])
    return two, other


class TestAnotherTab:
    async def test_sees_an_edit_and_a_switch_and_a_deletion(self, tabs: tuple[ChatPage, ChatPage]) -> None:
        one, other = tabs
        await edit(one, 1, "B2", "b2")
        await expect(other.asked).to_have_text(["A", "B2"])
        await expect(other.said).to_have_text(["a", "b2"])
        await expect(version(other.questions.nth(1))).to_have_text("2 of 2")
        await tool(other.questions.nth(1), "Previous version").click()
        await expect(other.said).to_have_text(["a", "b"])
        await expect(one.said).to_have_text(["a", "b"])
        await expect(version(one.questions.nth(1))).to_have_text("1 of 2")
        await one.questions.nth(1).hover()
        await tool(one.questions.nth(1), "Delete your message").click()
        await one.page.get_by_role("button", name="Delete", exact=True).click()
        await expect(one.asked).to_have_text(["A", "B2"])
        await expect(other.asked).to_have_text(["A", "B2"])
        await expect(version(other.questions.nth(1))).to_be_hidden()

    async def test_sees_a_title_that_another_device_gives(
        self, tabs: tuple[ChatPage, ChatPage], service: Served
    ) -> None:
        one = tabs[0]
        token = await one.page.evaluate("sessionStorage['chat.token']")
        path = f"/api/conversations/{one.page.url.rpartition('/')[2]}"
        headers = {"Authorization": f"Bearer {token}"}
        response = await service.client.put(path, json={"title": "Chai ☕"}, headers=headers)
        assert response.status == 200
        for tab in tabs:
            await expect(tab.page.get_by_role("heading", level=1)).to_have_text("Chai ☕")
            await expect(tab.row("Chai ☕")).to_be_visible()

    async def test_that_edits_what_is_no_longer_shown_keeps_the_text(
        self, tabs: tuple[ChatPage, ChatPage]
    ) -> None:
        one, other = tabs
        field = await begin_edit(other, 1)
        await field.fill("half a thought")
        await other.prompt.fill("a draft")
        await edit(one, 0, "A2", "a2")
        await expect(other.asked).to_have_text(["A2"])
        await expect(other.prompt).to_have_value("half a thought\n\na draft")
        await expect(other.page.get_by_text("Your text is in the message box.")).to_be_visible()

    async def test_that_edits_what_is_still_shown_goes_on_with_it(
        self, tabs: tuple[ChatPage, ChatPage]
    ) -> None:
        one, other = tabs
        field = await begin_edit(other, 0)
        await field.fill("half a thought")
        await edit(one, 1, "B2", "b2")
        await expect(other.asked.nth(1)).to_have_text("B2")
        await expect(field).to_have_value("half a thought")
        await expect(field).to_be_focused()


@pytest.fixture
async def wired(context: BrowserContext, service: Served, wire: HttpWire, console: Console) -> ChatPage:
    """A tab over a network that can be broken, with two questions and their answers."""
    console.allow("ERR_|WebSocket connection to")  # what browsers log on bad networks
    chat = await open_tab(context, wire.address, service.token(), service.model)
    await chat.exchange("A", "a")
    await chat.exchange("B", "b")
    return chat


class TestABadNetwork:
    async def test_an_edit_that_was_sent_without_one_is_sent_once_when_it_is_back(
        self, wired: ChatPage, wire: HttpWire, sql: Sql
    ) -> None:
        field = await begin_edit(wired, 1)
        await field.fill("B2")
        wire.cut()
        await field.press("Enter")
        await expect(wired.asked).to_have_text(["A", "B2"])
        await expect(wired.page.get_by_text("Reconnecting…")).to_be_visible()
        wired.model.say = ["b2"]
        wire.mend()
        await expect(wired.said).to_have_text(["a", "b2"])
        await expect(version(wired.questions.nth(1))).to_have_text("2 of 2")
        assert await sql.fetchval("select count(*) from messages where content = 'B2'") == 1

    async def test_an_edit_whose_reply_is_lost_is_stored_once(
        self, wired: ChatPage, wire: HttpWire, sql: Sql
    ) -> None:
        field = await begin_edit(wired, 1)
        await field.fill("B2")
        wire.lose_reply_to = b"POST /api/conversations/"
        wired.model.say = ["b2"]
        await field.press("Enter")
        await expect(wired.said).to_have_text(["a", "b2"])
        await expect(version(wired.questions.nth(1))).to_have_text("2 of 2")
        assert wire.cuts == 1
        assert await sql.fetchval("select count(*) from messages where content = 'B2'") == 1

    async def test_a_reload_before_it_is_back_has_the_edit_in_its_field(
        self, wired: ChatPage, wire: HttpWire, sql: Sql
    ) -> None:
        field = await begin_edit(wired, 1)
        await field.fill("B2")
        await wired.page.route("**/messages", lambda route: route.abort())
        await field.press("Enter")
        await expect(wired.asked).to_have_text(["A", "B2"])
        await wired.page.unroute("**/messages")
        await wired.page.reload()
        await expect(editor(wired)).to_have_value("B2")
        await expect(wired.said).to_have_text(["a", "b"])
        assert await sql.fetchval("select count(*) from messages where content = 'B2'") == 0

    async def test_a_version_that_cannot_be_fetched_is_told_and_fetched_later(
        self, wired: ChatPage, wire: HttpWire
    ) -> None:
        await edit(wired, 1, "B2", "b2")
        question = wired.questions.nth(1)
        wire.cut()
        await tool(question, "Previous version").click()
        await expect(wired.page.get_by_text("Network error")).to_be_visible()
        await expect(wired.asked).to_have_text(["A", "B2"])
        wire.mend()
        await tool(question, "Previous version").click()
        await expect(wired.asked).to_have_text(["A", "B"])
        await until(lambda: version(question).is_visible())
