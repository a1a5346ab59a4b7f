"""The page: questions and answers."""

from __future__ import annotations

import asyncio
import re

import pytest
from playwright.async_api import BrowserContext, Route, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served


async def test_an_answer_grows_as_it_is_written(chat: ChatPage) -> None:
    call = await chat.ask("How is chai made?", "Boil ")
    await expect(chat.asked).to_have_text("How is chai made?")
    await expect(chat.said).to_have_text("Boil")
    call.say("**milk**", " first")
    await expect(chat.answers.locator("strong")).to_have_text("milk")
    await expect(chat.answers).to_have_attribute("aria-busy", "true")
    call.finish(".")
    await chat.idle()
    await expect(chat.said).to_have_text("Boil milk first.")
    assert await chat.answers.get_attribute("aria-busy") is None
    await expect(chat.answers.locator(".message-foot")).to_contain_text("4 tokens")


async def test_the_first_message_makes_the_conversation_and_its_title(chat: ChatPage) -> None:
    await expect(chat.rows).to_have_count(0)
    await chat.exchange("How is\nchai   made?", "Boil.")
    await expect(chat.rows).to_have_text(["How is chai made?"])
    await expect(chat.page).to_have_title("How is chai made? · samosaChaat")
    assert "#/" in chat.page.url
    await chat.page.reload()
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("How is chai made?")
    await expect(chat.said).to_have_text("Boil.")


async def test_markdown_is_shown_with_code_in_colours_that_can_be_copied(
    chat: ChatPage, context: BrowserContext, service: Served
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.address)
    code = "def brew():\n    return 'tea'\n"
    text = f"# Chai\n\n```python\n{code}```\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n- [x] done"
    await chat.exchange("?", *(text[place : place + 3] for place in range(0, len(text), 3)))
    await expect(chat.answers.get_by_role("heading", name="Chai", level=3)).to_be_visible()
    await expect(chat.answers.locator("pre .hljs-keyword").first).to_have_text("def")
    await expect(chat.answers.get_by_role("cell")).to_have_text(["1", "2"])
    await expect(chat.answers.get_by_role("listitem")).to_have_text("☑ done")
    await chat.answers.get_by_role("button", name="Copy", exact=True).click()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == code
    await chat.button("Copy the answer").click()
    assert await chat.page.evaluate("navigator.clipboard.readText()") == text


async def test_a_reload_in_mid_answer_goes_on_with_it(chat: ChatPage) -> None:
    call = await chat.ask("Hi", "one ", "two ")
    await expect(chat.answers).to_contain_text("one two")
    await chat.page.reload()
    await expect(chat.asked).to_have_text("Hi")
    await expect(chat.answers).to_contain_text("one two")
    await expect(chat.button("Stop")).to_be_enabled()
    call.finish("three")
    await chat.idle()
    await expect(chat.said).to_have_text("one two three")
    assert len(chat.model.requests) == 1


async def test_two_tabs_see_the_same_answer_grow(context: BrowserContext, service: Served) -> None:
    token = service.token()
    first = await open_tab(context, service.address, token, service.model)
    await first.exchange("Hi", "Hello.")
    second = await open_tab(context, service.address, token, service.model)
    await second.row("Hi").click()
    await expect(second.said).to_have_text("Hello.")
    call = await first.ask("More?", "one ")
    for tab in (first, second):
        await expect(tab.asked).to_have_text(["Hi", "More?"])
        await expect(tab.answers.last).to_contain_text("one")
    call.say("two ")
    await expect(second.answers.last).to_contain_text("one two")
    call.finish("three")
    for tab in (first, second):
        await tab.idle()
        await expect(tab.said.last).to_have_text("one two three")
        await expect(tab.answers).to_have_count(2)


async def test_a_new_conversation_shows_up_in_the_other_tabs_sidebar(
    context: BrowserContext, service: Served
) -> None:
    token = service.token()
    first = await open_tab(context, service.address, token, service.model)
    second = await open_tab(context, service.address, token, service.model)
    await expect(second.page.get_by_text("Your conversations will appear here.")).to_be_visible()
    await first.exchange("Hi", "Hello.")
    await expect(second.rows).to_have_text(["Hi"])


async def test_stop_ends_the_model_and_keeps_the_text(chat: ChatPage) -> None:
    call = await chat.ask("Hi", "one ")
    await expect(chat.answers).to_contain_text("one")
    await chat.button("Stop").click()
    await asyncio.wait_for(call.closed.wait(), 5)
    await chat.idle()
    await expect(chat.said).to_have_text("one")
    await expect(chat.answers).to_contain_text("You stopped this answer.")
    await chat.page.reload()
    await expect(chat.answers).to_contain_text("You stopped this answer.")


async def test_stop_before_the_first_token(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    await chat.page.keyboard.press("Escape")
    await asyncio.wait_for(call.closed.wait(), 5)
    await chat.idle()
    await expect(chat.prompt).to_be_focused()


async def test_regenerate_replaces_the_answer(chat: ChatPage) -> None:
    await chat.exchange("Hi", "first")
    await chat.button("Regenerate the answer").click()
    call = await chat.model.call()
    call.say("second ")
    await expect(chat.said).to_have_text(["second"])
    call.finish("try")
    await chat.idle()
    await expect(chat.said).to_have_text(["second try"])
    await chat.page.reload()
    await expect(chat.said).to_have_text(["second try"])


async def test_a_reload_while_it_regenerates_shows_the_new_answer_alone(chat: ChatPage) -> None:
    await chat.exchange("Hi", "first")
    await chat.button("Regenerate the answer").click()
    call = await chat.model.call()
    call.say("second ")
    await expect(chat.said).to_have_text(["second"])
    await chat.page.reload()
    await expect(chat.said).to_have_text(["second"])
    call.finish("try")
    await chat.idle()
    await expect(chat.said).to_have_text(["second try"])


async def test_after_a_failure_the_old_answer_is_back_and_may_be_tried_again(chat: ChatPage) -> None:
    await chat.exchange("Hi", "first")
    await chat.button("Regenerate the answer").click()
    (await chat.model.call()).close()
    await expect(chat.said).to_have_text(["first"])
    await expect(chat.answers).to_contain_text("broke off")
    await chat.button("Try again").click()
    (await chat.model.call()).finish("second")
    await expect(chat.said).to_have_text(["second"])
    await expect(chat.button("Try again")).to_have_count(0)


async def test_an_answer_that_breaks_off_keeps_its_text_and_may_be_tried_again(chat: ChatPage) -> None:
    call = await chat.ask("Hi", "half an ")
    await expect(chat.answers).to_contain_text("half an")
    call.cut()
    await expect(chat.answers).to_contain_text("The model server broke off")
    await expect(chat.answers).to_contain_text("half an")
    await chat.page.reload()
    await expect(chat.answers).to_contain_text("The answer was interrupted.")
    await chat.button("Try again").click()
    (await chat.model.call()).finish("a whole answer")
    await chat.idle()
    await expect(chat.said).to_have_text(["a whole answer"])


async def test_a_model_that_fails_is_told_and_the_question_is_stored_once(chat: ChatPage) -> None:
    chat.model.refuse = (500, "no")
    await chat.send("Hi")
    await expect(chat.answers.get_by_role("button", name="Try again")).to_be_visible()
    await chat.idle()
    await expect(chat.answers).to_contain_text("The model server failed. Try again.")
    await chat.page.reload()
    await expect(chat.answers).to_contain_text("The model server failed. Try again.")
    chat.model.refuse = None
    chat.model.say = ["now"]
    await chat.button("Try again").click()
    await expect(chat.said).to_have_text(["now"])
    await expect(chat.questions).to_have_count(1)


async def test_a_question_that_is_refused_stands_there_to_be_sent_again(
    chat: ChatPage, console: Console
) -> None:
    console.allow("status of 500")
    refused = '{"detail": "Try again in a while.", "code": "busy"}'
    await chat.page.route(
        "**/messages",
        lambda route: route.fulfill(status=500, body=refused, content_type="application/json"),
        times=1,
    )
    await chat.send("Hi")
    await expect(chat.questions).to_contain_text("Try again in a while.")
    await expect(chat.answers).to_have_count(0)
    chat.model.say = ["Hello."]
    await chat.button("Send again").click()
    await expect(chat.said).to_have_text("Hello.")
    await expect(chat.questions).to_have_count(1)
    await expect(chat.button("Send again")).to_have_count(0)
    await chat.page.reload()
    await expect(chat.questions).to_have_count(1)


async def test_leaving_for_another_conversation_and_coming_back_finds_the_answer(chat: ChatPage) -> None:
    await chat.exchange("First", "1")
    await chat.button("New chat").click()
    call = await chat.ask("Second", "two ")
    await expect(chat.answers).to_contain_text("two")
    await chat.row("First").click()
    await expect(chat.said).to_have_text(["1"])
    await expect(chat.button("Send")).to_be_visible()
    call.say("three ")
    await chat.row("Second").click()
    await expect(chat.answers).to_contain_text("two three")
    call.finish("four")
    await chat.idle()
    await expect(chat.said).to_have_text(["two three four"])


async def test_a_draft_survives_a_reload_and_belongs_to_its_conversation(chat: ChatPage) -> None:
    await chat.exchange("First", "1")
    await chat.prompt.fill("half a thought")
    await chat.button("New chat").click()
    await expect(chat.prompt).to_have_value("")
    await chat.row("First").click()
    await expect(chat.prompt).to_have_value("half a thought")
    await chat.page.reload()
    await expect(chat.prompt).to_have_value("half a thought")


async def test_too_long_a_message_is_counted_and_not_sent(chat: ChatPage) -> None:
    await chat.prompt.fill("😀" * 8001)
    await expect(chat.page.get_by_text("1 too many")).to_be_visible()
    await expect(chat.button("Send")).to_be_disabled()
    await chat.prompt.fill("😀" * 8000)
    await expect(chat.page.get_by_text("0 left")).to_be_visible()
    chat.model.say = ["ok"]
    await chat.prompt.press("Enter")
    await expect(chat.said).to_have_text("ok")


async def test_a_suggestion_begins_a_conversation(chat: ChatPage) -> None:
    await chat.button("Explain why the sky is blue, to a curious child").click()
    (await chat.model.call()).finish("Light.")
    await expect(chat.asked).to_have_text("Explain why the sky is blue, to a curious child")
    await expect(chat.said).to_have_text("Light.")


async def test_what_is_sent_right_after_new_chat_goes_into_the_new_one(chat: ChatPage) -> None:
    await chat.exchange("First", "1")
    chat.model.say = ["2"]
    await chat.page.evaluate("""() => {
        document.getElementById("new-chat").click();
        const prompt = document.getElementById("prompt");
        prompt.value = "Second";
        prompt.dispatchEvent(new Event("input"));
        prompt.form.requestSubmit();
    }""")
    await expect(chat.said).to_have_text(["2"])
    await expect(chat.asked).to_have_text(["Second"])
    await expect(chat.rows).to_have_text(["Second", "First"])


async def test_back_and_forward_go_through_the_conversations(chat: ChatPage) -> None:
    for word in ("First", "Second"):
        await chat.button("New chat").click()
        await chat.exchange(word, f"{word} answer")
    await chat.row("First").click()
    await expect(chat.said).to_have_text(["First answer"])
    await chat.page.go_back()
    await expect(chat.said).to_have_text(["Second answer"])
    await chat.page.go_forward()
    await expect(chat.said).to_have_text(["First answer"])
    await expect(chat.row("First").get_by_role("link")).to_have_attribute("aria-current", "page")


async def test_another_model_chosen_in_a_conversation_begins_a_new_one(chat: ChatPage) -> None:
    await chat.exchange("Hi", "Hello.")
    await chat.button("Model: m1").click()
    await chat.page.get_by_role("menuitemradio", name="m2").click()
    await expect(chat.questions).to_have_count(0)
    await expect(chat.button("Model: m2")).to_be_visible()
    await chat.exchange("And you?", "Me too.")
    await expect(chat.button("Model: m2")).to_be_visible()


async def test_another_model_answers_a_new_conversation(chat: ChatPage) -> None:
    await chat.button("Model: m1").click()
    await chat.page.get_by_role("menuitemradio", name="m2").click()
    await expect(chat.button("Model: m2")).to_be_visible()
    await chat.exchange("Hi", "Hello.")
    await expect(chat.button("Model: m2")).to_be_visible()
    await chat.button("New chat").click()
    await expect(chat.button("Model: m1")).to_be_visible()


async def test_an_administrator_has_the_server_load_another_model_and_others_are_refused(
    context: BrowserContext, service: Served, console: Console
) -> None:
    chat = await open_tab(context, service.address, service.token(is_admin=True), service.model)
    await chat.button("Model: m1").click()
    await chat.page.get_by_role("menuitem", name="Load m2 on the server").click()
    await expect(chat.page.get_by_text("The server is loading m2.")).to_be_visible()
    assert service.model.swapped == {"model_tag": "m2"}
    console.allow("status of 403")
    other = await open_tab(context, service.address, service.token(), service.model)
    await other.button("Model: m1").click()
    await other.page.get_by_role("menuitem", name="Load m2 on the server").click()
    await expect(other.page.get_by_text("Only administrators may do this.")).to_be_visible()


async def test_a_question_that_comes_second_waits_in_the_box_and_the_first_answer_is_shown(
    context: BrowserContext, service: Served, console: Console
) -> None:
    console.allow("status of 409")
    token = service.token()
    first = await open_tab(context, service.address, token, service.model)
    await first.exchange("Hi", "Hello.")
    second = await open_tab(context, service.address, token, service.model)
    await second.row("Hi").click()
    await expect(second.said).to_have_text(["Hello."])
    # So it doesn't learn of the other tab's answer, by a look that is under way either.
    console.allow("ERR_FAILED")
    async with second.page.expect_event("requestfailed"):
        await second.page.route("**/api/conversations/*?limit=1", lambda route: route.abort())
    call = await first.ask("One", "one ")
    await second.send("Two")
    await expect(second.prompt).to_have_value("Two")
    await expect(second.asked).to_have_text(["Hi", "One"])
    await expect(second.said.last).to_have_text("one")
    call.finish("done")
    await second.idle()
    await expect(second.said.last).to_have_text("one done")


async def test_a_question_to_a_conversation_that_was_deleted_begins_another_one(
    context: BrowserContext, service: Served, console: Console
) -> None:
    console.allow("status of 404")
    token = service.token()
    chat = await open_tab(context, service.address, token, service.model)
    await chat.exchange("Hi", "Hello.")
    await (
        chat.page.reload()
    )  # an answer is followed by a look at its conversation, which could see the deletion
    await expect(chat.said).to_have_text(["Hello."])
    conversation = chat.page.url.rpartition("/")[2]
    # So it isn't told of the deletion, by a look that is under way either.
    console.allow("ERR_FAILED")
    async with chat.page.expect_event("requestfailed"):
        await chat.page.route("**/api/conversations/*?limit=1", lambda route: route.abort())
    await delete(service, conversation, token)
    await chat.send("Still there?")
    await expect(chat.questions.last).to_contain_text("There is no such conversation.")
    chat.model.say = ["Yes."]
    await chat.button("Send again").click()
    await expect(chat.said).to_have_text(["Yes."])
    await expect(chat.asked).to_have_text(["Still there?"])
    assert conversation not in chat.page.url


async def test_a_conversation_deleted_as_its_answer_ends_is_gone_and_the_next_message_begins_another(
    context: BrowserContext, service: Served, console: Console
) -> None:
    console.allow("status of 404")
    token = service.token()
    chat = await open_tab(context, service.address, token, service.model)
    deleted = asyncio.Event()

    async def look(route: Route) -> None:
        await deleted.wait()
        await route.continue_()

    await chat.page.route(re.compile(r"/api/conversations/[^/?]+$"), look)
    await chat.exchange("Hi", "Hello.")
    conversation = chat.page.url.rpartition("/")[2]
    await delete(service, conversation, token)
    deleted.set()
    await expect(chat.page.get_by_text("This conversation no longer exists.")).to_be_visible()
    await chat.exchange("Still there?", "Yes.")
    await expect(chat.asked).to_have_text(["Still there?"])
    await expect(chat.said).to_have_text(["Yes."])
    assert conversation not in chat.page.url


async def delete(service: Served, conversation: str, token: str) -> None:
    """Delete a conversation from elsewhere."""
    headers = {"Authorization": f"Bearer {token}"}
    response = await service.client.delete(f"/api/conversations/{conversation}", headers=headers)
    assert response.status == 204


@pytest.mark.parametrize(
    "text",
    [
        ">" * 4000,
        "> " * 300,
        "- " * 3900,
        "1. " * 1500,
        ">" * 5,
        "*" * 4000 + "a",
        "[" * 3000,
        "\n".join("  " * level + "- x" for level in range(150)),
    ],
    ids=lambda text: f"{len(text)} of {text[:3]}",
)
async def test_an_answer_that_markdown_cant_show_is_shown_as_it_was_written(
    chat: ChatPage, text: str
) -> None:
    await chat.exchange("?", "Before.\n\n", text)
    said = await chat.said.inner_text()
    assert said.startswith("Before.")
    assert len(said.split()) > 1
    await chat.page.reload()
    # The text as it is shown, a moment after it has arrived.
    await expect(chat.said).to_have_text(re.compile(r"Before\.\s*\S"), use_inner_text=True)
    await chat.exchange("And now?", "Fine.")
    await expect(chat.said.last).to_have_text("Fine.")


async def test_few_quotes_and_lists_within_each_other_stay_such(chat: ChatPage) -> None:
    await chat.exchange("?", "> > deep\n\n- - in\n\n---")
    await expect(chat.said.locator("blockquote blockquote")).to_have_text("deep")
    await expect(chat.said.locator("li li")).to_have_text("in")
    await expect(chat.said.locator("hr")).to_have_count(1)


async def test_a_double_click_on_send_doesnt_stop_the_answer(chat: ChatPage) -> None:
    await chat.prompt.fill("Hi")
    await chat.button("Send").dblclick(delay=40)
    call = await chat.model.call()
    call.say("one ")
    await expect(chat.said).to_have_text("one")
    await chat.button("Stop").click()  # later, a click is intended
    await expect(chat.answers).to_contain_text("You stopped this answer.")
    await expect(chat.prompt).to_be_focused()


async def test_escape_stops_at_once(chat: ChatPage) -> None:
    await chat.ask("Hi", "one ")
    await expect(chat.said).to_have_text("one")
    await chat.prompt.press("Escape")
    await expect(chat.answers).to_contain_text("You stopped this answer.", timeout=5000)


async def test_a_message_of_invisible_characters_is_empty(chat: ChatPage) -> None:
    await chat.prompt.fill(" \u200b\u2060\ufeff\u200d\u3164\u2800\u00ad ")
    await expect(chat.button("Send")).to_be_disabled()
    await chat.prompt.press("Enter")
    await expect(chat.questions).to_have_count(0)
    await chat.prompt.fill("\u200b☕\ufe0f")
    await expect(chat.button("Send")).to_be_enabled()
