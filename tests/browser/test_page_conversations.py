"""The page: the conversations in its sidebar."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

from playwright.async_api import BrowserContext, expect

from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.support.chat import Sql, open_chat


async def fill(service: Served, token: str, *titles: str) -> None:
    """Create empty conversations with these titles, the newest last."""
    for title in titles:
        await open_chat(service.client, {"Authorization": f"Bearer {token}"}, title=title)


async def open_with(context: BrowserContext, service: Served, *titles: str) -> ChatPage:
    """Open a tab of a user with these conversations."""
    token = service.token()
    await fill(service, token, *titles)
    chat = await open_tab(context, service.address, token, service.model)
    await expect(chat.rows).to_have_count(len(titles))
    return chat


async def test_they_are_grouped_by_the_readers_days(
    context: BrowserContext, service: Served, sql: Sql
) -> None:
    chat = await open_with(context, service, *(f"c{days}" for days in (0, 1, 5, 20, 400)))
    now = datetime.now(UTC)
    for days in (1, 5, 20, 400):
        when = now - timedelta(days=days)
        await sql.execute("update conversations set updated_at = $1 where title = $2", when, f"c{days}")
    await chat.page.reload()
    await expect(chat.page.locator("#conversations h2")).to_have_text(
        ["Today", "Yesterday", "Previous 7 days", "Previous 30 days", str((now - timedelta(days=400)).year)]
    )
    await expect(chat.rows).to_have_text(["c0", "c1", "c5", "c20", "c400"])


async def test_a_favourite_stands_first_and_may_be_taken_back(
    context: BrowserContext, service: Served
) -> None:
    chat = await open_with(context, service, "old", "new")
    await chat.menu("old", "Add to favourites")
    favourites = chat.page.get_by_role("region", name="Favourites")
    await expect(favourites.get_by_role("link")).to_have_text("Favourite: old")
    await chat.page.reload()
    await expect(favourites.get_by_role("link")).to_have_text("Favourite: old")
    await chat.menu("old", "Remove from favourites")
    await expect(chat.page.locator("#conversations h2")).to_have_text(["Today"])


async def test_rename(context: BrowserContext, service: Served) -> None:
    chat = await open_with(context, service, "tea")
    await chat.row("tea").click()
    await chat.menu("tea", "Rename")
    field = chat.page.get_by_label("Title", exact=True)
    await expect(field).to_have_value("tea")
    await field.fill("  Chai <b>& ☕</b> ")
    await field.press("Enter")
    await expect(chat.rows).to_have_text(["Chai <b>& ☕</b>"])
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Chai <b>& ☕</b>")
    await chat.page.reload()
    await expect(chat.rows).to_have_text(["Chai <b>& ☕</b>"])


async def test_escape_or_an_empty_title_leaves_the_old_one(context: BrowserContext, service: Served) -> None:
    chat = await open_with(context, service, "tea")
    field = chat.page.get_by_label("Title", exact=True)
    for text, key in (("other", "Escape"), ("   ", "Enter")):
        await chat.menu("tea", "Rename")
        await field.fill(text)
        await field.press(key)
        await expect(chat.rows).to_have_text(["tea"])
        await expect(chat.row("tea").get_by_role("link")).to_be_focused()


async def test_a_rename_that_is_refused_is_taken_back_and_told(
    context: BrowserContext, service: Served, console: Console
) -> None:
    chat = await open_with(context, service, "tea")
    console.allow("status of 503")
    body = '{"detail": "The database is away.", "code": "database_unavailable"}'
    await chat.page.route(
        "**/api/conversations/*",
        lambda route: (
            route.fulfill(status=503, body=body, content_type="application/json")
            if route.request.method == "PUT"
            else route.fallback()
        ),
    )
    await chat.menu("tea", "Rename")
    await chat.page.get_by_label("Title", exact=True).fill("coffee")
    await chat.page.get_by_label("Title", exact=True).press("Enter")
    await expect(chat.page.get_by_text("The database is away.")).to_be_visible()
    await expect(chat.rows).to_have_text(["tea"])


async def test_a_title_that_is_too_long_is_told_in_plain_words(
    context: BrowserContext, service: Served, console: Console
) -> None:
    console.allow("status of 422")
    chat = await open_with(context, service, "tea")
    await chat.menu("tea", "Rename")
    field = chat.page.get_by_label("Title", exact=True)
    await field.evaluate("field => field.removeAttribute('maxlength')")
    await field.fill("x" * 501)
    await field.press("Enter")
    await expect(chat.page.get_by_text("The title is too long: at most 500 characters.")).to_be_visible()
    await expect(chat.rows).to_have_text(["tea"])


async def test_delete_waits_for_an_undo(context: BrowserContext, service: Served, sql: Sql) -> None:
    chat = await open_with(context, service, "tea", "coffee")
    await chat.row("tea").click()
    await chat.menu("tea", "Delete")
    await expect(chat.rows).to_have_text(["coffee"])
    await expect(chat.page).to_have_title("samosaChaat")
    assert await sql.fetchval("select count(*) from conversations") == 2
    await chat.button("Undo").click()
    await expect(chat.rows).to_have_text(["coffee", "tea"])
    await expect(chat.page).to_have_title("tea · samosaChaat")
    assert await sql.fetchval("select count(*) from conversations") == 2


async def test_deleted_is_deleted_when_the_time_for_an_undo_is_over(
    context: BrowserContext, service: Served, sql: Sql
) -> None:
    chat = await open_with(context, service, "tea", "coffee")
    await chat.menu("tea", "Delete")
    async with chat.page.expect_response(lambda response: response.request.method == "DELETE"):
        await chat.button("Dismiss").click()
    assert await sql.fetchval("select array_agg(title) from conversations") == ["coffee"]
    await expect(chat.button("Undo")).to_have_count(0)


async def test_a_page_that_crashes_before_keeps_its_promise(
    context: BrowserContext, service: Served, sql: Sql, console: Console
) -> None:
    console.allow("favicon")
    chat = await open_with(context, service, "tea", "coffee")
    await chat.menu("tea", "Delete")
    await expect(chat.rows).to_have_text(["coffee"])
    later = await context.new_page()
    await later.goto(f"{service.address}/web/client.js")
    await later.evaluate(
        "localStorage['chat.leaving'] = localStorage['chat.leaving'].replace(/\\d{13}/, '1')"
    )
    token = await chat.page.evaluate("sessionStorage['chat.token']")
    session = await context.new_cdp_session(chat.page)
    async with chat.page.expect_event("crash"):
        crash = asyncio.create_task(session.send("Page.crash"))  # never gets a response
    crash.cancel()
    assert await sql.fetchval("select count(*) from conversations") == 2
    await later.evaluate("token => (sessionStorage['chat.token'] = token)", token)
    async with later.expect_response(lambda response: response.request.method == "DELETE"):
        await later.goto(service.address)
    await expect(ChatPage(later, service.model).rows).to_have_text(["coffee"])
    assert await sql.fetchval("select array_agg(title) from conversations") == ["coffee"]


async def test_search_finds_words_in_titles_of_pages_that_were_not_loaded(
    context: BrowserContext, service: Served, sql: Sql
) -> None:
    token = service.token()
    await fill(service, token, "Masala CHAI, how?")
    await sql.execute(
        """insert into conversations (user_id, title, updated_at)
        select user_id, 'talk ' || number, now() + number * interval '1 s'
        from conversations, generate_series(1, 1500) as number"""
    )
    chat = await open_tab(context, service.address, token, service.model)
    search = chat.page.get_by_label("Search titles")
    await search.fill("chai mas")
    await expect(chat.rows).to_have_text(["Masala CHAI, how?"])
    await search.fill("talk 1499")
    await expect(chat.rows).to_have_text(["talk 1499"])
    await search.fill("nothing like it")
    await expect(chat.page.get_by_text("No title contains all of these words.")).to_be_visible()
    await search.press("Escape")
    await expect(search).to_have_value("")
    assert await chat.rows.count() > 1000


async def test_one_that_is_no_more_says_so(chat: ChatPage, service: Served, console: Console) -> None:
    console.allow("status of 404")
    await chat.page.goto(f"{service.address}/#/01a20000-0000-7000-8000-000000000000")
    await expect(chat.page.get_by_text("This conversation no longer exists.")).to_be_visible()
    await chat.button("Start a new one").click()
    await expect(chat.page.get_by_text("What's on your mind?")).to_be_visible()


async def test_an_address_that_says_nothing_is_a_new_conversation(
    context: BrowserContext, service: Served
) -> None:
    chat = await open_with(context, service, "tea")
    await chat.row("tea").click()
    await chat.page.goto(f"{service.address}/#/garbage")
    await expect(chat.page.get_by_text("What's on your mind?")).to_be_visible()
    assert chat.page.url == f"{service.address}/#/"


async def test_back_closes_a_dialog(context: BrowserContext, service: Served) -> None:
    chat = await open_with(context, service, "tea")
    await chat.row("tea").click()
    await chat.button("Settings").click()
    await expect(chat.page.get_by_role("dialog")).to_be_visible()
    await chat.page.go_back()
    await expect(chat.page.get_by_role("dialog")).to_have_count(0)


async def test_deleted_in_one_tab_it_leaves_the_other(context: BrowserContext, service: Served) -> None:
    token = service.token()
    await fill(service, token, "tea", "coffee")
    tabs = [await open_tab(context, service.address, token, service.model) for _ in range(2)]
    await expect(tabs[1].rows).to_have_count(2)
    await tabs[0].page.bring_to_front()
    await tabs[0].menu("coffee", "Delete")
    await tabs[0].button("Dismiss").click()
    await expect(tabs[1].rows).to_have_text(["tea"])


async def test_a_list_that_cant_be_loaded_may_be_tried_again(chat: ChatPage, console: Console) -> None:
    console.allow("status of 503")
    body = '{"detail": "The database is away.", "code": "database_unavailable"}'
    await chat.page.route(
        "**/api/conversations?*",
        lambda route: route.fulfill(status=503, body=body, content_type="application/json"),
    )
    await chat.page.reload()
    await expect(chat.page.locator("#conversations")).to_contain_text("The database is away.")
    await chat.page.unroute_all()
    await chat.button("Try again").click()
    await expect(chat.page.get_by_text("Your conversations will appear here.")).to_be_visible()
