"""The client's search, export and import, by a script in the place of the service's routes."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import BrowserContext, Page

from tests.browser.conftest import Console, Served
from tests.browser.library import Library, Search, answer, failed, progress, refusal

ID = "01a20000-0000-7000-8000-000000000000"
REPORT: dict[str, Any] = {
    "source": "claude",
    "conversations": {"added": 2, "there": 0, "left_out": 0},
    "messages": {"added": 9, "left_out": 0},
    "problems": [],
    "more_problems": 0,
    "is_whole": True,
}
BEGIN = """async (token) => {
    const { ChatClient } = await import("/web/client.js");
    window.chat = new ChatClient({ token });
    const told = ({ name, code, status, message }) => ({ name, code, status, message });
    window.outcome = (doing) => doing.catch(told);
}"""


@pytest.fixture
async def client(context: BrowserContext, service: Served, search: Search, library: Library) -> Page:
    """A page of the service's origin with `chat`, and `outcome(promise)`: its result or its error."""
    page = await context.new_page()
    await page.goto(f"{service.address}/web/icon.svg")
    await page.evaluate(BEGIN, service.token())
    return page


async def test_a_search_asks_for_what_it_is_given_and_for_no_more(client: Page, search: Search) -> None:
    search.answers[("a & b", "c/1")] = answer([], "c/2")
    async with client.expect_request("**/api/search?*") as asking:
        found = await client.evaluate("chat.search('a & b', { limit: 7, cursor: 'c/1' })")
    assert found == {"items": [], "next_cursor": "c/2"}
    assert (await asking.value).url.endswith("/api/search?q=a+%26+b&limit=7&cursor=c%2F1")
    async with client.expect_request("**/api/search?*") as asking:
        await client.evaluate("chat.search('tea', { cursor: null })")
    assert (await asking.value).url.endswith("/api/search?q=tea")


async def test_a_search_that_is_called_off_ends_at_once_with_the_signals_reason(
    client: Page, search: Search
) -> None:
    ended = await client.evaluate("""async () => {
        const calling = new AbortController();
        const ended = outcome(chat.search("tea", { signal: calling.signal }));
        calling.abort();
        const before = await outcome(chat.search("tea", { signal: calling.signal }));
        return [await ended, before];
    }""")
    assert [each["name"] for each in ended] == ["AbortError", "AbortError"]


async def test_a_search_that_is_switched_off_has_its_code(
    client: Page, search: Search, console: Console
) -> None:
    console.allow("status of 404")
    search.otherwise = refusal(404, "search_off", "This service doesn't search messages.")
    error = await client.evaluate("outcome(chat.search('tea'))")
    assert (error["name"], error["code"], error["status"]) == ("ChatError", "search_off", 404)


async def test_an_export_is_a_file_that_is_read_piece_by_piece(client: Page, library: Library) -> None:
    library.headers = {"Content-Disposition": "attachment; filename=\"tea.md\"; filename*=UTF-8''t%C3%A9.md"}
    library.end(b"one ", b"two")
    read = await client.evaluate(f"""async () => {{
        const file = await chat.conversations.export("{ID}", {{ format: "markdown" }});
        const decoder = new TextDecoder();
        let text = "";
        for await (const bytes of file) text += decoder.decode(bytes, {{ stream: true }});
        return [file.name, file.type, file.size, text];
    }}""")
    assert read == ["té.md", "application/x-ndjson", None, "one two"]
    assert library.asked == [f"/api/conversations/{ID}/export?format=markdown"]
    library.headers = {"Content-Length": "9"}
    library.end(b"one two 3")
    read = await client.evaluate("""async () => {
        const file = await chat.export();
        const seen = [];
        const blob = await file.blob((bytes) => seen.push(bytes));
        return [file.name, file.size, await blob.text(), seen.at(-1)];
    }""")
    assert read == [None, 9, "one two 3", 9]
    assert library.asked[-1] == "/api/export"


async def test_an_export_that_breaks_off_is_an_error_and_no_short_file(
    client: Page, library: Library, console: Console
) -> None:
    console.allow("ERR_")
    library.send(b"one ")
    library.cut()
    error = await client.evaluate("outcome(chat.export().then((file) => file.blob()))")
    assert (error["name"], error["code"]) == ("ChatError", "network_error")


async def test_an_export_that_is_called_off_ends_with_the_signals_reason(
    client: Page, library: Library, console: Console
) -> None:
    console.allow("ERR_")
    library.send(b"one ")
    error = await client.evaluate("""async () => {
        const calling = new AbortController();
        const file = await chat.export({ signal: calling.signal });
        return outcome(file.blob(() => calling.abort()));
    }""")
    assert error["name"] == "AbortError"


async def test_an_import_tells_how_much_was_sent_and_read_and_ends_with_its_report(
    client: Page, library: Library
) -> None:
    library.end(progress(50, 1), b"\n", {"something": "new"}, {"report": REPORT})
    report, told = await client.evaluate("""async () => {
        const told = [];
        const file = new File(["é".repeat(500_000)], "export.json", { type: "application/json" });
        const report = await chat.import(file, { onProgress: (progress) => told.push(progress) });
        return [report, told];
    }""")
    assert report == REPORT
    assert len(library.received) == 1_000_000
    assert {each["phase"] for each in told} == {"upload", "import"}
    assert told[-2] == {"phase": "upload", "percent": 100, "conversations": 0}
    assert told[-1] == {"phase": "import", "percent": 50, "conversations": 1}


async def test_an_import_without_an_ear_is_the_same(client: Page, library: Library) -> None:
    library.end(progress(50, 1), {"report": REPORT})
    assert await client.evaluate("chat.import('[]')") == REPORT
    assert library.received == b"[]"


@pytest.mark.parametrize("options", ["{}", "{ onProgress: () => {} }"])
async def test_an_import_that_is_refused_or_fails_has_the_services_error(
    client: Page, library: Library, console: Console, options: str
) -> None:
    console.allow("status of 409|ERR_")
    library.refusal = refusal(409, "import_running", "Another import of yours is running.")
    error = await client.evaluate(f"outcome(chat.import('[]', {options}))")
    assert (error["code"], error["status"]) == ("import_running", 409)
    library.refusal = None
    library.end(failed("import_interrupted", "The database is away."))
    error = await client.evaluate(f"outcome(chat.import('[]', {options}))")
    assert (error["code"], error["message"]) == ("import_interrupted", "The database is away.")
    for piece in (progress(5), b'{"rep'):
        library.end(piece)  # and no report
        error = await client.evaluate(f"outcome(chat.import('[]', {options}))")
        assert error["code"] == "network_error"
    library.send(progress(5))
    library.cut()
    error = await client.evaluate(f"outcome(chat.import('[]', {options}))")
    assert error["code"] == "network_error"


@pytest.mark.parametrize("when", ["() => calling.abort()", "undefined"])
async def test_an_import_that_is_called_off_ends_with_the_signals_reason(
    client: Page, library: Library, console: Console, when: str
) -> None:
    console.allow("ERR_")
    library.send(progress(5))
    error = await client.evaluate(f"""async () => {{
        const calling = new AbortController();
        const onProgress = {when};
        if (!onProgress) setTimeout(() => calling.abort(), 300);
        return outcome(chat.import("[]", {{ onProgress, signal: calling.signal }}));
    }}""")
    assert error["name"] == "AbortError"


async def test_a_refused_token_is_renewed_before_an_import(
    client: Page, library: Library, console: Console
) -> None:
    console.allow("status of 401")
    library.refusals = [refusal(401, "invalid_token", "The token is not valid.")]
    library.end({"report": REPORT})
    report = await client.evaluate("""async () => {
        const { ChatClient } = await import("/web/client.js");
        window.expired = [];
        const token = async ({ expired }) => (window.expired.push(expired), "a-token");
        return new ChatClient({ token }).import("[1]", { onProgress: () => {} });
    }""")
    assert report == REPORT
    assert await client.evaluate("expired") == [False, True]
    assert library.received == b"[1][1]"
