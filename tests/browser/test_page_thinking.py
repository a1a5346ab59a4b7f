"""The page: what models say beside text, and why they say nothing."""

from __future__ import annotations

import json
from typing import Literal

import pytest
from playwright.async_api import BrowserContext, Route, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.browser.openai import begin_call, end, go_on, say, speaking_openai, think
from tests.browser.test_page_access import faults
from tests.browser.test_page_safety import ATTACKS, Watch
from tests.support.model_server import ModelServer

CITY = '{"city":"Pune","id":12345678901234567890}'


@pytest.fixture
def settings(settings: Settings, model: ModelServer) -> Settings:
    return speaking_openai(settings, model)


async def test_thinking_is_folded_and_told_while_it_lasts_and_afterwards(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "They ", "greet **me**.")
    summary = chat.thinking.locator("summary")
    await expect(summary).to_have_text("Thinking…")
    await expect(chat.thinking.get_by_text("greet")).to_be_hidden()
    await expect(chat.page.locator(".waiting")).to_have_count(
        0
    )  # it isn't told twice that the model is at work
    say(call, "Hello.")
    await expect(summary).to_have_text("Thought for 1 s")
    end(call)
    await chat.idle()
    await expect(chat.said).to_have_text("Hello.")
    await expect(summary).to_have_text("Thought for 1 s")
    await summary.press("Enter")
    await expect(chat.thinking.locator("strong")).to_have_text("me")
    await expect(chat.thinking.locator(".prose")).to_have_text("They greet me.")
    await summary.press("Enter")
    await expect(chat.thinking.locator("strong")).to_be_hidden()


async def test_thinking_is_there_after_a_reload_and_not_in_the_copied_answer(
    chat: ChatPage, context: BrowserContext, service: Served
) -> None:
    await context.grant_permissions(["clipboard-read", "clipboard-write"], origin=service.address)
    call = await chat.ask("Hi")
    think(call, "They greet.")
    say(call, "Hello.")
    end(call)
    await chat.idle()
    for _ in range(2):
        await chat.button("Copy the answer").click()
        assert await chat.page.evaluate("navigator.clipboard.readText()") == "Hello."
        await chat.page.reload()
        await expect(chat.thinking.locator("summary")).to_have_text("Thinking")
        await expect(chat.said).to_have_text("Hello.")
    await chat.thinking.locator("summary").click()
    await expect(chat.thinking.locator(".prose")).to_have_text("They greet.")


async def test_opened_thinking_grows_until_the_text_begins_and_again_after_it(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "one ")
    await chat.thinking.locator("summary").click()
    thought = chat.thinking.locator(".prose")
    await expect(thought).to_have_text("one")
    think(call, "two ")
    await expect(thought).to_have_text("one two")
    say(call, "Hello")
    await expect(chat.said).to_have_text("Hello")
    think(call, "three")
    await expect(thought).to_have_text("one two three")
    await expect(chat.thinking.locator("summary")).to_have_text("Thinking…")
    say(call, " you.")
    end(call)
    await chat.idle()
    await expect(chat.said).to_have_text("Hello you.")
    await expect(thought).to_have_text("one two three")


async def test_opening_what_was_thought_leaves_the_reader_where_they_are(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, *["A thought.\n\n"] * 100)
    say(call, "Hello.")
    end(call)
    await chat.idle()
    summary = chat.thinking.locator("summary")
    await summary.click()
    await expect(chat.button("Latest")).to_be_visible()
    await expect(summary).to_be_in_viewport()
    await summary.click()
    await expect(chat.said).to_be_in_viewport()


async def test_a_reload_while_it_thinks_goes_on_with_it_and_makes_up_no_time(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "one ")
    await expect(chat.thinking).to_be_visible()
    await chat.page.reload()
    await expect(chat.thinking.locator("summary")).to_have_text("Thinking…")
    think(call, "two")
    say(call, "Hello.")
    end(call)
    await chat.idle()
    await expect(chat.thinking.locator("summary")).to_have_text("Thinking")
    await chat.thinking.locator("summary").click()
    await expect(chat.thinking.locator(".prose")).to_have_text("one two")


async def test_thinking_is_not_announced(chat: ChatPage) -> None:
    await chat.page.evaluate("""() => {
        window.announced = [];
        const place = document.getElementById("announcer");
        new MutationObserver(() => announced.push(place.textContent)).observe(place, { childList: true });
    }""")
    call = await chat.ask("Hi")
    think(call, "secret ", "thought")
    await expect(chat.thinking).to_be_visible()
    say(call, "Hello.")
    end(call)
    await chat.idle()
    await chat.page.wait_for_function("announced.includes('Hello.')")
    assert "thought" not in "".join(await chat.page.evaluate("announced"))
    assert (
        await chat.thinking.evaluate("(node) => node.closest('[aria-live], [role=status], [role=log]')")
        is None
    )


async def test_a_line_break_is_no_thought(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "\n")
    say(call, "Hello.")
    end(call)
    await chat.idle()
    await expect(chat.thinking).to_be_hidden()


async def test_the_next_question_has_thinking_of_its_own(chat: ChatPage) -> None:
    for thought in ("first", "second"):
        call = await chat.ask("Hi")
        think(call, thought)
        say(call, "Hello.")
        end(call)
        await chat.idle()
    await expect(chat.thinking).to_have_count(2)
    await chat.thinking.last.locator("summary").click()
    await expect(chat.thinking.last.locator(".prose")).to_have_text("second")


async def test_calls_are_shown_as_they_are_written_and_after_a_reload(chat: ChatPage) -> None:
    call = await chat.ask("Weather?")
    begin_call(call, 0, "call_1", "weather", CITY[:9])
    await expect(chat.calls).to_have_count(1)
    await expect(chat.calls.locator(".call-name")).to_have_text("weather")
    await expect(chat.calls.get_by_role("group", name="Arguments")).to_have_text(CITY[:9])
    go_on(call, 0, CITY[9:])
    begin_call(call, 1, "call_2", "time")
    await expect(chat.calls.locator(".call-name")).to_have_text(["weather", "time"])
    end(call, "tool_calls")
    await chat.idle()
    for _ in range(2):
        await expect(chat.calls.locator(".call-name")).to_have_text(["weather", "time"])
        await expect(chat.calls.first.get_by_role("group", name="Arguments")).to_have_text(CITY)
        await expect(chat.answers).to_contain_text("The answer waits for the results of its tool calls.")
        await expect(chat.button("Try again")).to_have_count(0)
        await expect(chat.button("Copy the answer")).to_have_count(0)  # there is no text
        await chat.page.reload()


async def test_calls_that_the_conversation_went_past_wait_no_longer(chat: ChatPage) -> None:
    call = await chat.ask("Weather?")
    begin_call(call, 0, "call_1", "weather", CITY)
    end(call, "tool_calls")
    await chat.idle()
    call = await chat.ask("Never mind.")
    say(call, "Fine.")
    end(call)
    await chat.idle()
    for _ in range(2):
        await expect(chat.said).to_have_text(["", "Fine."])
        await expect(chat.answers.first).not_to_contain_text("waits for the results")
        await chat.page.reload()


async def test_results_belong_to_their_calls_and_are_nobodys_messages(chat: ChatPage) -> None:
    call = await chat.ask("Weather?")
    say(call, "Let me see.")
    begin_call(call, 0, "call_1", "weather", CITY)
    begin_call(call, 1, "call_2", "time", "{}")
    end(call, "tool_calls")
    await chat.idle()
    said_after: list[str] = []

    async def with_results(route: Route) -> None:
        conversation = await (await route.fetch()).json()
        last = conversation["messages"][-1]
        results = [("call_2", "noon"), ("call_1", "<b>rain</b>")]
        conversation["messages"] += [
            {**last, "id": f"r{place}", "role": "tool", "content": text, "tool_call_id": call_id}
            for place, (call_id, text) in enumerate(results)
        ] + [
            {**last, "id": "a", "content": text, "tool_calls": None, "finish_reason": "stop"}
            for text in said_after
        ]
        await route.fulfill(json=conversation)

    await chat.page.route("**/api/conversations/*-*", with_results)
    await chat.page.reload()
    await expect(chat.calls).to_have_count(2)
    await expect(chat.asked).to_have_text(["Weather?"])
    await expect(chat.said).to_have_text(["Let me see.", ""])  # the second says that there is no answer yet
    await expect(chat.answers.last).to_contain_text("There is no answer to this yet.")
    await expect(chat.answers.first).not_to_contain_text("waits for the results")
    await chat.calls.first.get_by_text("Result").click()
    await expect(chat.calls.first.get_by_role("group", name="Result")).to_have_text("<b>rain</b>")
    said_after.append("It rains.")
    await chat.page.reload()
    await expect(chat.said).to_have_text(["Let me see.", "It rains."])
    await chat.page.unroute_all(behavior="wait")


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("stop", "The model ended its answer without saying anything."),
        ("content_filter", "The model server's content filter withheld the answer."),
        ("length", "The answer reached its maximum length before its text began."),
    ],
)
async def test_an_answer_of_nothing_says_why_at_once_and_after_a_reload(
    chat: ChatPage, reason: str, told: str
) -> None:
    end(await chat.ask("Hi"), reason)
    await expect(chat.answers).to_contain_text(told)
    await chat.idle()
    await expect(chat.answers).to_contain_text(told)
    await chat.page.reload()
    await expect(chat.answers).to_contain_text(told)
    await chat.button("Try again").click()
    call = await chat.model.call()
    say(call, "Hello.")
    end(call)
    await expect(chat.said).to_have_text(["Hello."])
    await chat.idle()
    await expect(chat.button("Try again")).to_have_count(0)
    await expect(chat.questions).to_have_count(1)


async def test_thinking_that_was_cut_says_so_at_once_and_after_a_reload(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "Let me see")
    end(call, "length")
    await chat.idle()
    for _ in range(2):
        await expect(chat.thinking).to_be_visible()
        await expect(chat.answers).to_contain_text("reached its maximum length before its text began.")
        await expect(chat.button("Try again")).to_be_visible()
        await chat.page.reload()


async def test_only_thinking_is_not_taken_for_an_empty_page(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "Nothing to say.")
    end(call)
    await chat.idle()
    for _ in range(2):
        await expect(chat.answers).to_contain_text("The model only thought, and said nothing.")
        await chat.page.reload()


async def test_a_filtered_answer_keeps_its_text_and_says_so(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    say(call, "Half an ")
    end(call, "content_filter")
    await chat.idle()
    for _ in range(2):
        await expect(chat.said).to_have_text("Half an")
        await expect(chat.answers).to_contain_text("The model server's content filter cut this answer off.")
        await chat.page.reload()


async def test_a_stop_while_it_thinks_keeps_the_thinking(chat: ChatPage) -> None:
    call = await chat.ask("Hi")
    think(call, "Let me see")
    await expect(chat.thinking).to_be_visible()
    await chat.button("Stop").click()
    await chat.idle()
    for _ in range(2):
        await expect(chat.thinking.locator("summary")).not_to_have_text("Thinking…")
        await expect(chat.answers).to_contain_text("You stopped this answer.")
        await chat.page.reload()


async def test_a_stop_before_anything_was_said_says_so_after_a_reload(chat: ChatPage) -> None:
    await chat.ask("Hi")
    await chat.page.keyboard.press("Escape")
    await chat.idle()
    for _ in range(2):
        await expect(chat.answers).to_contain_text("You stopped this answer.")
        await expect(chat.button("Try again")).to_be_visible()
        await chat.page.reload()


async def test_the_other_tab_sees_thinking_and_calls_too(context: BrowserContext, service: Served) -> None:
    token = service.token()
    first = await open_tab(context, service.address, token, service.model)
    call = await first.ask("Hi")
    say(call, "Hello.")
    end(call)
    await first.idle()
    second = await open_tab(context, service.address, token, service.model)
    await second.row("Hi").click()
    await expect(second.said).to_have_text("Hello.")
    call = await first.ask("Weather?")
    think(call, "hm")
    begin_call(call, 0, "call_1", "weather", CITY)
    await expect(second.thinking.last).to_be_visible()
    await expect(second.calls).to_contain_text(CITY)
    end(call, "tool_calls")
    await second.idle()
    await expect(second.calls).to_contain_text(CITY)


async def test_attacks_in_thinking_and_calls(chat: ChatPage, service: Served) -> None:
    await chat.page.add_init_script("window.hurt = () => window.hurt.calls++; window.hurt.calls = 0;")
    await chat.page.reload()
    watch = Watch(chat.page, service.address)
    call = await chat.ask("?")
    for place, attack in enumerate(ATTACKS):
        think(call, attack, "\n\n")
        begin_call(call, place, f"c{place}", attack, json.dumps({"a": attack}))
    end(call, "tool_calls")
    await chat.idle()
    for _ in range(2):
        await expect(chat.calls).to_have_count(len(ATTACKS))
        await chat.thinking.locator("summary").click()
        await expect(chat.thinking.locator(".prose")).to_contain_text("<img src=x onerror=hurt()>")
        await watch.nothing_happened()
        inside = await chat.calls.locator("*").evaluate_all("(nodes) => nodes.map((node) => node.localName)")
        assert set(inside) == {"div", "svg", "path", "span", "bdi", "pre"}
        await chat.page.reload()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [1200, 360])
async def test_no_fault_of_access_and_nothing_is_wider_than_the_screen(
    chat: ChatPage, console: Console, theme: Literal["light", "dark"], width: int
) -> None:
    console.allow("TrustedHTML|TrustedScript")  # axe's own
    await chat.page.set_viewport_size({"width": width, "height": 800})
    await chat.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    call = await chat.ask("Hi")
    think(call, "a" * 500, "\n\n```\n", "b" * 500, "\n```\n")
    await chat.thinking.locator("summary").click()
    begin_call(call, 0, "call_1", "n" * 64, json.dumps(["c" * 500] * 20))
    await expect(chat.calls).to_be_visible()
    assert await faults(chat.page) == []
    end(call, "tool_calls")
    await chat.idle()
    assert await faults(chat.page) == []
    assert await chat.page.evaluate("document.documentElement.scrollWidth") == width
    thread = "(node) => node.scrollWidth - node.clientWidth"
    assert await chat.page.locator("#thread").evaluate(thread) == 0
