"""The page: export and import, with a script in the place of the service's routes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from playwright.async_api import BrowserContext, Download, FilePayload, Locator, expect

from tests.browser.chat_page import ChatPage
from tests.browser.conftest import Console, Served
from tests.browser.library import Library, failed, progress, refusal
from tests.browser.test_page_conversations import fill, open_with
from tests.support.chat import Sql, until

FILE = FilePayload(name="conversations.json", mimeType="application/json", buffer=b'[{"title": "tea"}]')
REPORT: dict[str, Any] = {
    "source": "chatgpt",
    "conversations": {"added": 3, "there": 1, "left_out": 2},
    "messages": {"added": 1234, "left_out": 1},
    "problems": [
        {"conversation": "<b>tea</b>", "why": "It has no messages."},
        {"conversation": "milk", "why": "A message's date isn't one."},
    ],
    "more_problems": 7,
    "is_whole": True,
}
END = b'{"type":"end","conversations":1}\n'  # the last line of an export
# What the browser's own dialog for a file would return.
PICKER = """() => {
    window.saved = { pieces: [], name: null, state: "open", removed: false };
    window.showSaveFilePicker = async ({ suggestedName }) => {
        saved.name = suggestedName;
        const decoder = new TextDecoder();
        return {
            createWritable: async () => ({
                write: async (bytes) => void saved.pieces.push(decoder.decode(bytes)),
                close: async () => void (saved.state = "closed"),
                abort: async () => void (saved.state = "aborted"),
            }),
            remove: async () => void (saved.removed = true),
        };
    };
}"""
DROP = """async ([name, text]) => {
    const data = new DataTransfer();
    data.items.add(new File([text], name));
    const over = new DragEvent("dragover", { dataTransfer: data, bubbles: true, cancelable: true });
    const drop = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
    const target = document.querySelector("dialog[open]") ?? document.getElementById("messages");
    return [target.dispatchEvent(over), target.dispatchEvent(drop)];
}"""


async def held(download: Download) -> bytes:
    """What a saved file holds."""
    path = await download.path()
    return await asyncio.to_thread(path.read_bytes)


async def settle_on(chat: ChatPage, button: str) -> None:
    """Click on a button of the settings."""
    await chat.button("Settings").click()
    await chat.button(button).click()


async def begin_import(chat: ChatPage) -> Locator:
    """Open the dialog for an import and choose the file."""
    await settle_on(chat, "Import conversations…")
    dialog = chat.page.get_by_role("dialog", name="Import conversations")
    await dialog.get_by_label("Choose files, or drop them here").set_input_files(FILE)
    return dialog


async def test_a_conversation_is_downloaded_as_markdown_and_as_json(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea: green/black?")
    for entry, text, name, form in (
        ("Download as Markdown", b"# tea", "tea green black.md", "markdown"),
        ("Download as JSON", b"{}", "tea green black.json", "json"),
    ):
        library.end(text)
        async with chat.page.expect_download() as downloading:
            await chat.menu("tea", entry)
        download = await downloading.value
        assert download.suggested_filename == name
        assert await held(download) == text
        assert library.asked[-1].endswith(f"/export?format={form}")
    await expect(chat.page.get_by_text("The conversation was saved").first).to_be_visible()


async def test_all_conversations_are_downloaded_piece_by_piece(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea")
    await settle_on(chat, "Export all my conversations")
    notice = chat.page.get_by_role("status").filter(has_text="The export is being downloaded.")
    library.send(b"x" * 20_000)
    await expect(notice).to_contain_text("20 KB")
    async with chat.page.expect_download() as downloading:
        library.end(b"y\n", END[:9], END[9:])
    download = await downloading.value
    assert await held(download) == b"x" * 20_000 + b"y\n" + END
    assert download.suggested_filename.startswith("samosachaat-20")
    assert download.suggested_filename.endswith(".jsonl")
    await expect(notice).to_have_count(0)
    await expect(chat.page.get_by_text("The export was saved: 20 KB.")).to_be_visible()


async def test_where_the_browser_can_the_export_goes_straight_into_a_file(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea")
    await chat.page.evaluate(PICKER)
    await settle_on(chat, "Export all my conversations")
    library.send(b"first ")
    await until(lambda: chat.page.evaluate("saved.pieces.join('') === 'first '"))
    library.end(b"last\n", END)
    await until(lambda: chat.page.evaluate("saved.state === 'closed'"))
    assert await chat.page.evaluate("saved.pieces.join('')") == f"first last\n{END.decode()}"
    assert (await chat.page.evaluate("saved.name")).endswith(".jsonl")


async def test_an_export_that_is_cut_is_told_and_not_saved(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("ERR_|Failed to load")
    chat = await open_with(context, service, "tea")
    await chat.page.evaluate(PICKER)
    downloads: list[str] = []
    chat.page.on("download", lambda download: downloads.append(download.suggested_filename))
    await settle_on(chat, "Export all my conversations")
    library.send(b"first ")
    await until(lambda: chat.page.evaluate("saved.pieces.length"))
    library.cut()
    await expect(chat.page.get_by_text("The download broke off, so nothing was saved.")).to_be_visible()
    assert await chat.page.evaluate("[saved.state, saved.removed]") == ["aborted", True]
    assert downloads == []


@pytest.mark.parametrize(
    "last", [b"first\n", b'{"type":"message","content":"{\\"type\\":\\"end\\","}\n', END[:-9]]
)
async def test_an_export_without_its_last_line_is_told_and_not_saved(
    context: BrowserContext, service: Served, library: Library, last: bytes
) -> None:
    chat = await open_with(context, service, "tea")
    await chat.page.evaluate(PICKER)
    await settle_on(chat, "Export all my conversations")
    library.end(b"first\n", last)  # as a proxy may end a response that broke off
    await expect(chat.page.get_by_text("The download broke off, so nothing was saved.")).to_be_visible()
    assert await chat.page.evaluate("[saved.state, saved.removed]") == ["aborted", True]


async def test_an_export_may_be_cancelled(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("ERR_|Failed to load")
    chat = await open_with(context, service, "tea")
    await settle_on(chat, "Export all my conversations")
    library.send(b"first ")
    await expect(chat.page.locator(".toast")).to_contain_text("6 bytes")
    await chat.button("Cancel").click()
    await expect(chat.page.locator(".toast")).to_have_count(0)
    library.send(*[b"x" * 100_000] * 50)  # the server notices that nobody takes it
    await library.left.wait()


async def test_a_refused_export_says_why(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("status of 429")
    chat = await open_with(context, service, "tea")
    library.refusal = refusal(429, "exports_busy", "Too many exports run now. Try again in a minute.")
    await settle_on(chat, "Export all my conversations")
    await expect(chat.page.locator(".toast")).to_have_text(
        ["Too many exports run now. Try again in a minute."]
    )


async def test_an_import_tells_how_far_it_is_and_what_it_didnt_take(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    await expect(dialog).to_contain_text("conversations.json")
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(12, 1))
    await expect(dialog).to_contain_text("The file is being read: 12 %. 1 conversation so far.")
    await expect(dialog.get_by_role("progressbar")).to_have_attribute("value", "12")
    library.send(progress(80, 3))
    await expect(dialog).to_contain_text("80 %. 3 conversations so far.")
    token = await chat.page.evaluate("sessionStorage['chat.token']")
    await fill(service, token, "imported")  # as the service would
    library.end({"report": REPORT})
    await expect(dialog).to_contain_text("3 conversations with 1,234 messages were added.")
    await expect(dialog).to_contain_text("1 conversation was here already.")
    await expect(dialog).to_contain_text("2 conversations couldn't be taken.")
    await expect(dialog).to_contain_text("1 message was left out.")
    await expect(dialog.get_by_role("listitem")).to_have_text(
        ["<b>tea</b>It has no messages.", "milkA message's date isn't one."]
    )
    await expect(dialog).to_contain_text("And 7 more problems.")
    await expect(chat.rows).to_have_text(["imported", "tea"])
    assert library.received == FILE["buffer"]
    await dialog.get_by_role("button", name="Done").click()
    await expect(dialog).to_have_count(0)


async def test_the_dialog_says_which_files_and_where_they_are_found(chat: ChatPage) -> None:
    await settle_on(chat, "Import conversations…")
    dialog = chat.page.get_by_role("dialog", name="Import conversations")
    for product in ("samosaChaat", "ChatGPT", "Claude", "Open WebUI", "LibreChat"):
        await expect(dialog.get_by_role("term").filter(has_text=product)).to_be_visible()
    await expect(dialog.get_by_label("Choose files, or drop them here")).to_be_focused()


async def test_an_import_may_be_cancelled_but_not_by_accident(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("ERR_|Failed to load")
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(10, 1))
    await expect(dialog).to_contain_text("10 %")
    await chat.page.keyboard.press("Escape")
    await chat.page.mouse.click(5, 5)
    await expect(dialog).to_contain_text("10 %")
    await dialog.get_by_role("button", name="Cancel").click()
    await expect(dialog).to_contain_text(
        "The import was cancelled. What was taken until then is in your list."
    )
    library.send(*[progress(11, 1)] * 100_000)
    await library.left.wait()


async def test_closing_the_dialog_cancels_the_import_and_says_so(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("ERR_|Failed to load")
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(10, 1))
    await expect(dialog).to_contain_text("10 %")
    await dialog.get_by_role("button", name="Close").click()
    await expect(chat.page.locator(".toast")).to_contain_text("The import was cancelled.")


async def test_a_refused_import_says_why_and_another_file_may_be_chosen(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("status of 413")
    chat = await open_with(context, service, "tea")
    library.refusal = refusal(413, "import_too_large", "The file is larger than 2 GB. Split it.")
    dialog = await begin_import(chat)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog).to_contain_text("The file is larger than 2 GB. Split it.")
    library.refusal = None
    library.end({"report": {**REPORT, "problems": [], "more_problems": 0}})
    await dialog.get_by_label("Choose files, or drop them here").set_input_files(FILE)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog).to_contain_text("3 conversations with 1,234 messages were added.")


async def test_of_several_files_each_is_imported_and_a_refused_one_is_told(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("status of 415")
    chat = await open_with(context, service, "tea")
    await settle_on(chat, "Import conversations…")
    dialog = chat.page.get_by_role("dialog", name="Import conversations")
    files = [FilePayload(name=f"{n}.json", mimeType="application/json", buffer=b"[]") for n in range(3)]
    await dialog.get_by_label("Choose files, or drop them here").set_input_files(files)
    await expect(dialog).to_contain_text("3 files6 bytes")
    library.refusals = [refusal(415, "import_unreadable", "This is no export.")]
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(10))
    await expect(dialog).to_contain_text("File 2 of 3 is being read: 10 %.")
    library.end({"report": REPORT})
    library.end({"report": REPORT})
    await expect(dialog).to_contain_text("6 conversations with 2,468 messages were added.")
    await expect(dialog.get_by_role("listitem").first).to_have_text("0.jsonThis is no export.")
    await expect(dialog.get_by_role("listitem")).to_have_count(5)
    await expect(dialog).to_contain_text("And 14 more problems.")
    assert library.received == b"[][][]"


async def test_an_import_that_breaks_off_says_what_to_do(
    context: BrowserContext, service: Served, library: Library, console: Console
) -> None:
    console.allow("ERR_|Failed to load")
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(10, 1))
    await expect(dialog).to_contain_text("10 %")
    library.cut()
    await expect(dialog).to_contain_text("The connection broke off.")
    await expect(dialog).to_contain_text("Import the same file again to add the rest: nothing comes twice.")


async def test_an_error_in_the_stream_of_an_import_is_told(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.end(failed("import_interrupted", "The database is away."))
    await expect(dialog).to_contain_text("The database is away.")


async def test_a_file_that_is_dropped_on_the_page_is_offered_and_the_page_stays(
    context: BrowserContext, service: Served, library: Library
) -> None:
    chat = await open_with(context, service, "tea")
    assert await chat.page.evaluate(DROP, ["mine.json", "[]"]) == [
        False,
        False,
    ]  # the browser does nothing else
    dialog = chat.page.get_by_role("dialog", name="Import conversations")
    await expect(dialog).to_contain_text("mine.json")
    assert library.asked == []  # it is offered, no more
    assert await chat.page.evaluate(DROP, ["other.json", "[1]"]) == [False, False]
    await expect(dialog).to_contain_text("other.json")
    library.end({"report": REPORT})
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog).to_contain_text("3 conversations")
    assert library.received == b"[1]"


async def test_text_that_is_dropped_is_left_to_the_browser(chat: ChatPage) -> None:
    dropped = """() => {
        const data = new DataTransfer();
        data.setData("text/plain", "tea");
        const event = new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
        return document.getElementById("prompt").dispatchEvent(event);
    }"""
    assert await chat.page.evaluate(dropped)


async def test_leaving_the_page_in_the_middle_of_an_import_asks_first(
    context: BrowserContext, service: Served, library: Library, sql: Sql
) -> None:
    chat = await open_with(context, service, "tea")
    dialog = await begin_import(chat)
    leaving = """dispatchEvent(new Event("beforeunload", { cancelable: true }))"""
    assert await chat.page.evaluate(leaving)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    library.send(progress(10, 1))
    await expect(dialog).to_contain_text("10 %")
    assert not await chat.page.evaluate(leaving)
    library.end({"report": REPORT})
    await expect(dialog).to_contain_text("3 conversations")
    assert await chat.page.evaluate(leaving)
    assert await sql.fetchval("select count(*) from conversations") == 1
