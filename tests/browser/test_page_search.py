"""The page: a search in titles and in what was said, by a script in the place of the service's search."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from playwright.async_api import BrowserContext, Locator, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.browser.library import Search, answer, conversations_of, hit, refusal
from tests.browser.test_page_conversations import fill, open_with
from tests.browser.test_page_speed import DRAWN, many_messages
from tests.browser.test_page_tree import edit
from tests.support.chat import Sql, until

NOBODY = "01a20000-0000-7000-8000-000000000000"


def field(chat: ChatPage) -> Locator:
    """The field of the search."""
    return chat.page.get_by_label("Search titles and messages")


def found(chat: ChatPage) -> Locator:
    """The messages that a search found."""
    return chat.page.get_by_role("region", name="Messages").get_by_role("listitem")


def titles(chat: ChatPage) -> Locator:
    """The titles that a search found."""
    return chat.page.get_by_role("region", name="Titles").get_by_role("listitem")


def outcome(chat: ChatPage) -> Locator:
    """What is shown of the search in messages."""
    return chat.page.locator(".found")


async def hear(chat: ChatPage) -> None:
    """Record what a screen reader is told."""
    await chat.page.evaluate("""() => {
        window.heard = [];
        const place = document.getElementById("announcer");
        new MutationObserver(() => place.textContent && heard.push(place.textContent))
            .observe(place, { childList: true, characterData: true, subtree: true });
    }""")


async def ids(chat: ChatPage) -> list[str]:
    """The ids of the open conversation's messages, also of versions that aren't shown."""
    found: list[str] = await chat.page.evaluate(
        """async () => {
            const headers = { Authorization: `Bearer ${sessionStorage["chat.token"]}` };
            const id = location.hash.slice(2);
            const { messages } = await (await fetch(`api/conversations/${id}`, { headers })).json();
            return messages.flatMap((each) => each.siblings?.ids ?? [each.id]);
        }"""
    )
    return found


async def test_it_finds_titles_and_text_and_marks_the_words(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "tea with milk", "water")
    known = await conversations_of(chat.page)
    snippet = '… <b>milk</b> in «tea», and «Tea» & "more" …'
    search.answers[("tea", None)] = answer(
        [hit(known["tea with milk"], None, "«tea» with milk"), hit(known["water"], NOBODY, snippet)]
    )
    await hear(chat)
    await field(chat).press_sequentially("tea", delay=20)
    await expect(found(chat)).to_contain_text(['… <b>milk</b> in tea, and Tea & "more" …'])
    await expect(found(chat)).to_contain_text(["water"])
    await expect(found(chat).locator("mark")).to_have_text(["tea", "Tea"])
    await expect(titles(chat)).to_have_text(["tea with milk"])
    await until(lambda: chat.page.evaluate("heard.length"))
    assert await chat.page.evaluate("heard") == ["Found: 1 title, 1 message."]
    assert search.asked == [("tea", None)]  # not each letter
    landmark = chat.page.get_by_role("search", name="Conversations and messages")
    await expect(landmark.get_by_role("searchbox")).to_be_visible()


async def test_no_older_answer_is_shown_over_a_newer_one(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    search.answers[("old", None)] = answer([hit(conversation, NOBODY, "the «old» one")])
    search.answers[("new", None)] = answer([hit(conversation, NOBODY, "the «new» one")])
    search.held["old"] = asyncio.Event()
    async with chat.page.expect_event("requestfailed"):  # it is aborted
        async with chat.page.expect_request("**/api/search?*"):
            await field(chat).fill("old")
        await field(chat).fill("new")
    await expect(found(chat)).to_contain_text(["the new one"])
    search.held["old"].set()
    await chat.page.wait_for_timeout(300)
    await expect(found(chat)).to_contain_text(["the new one"])


async def test_nothing_found_says_what_was_searched(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "tea")
    await hear(chat)
    await field(chat).fill(' "no such" <thing> ')
    sentence = 'Nothing was found for “"no such" <thing>”. Titles and messages were searched.'
    await expect(outcome(chat)).to_contain_text(sentence)
    await until(lambda: chat.page.evaluate("heard.length"))
    assert await chat.page.evaluate("heard") == [sentence]
    await field(chat).fill("tea")
    await expect(outcome(chat)).to_contain_text("No message has this.")
    await expect(titles(chat)).to_have_text(["tea"])
    await field(chat).press("Escape")
    await expect(chat.rows).to_have_text(["tea"])
    await expect(chat.page.locator(".found")).to_be_hidden()


async def test_phrases_and_words_that_may_not_be_there_hold_for_titles_too(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "green tea", "tea, green", "black tea")
    await field(chat).fill("tea -black")
    await expect(titles(chat)).to_have_text(["tea, green", "green tea"])
    await field(chat).fill('"green tea"')
    await expect(titles(chat)).to_have_text(["green tea"])
    await field(chat).fill("téa -bla")  # not a word of it
    await expect(titles(chat)).to_have_text(["black tea", "tea, green", "green tea"])
    await field(chat).fill("-tea")
    await expect(chat.page.get_by_text("Nothing was found.")).to_be_visible()
    assert all(words != "-tea" for words, _ in search.asked)


async def test_a_title_that_only_the_service_finds_is_shown(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "Am Straßenrand", "tea")
    known = await conversations_of(chat.page)
    search.answers[("strasse", None)] = answer([hit(known["Am Straßenrand"], None, "Am «Straßenrand»")])
    await field(chat).fill("strasse")
    await expect(titles(chat)).to_have_text(["Am Straßenrand"])


async def test_of_many_titles_a_few_are_shown_and_the_others_when_asked_for(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, *(f"talk {number}" for number in range(9)))
    known = await conversations_of(chat.page)
    search.answers[("talk", None)] = answer([hit(known["talk 0"], NOBODY, "a «talk»")])
    await field(chat).fill("talk")
    await expect(titles(chat)).to_have_count(6)
    await expect(found(chat)).to_have_count(1)
    await chat.button("3 more titles").click()
    await expect(titles(chat)).to_have_count(9)
    await expect(titles(chat).nth(6).get_by_role("link")).to_be_focused()


async def test_it_looks_further_back_by_itself_a_few_times_and_then_when_asked(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    for page in range(6):
        cursor = f"c{page}" if page else None
        search.answers[("rare", cursor)] = answer([], f"c{page + 1}")
    search.answers[("rare", "c6")] = answer([hit(conversation, NOBODY, "a «rare» word")])
    await field(chat).fill("rare")
    await expect(outcome(chat)).to_contain_text("No message has this so far.")
    assert [cursor for _, cursor in search.asked] == [None, "c1", "c2", "c3"]
    await chat.button("Search further back").click()
    await expect(found(chat)).to_have_count(1)
    assert [cursor for _, cursor in search.asked][4:] == ["c4", "c5", "c6"]
    await expect(chat.button("Search further back")).to_be_hidden()


async def test_more_hits_come_below_those_that_are_shown(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    search.answers[("word", None)] = answer([hit(conversation, NOBODY, "newest «word»")], "older")
    search.answers[("word", "older")] = answer([hit(conversation, NOBODY, "oldest «word»")])
    await field(chat).fill("word")
    await chat.button("Search further back").click()
    await expect(found(chat).locator(".hit-snippet")).to_have_text(["newest word", "oldest word"])


async def test_arrows_enter_and_escape(context: BrowserContext, service: Served, search: Search) -> None:
    chat = await open_with(context, service, "tea")
    await chat.row("tea").click()
    await chat.exchange("How long?", "Three minutes.")
    question, _ = await ids(chat)
    known = await conversations_of(chat.page)
    search.answers[("tea", None)] = answer([hit(known["tea"], question, "How «long»?")])
    await chat.page.keyboard.press("Control+k")
    await expect(field(chat)).to_be_focused()
    await chat.page.keyboard.type("tea")
    await expect(found(chat)).to_have_count(1)
    await chat.page.keyboard.press("ArrowDown")
    await expect(titles(chat).get_by_role("link")).to_be_focused()
    await chat.page.keyboard.press("ArrowDown")
    await expect(found(chat).get_by_role("link")).to_be_focused()
    await chat.page.keyboard.press("ArrowUp")
    await chat.page.keyboard.press("ArrowUp")
    await expect(field(chat)).to_be_focused()
    await chat.page.keyboard.press("ArrowDown")
    await chat.page.keyboard.press("Escape")
    await expect(field(chat)).to_be_focused()
    await expect(field(chat)).to_have_value("tea")
    await chat.page.keyboard.press("ArrowDown")
    await chat.page.keyboard.press("ArrowDown")
    await chat.page.keyboard.press("Enter")
    await expect(chat.questions).to_be_focused()
    await expect(chat.questions).to_have_class(re.compile(r"\bfound\b"))
    await field(chat).focus()
    await chat.page.keyboard.press("Escape")
    await expect(field(chat)).to_have_value("")


async def test_a_hit_far_up_in_a_long_conversation_is_scrolled_to(
    context: BrowserContext, service: Served, sql: Sql, search: Search
) -> None:
    token = service.token()
    conversation = await many_messages(service, token, sql, 200)
    message = await sql.fetchval("select id::text from messages where content like '% 31'")
    chat = await open_tab(context, service.address, token, service.model)
    known = await conversations_of(chat.page)
    search.answers[("primes", None)] = answer([hit(known["long"], message, "«primes»")])
    # Safari doesn't keep a place by itself while what is above it changes its height.
    await chat.page.evaluate("void (document.getElementById('thread').style.overflowAnchor = 'none')")
    await field(chat).fill("primes")
    await found(chat).get_by_role("link").click()
    wanted = chat.page.locator(".question").nth(15)
    await expect(wanted.locator(".bubble")).to_contain_text("Python? 31")
    await expect(wanted).to_be_focused()
    await expect(wanted).to_be_in_viewport()
    await until(
        lambda: chat.page.evaluate("!document.querySelector('.message.found')")
    )  # marked for a moment
    await until(lambda: chat.page.evaluate(DRAWN))
    await expect(wanted).to_be_in_viewport()
    assert chat.page.url.endswith(f"#/{conversation}")
    # The same by its address, in another tab.
    other = await open_tab(context, service.address, token, service.model)
    await other.page.goto(f"{service.address}/#/{conversation}/{message}")
    await expect(other.page.locator(".question").nth(15)).to_be_in_viewport()
    assert other.page.url.endswith(f"#/{conversation}")


async def test_a_hit_in_another_version_is_shown_only_if_the_reader_wants_that(
    context: BrowserContext, service: Served, search: Search
) -> None:
    chat = await open_with(context, service, "tea")
    await chat.row("tea").click()
    await chat.exchange("Green?", "Green.")
    (question, _) = await ids(chat)
    await edit(chat, 0, "Black?", "Black.")
    await expect(chat.said).to_have_text(["Black."])
    known = await conversations_of(chat.page)
    search.answers[("green", None)] = answer([hit(known["tea"], question, "«Green»?")])
    await field(chat).fill("green")
    await found(chat).get_by_role("link").click()
    dialog = chat.page.get_by_role("dialog", name="In another version")
    await expect(dialog).to_contain_text("that version becomes the current one")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(chat.said).to_have_text(["Black."])
    await found(chat).get_by_role("link").click()
    await chat.button("Show that version").click()
    await expect(chat.said).to_have_text(["Green."])
    await expect(chat.questions).to_be_focused()


async def test_a_message_that_is_no_more_says_so(
    context: BrowserContext, service: Served, search: Search, console: Console
) -> None:
    console.allow("status of 404")
    chat = await open_with(context, service, "tea")
    known = await conversations_of(chat.page)
    search.answers[("tea", None)] = answer([hit(known["tea"], NOBODY, "«tea»")])
    await field(chat).fill("tea")
    await found(chat).get_by_role("link").click()
    await chat.button("Show that version").click()
    await expect(chat.page.get_by_text("There is no such message")).to_be_visible()


async def test_where_the_service_doesnt_search_titles_are(
    context: BrowserContext, service: Served, search: Search, console: Console
) -> None:
    console.allow("status of 404")
    chat = await open_with(context, service, "tea")
    search.otherwise = refusal(404, "search_off", "This service doesn't search messages.")
    await field(chat).fill("tea")
    titles_field = chat.page.get_by_label("Search titles", exact=True)
    await expect(titles_field).to_have_attribute("placeholder", "Search titles")
    await expect(titles(chat)).to_have_text(["tea"])
    await titles_field.fill("nothing like it")
    await expect(outcome(chat)).to_contain_text("No title contains all of these words.")
    await titles_field.press("Escape")
    await titles_field.fill("tea")
    await expect(titles(chat)).to_have_text(["tea"])
    await expect(chat.page.locator(".list-notice")).to_have_count(0)
    assert len(search.asked) == 1


async def test_too_many_searches_wait_for_their_turn(
    context: BrowserContext, service: Served, search: Search, console: Console
) -> None:
    console.allow("status of 429")
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    search.otherwise = refusal(429, "rate_limited", "Too many requests.")
    search.headers = {"Retry-After": "2"}
    await field(chat).fill("word")
    sentence = "Too many searches in a short time. This one goes on by itself in 2 seconds."
    await expect(outcome(chat)).to_contain_text(sentence)
    search.otherwise = answer([hit(conversation, NOBODY, "a «word»")])
    await expect(found(chat)).to_have_count(1)


async def test_a_search_that_fails_may_be_tried_again(
    context: BrowserContext, service: Served, search: Search, console: Console
) -> None:
    console.allow("status of 503")
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    search.otherwise = refusal(503, "database_unavailable", "The database is away.")
    await field(chat).fill("one")
    await expect(outcome(chat)).to_contain_text("The database is away.")
    await expect(titles(chat)).to_have_text(["one"])
    search.otherwise = answer([hit(conversation, NOBODY, "«one» word")])
    await chat.button("Try again").click()
    await expect(found(chat)).to_have_count(1)


async def test_offline_titles_are_searched_and_messages_when_there_is_a_network(
    context: BrowserContext, service: Served, search: Search, console: Console
) -> None:
    console.allow("ERR_INTERNET_DISCONNECTED|ERR_FAILED")
    chat = await open_with(context, service, "one")
    (conversation,) = (await conversations_of(chat.page)).values()
    await field(chat).fill("on")
    await expect(outcome(chat)).to_contain_text("No message has this.")
    search.otherwise = answer([hit(conversation, NOBODY, "«one» word")])
    await context.set_offline(True)
    await chat.page.route("**/api/search?*", lambda route: route.abort("internetdisconnected"))
    await field(chat).fill("one")
    sentence = "Messages can't be searched without a connection. The search goes on when it is back."
    await expect(outcome(chat)).to_contain_text(sentence)
    await expect(titles(chat)).to_have_text(["one"])
    await chat.page.unroute("**/api/search?*")
    await context.set_offline(False)
    await expect(found(chat)).to_have_count(1)


async def test_a_deleted_conversation_is_found_no_more(
    context: BrowserContext, service: Served, search: Search
) -> None:
    token = service.token()
    await fill(service, token, "tea")
    chat = await open_tab(context, service.address, token, service.model)
    known: dict[str, Any] = await conversations_of(chat.page)
    search.otherwise = answer([hit(known["tea"], NOBODY, "a «cup»")])
    await field(chat).fill("tea")
    await expect(found(chat)).to_have_count(1)
    await chat.menu("tea", "Delete")
    await expect(found(chat)).to_have_count(0)
    await chat.button("Undo").click()
    await expect(found(chat)).to_have_count(1)
