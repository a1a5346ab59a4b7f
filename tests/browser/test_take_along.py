"""The page and the real routes: what was said elsewhere is imported, found, exported, and imported again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.async_api import BrowserContext, Download, Locator, expect

from chat_api.http.context import SETTINGS
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.browser.test_page_search import field, found, outcome, titles
from tests.browser.test_page_transfer import held, settle_on
from tests.importing.test_formats import FILES
from tests.importing.test_service import conversation

SINGLE = "\u2039\u203a"


class Product(NamedTuple):
    """A product's file, and what of it is looked for."""

    name: str
    report: str
    """How the report begins."""
    problem: str
    """What it says of something that wasn't taken as it was."""
    title: str
    sentence: str
    """What is looked for: a message."""
    words: str
    """What is typed."""
    is_active: bool = True
    """Whether the message is shown. If not, it is in another version."""


PRODUCTS = [
    Product(
        "chatgpt",
        "1 conversation with 6 messages was added. 1 conversation couldn't be taken.",
        "Pictures or files are named in their place: 2.",
        "Masala chai",
        "Boil it for five minutes.",
        '"five minutes" boil',
    ),
    Product(
        "claude",
        "2 conversations with 5 messages were added. 1 message was left out.",
        "Messages without a text were left out: 1.",
        "A poem",
        "Another poem.",
        "another poem",
    ),
    Product(
        "librechat",
        "1 conversation with 5 messages was added.",
        "Messages that only tell of an error were left out: 1.",
        "Stories",
        "It rained.",
        "RAIN",
        is_active=False,
    ),
    Product(
        "open_webui",
        "2 conversations with 6 messages were added.",
        "Pictures or files are named in their place: 1.",
        "Multiplication",
        "It is 255.",
        "255 -sum.png -early",
    ),
]


async def signed_in(context: BrowserContext, service: Served) -> ChatPage:
    """A new user's tab. The browser asks for no file to save to."""
    await context.add_init_script("delete window.showSaveFilePicker")
    return await open_tab(context, service.address, service.token(), service.model)


async def bring_in(chat: ChatPage, *files: Path) -> Locator:
    """Import files through the dialog. Returns the dialog, with the report."""
    await settle_on(chat, "Import conversations…")
    dialog = chat.page.get_by_role("dialog", name="Import conversations")
    await dialog.get_by_label("Choose files, or drop them here").set_input_files(files)
    await dialog.get_by_role("button", name="Import", exact=True).click()
    await expect(dialog.get_by_role("button", name="Done")).to_be_visible()
    return dialog


async def taken(chat: ChatPage, *files: Path) -> str:
    """Import files, and close the dialog. Returns what it said."""
    dialog = await bring_in(chat, *files)
    said = await dialog.inner_text()
    await dialog.get_by_role("button", name="Done").click()
    return said


def change(service: Served, monkeypatch: pytest.MonkeyPatch, **settings: object) -> None:
    """Change settings of the running service, for this test."""
    assert service.client.app is not None
    for name, value in settings.items():
        monkeypatch.setitem(service.client.app[SETTINGS].__dict__, name, value)


async def look_for(chat: ChatPage, words: str) -> None:
    """Type words into the search, as a reader who uses the keyboard."""
    await chat.page.keyboard.press("Control+k")
    await expect(field(chat)).to_be_focused()
    await chat.page.keyboard.type(words)


async def exported(chat: ChatPage, path: Path) -> list[dict[str, Any]]:
    """Export everything into a file. Returns its lines."""
    async with chat.page.expect_download() as downloading:
        await settle_on(chat, "Export all my conversations")
    download: Download = await downloading.value
    await download.save_as(path)
    return [json.loads(line) for line in (await held(download)).decode().splitlines()]


async def shown(chat: ChatPage, title: str) -> list[str]:
    """What the messages of a conversation say."""
    await chat.row(title).click()
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text(title)
    await expect(chat.asked.first).to_be_visible()
    return await chat.asked.all_inner_texts() + await chat.said.all_inner_texts()


@pytest.mark.parametrize("product", PRODUCTS, ids=[each.name for each in PRODUCTS])
async def test_what_was_said_elsewhere_is_taken_in_found_and_taken_along(
    context: BrowserContext, service: Served, product: Product, tmp_path: Path
) -> None:
    chat = await signed_in(context, service)
    said = await taken(chat, FILES / f"{product.name}.json")
    assert product.report in said
    assert product.problem in said
    assert said.splitlines().count(product.title) == 1  # whatever is told of it
    await expect(chat.row(product.title)).to_be_visible()

    await look_for(chat, product.words)
    hit = found(chat).filter(has_text=product.sentence)
    await expect(hit.locator("mark").first).to_be_visible()
    await expect(hit.locator(".hit-title")).to_have_text(product.title)
    await hit.get_by_role("link").click()
    if not product.is_active:
        await chat.button("Show that version").click()
    marked = chat.page.locator(".message.found")
    await expect(marked).to_contain_text(product.sentence)
    await expect(marked).to_be_focused()
    await expect(chat.page.get_by_role("heading", level=1)).to_have_text(product.title)
    await field(chat).press("Escape")

    async with chat.page.expect_download() as downloading:
        await chat.menu(product.title, "Download as Markdown")
    download = await downloading.value
    assert download.suggested_filename == f"{product.title}.md"
    assert product.sentence in (await held(download)).decode()

    file = tmp_path / "export.jsonl"
    lines = await exported(chat, file)
    assert lines[-1]["type"] == "end"
    assert any(product.sentence in line.get("content", "") for line in lines)
    there = sum(line["type"] == "conversation" for line in lines)
    here = "1 conversation was here already." if there == 1 else f"{there} conversations were here already."
    assert here in await taken(chat, file)

    other = await signed_in(context, service)
    assert f"{there} conversation" in await taken(other, file)
    texts = await shown(other, product.title)
    assert texts == await shown(chat, product.title)
    assert any(product.sentence in text for text in texts)
    again = await exported(other, tmp_path / "again.jsonl")
    contents = [line["content"] for line in lines if line["type"] == "message"]
    assert sorted(line["content"] for line in again if line["type"] == "message") == sorted(contents)


def claude(path: Path, *texts: str) -> Path:
    """A file in Claude's form: for each text, a conversation that has it."""
    path.write_text(json.dumps([conversation(number, text) for number, text in enumerate(texts)]))
    return path


async def test_the_texts_own_quotes_are_no_marks(
    context: BrowserContext, service: Served, tmp_path: Path
) -> None:
    chat = await signed_in(context, service)
    await taken(chat, claude(tmp_path / "a.json", "He said «tea», and «milk» with <b>chai</b>"))
    await look_for(chat, "MÍLK")
    await expect(found(chat).locator(".hit-snippet")).to_have_text(
        [f"He said {SINGLE[0]}tea{SINGLE[1]}, and {SINGLE[0]}milk{SINGLE[1]} with <b>chai</b>"]
    )
    await expect(found(chat).locator("mark")).to_have_text(["milk"])
    await found(chat).get_by_role("link").click()
    await expect(chat.page.locator(".message.found")).to_contain_text("«tea», and «milk»")


async def test_short_words_are_found_whole_and_the_page_says_so(
    context: BrowserContext, service: Served
) -> None:
    chat = await signed_in(context, service)
    await taken(chat, FILES / "claude.json")
    hint = "A word is found by its beginning from its fourth letter."
    await look_for(chat, "poe")
    await expect(titles(chat)).to_have_text(["A poem"])
    await expect(outcome(chat)).to_contain_text(f"No message has this. {hint}")
    await chat.page.keyboard.type("m")
    await expect(found(chat).first).to_be_visible()
    await expect(titles(chat)).to_have_text(["A poem"])
    await expect(outcome(chat)).not_to_contain_text(hint)
    await field(chat).fill("nothing like it")
    await expect(outcome(chat)).to_contain_text(f"Titles and messages were searched. {hint}")
    await field(chat).fill("nothing likewise")
    await expect(outcome(chat)).to_contain_text("Nothing was found for “nothing likewise”.")
    await expect(outcome(chat)).not_to_contain_text(hint)


async def test_pages_without_a_hit_are_passed(
    context: BrowserContext, service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await signed_in(context, service)
    await taken(chat, claude(tmp_path / "a.json", *("often",) * 19, "a rare word"))
    monkeypatch.setattr(
        "chat_api.routes.search.MOST_ENTRIES", 5
    )  # 20 titles, 20 messages: 8 pages and an end
    await look_for(chat, "rare")
    await chat.button("Search further back").click()
    await expect(found(chat).locator("mark")).to_have_text(["rare"])
    await field(chat).fill("neither")
    await chat.button("Search further back").click()
    await chat.button("Search further back").click()
    await expect(outcome(chat)).to_contain_text("Nothing was found for “neither”.")


async def test_a_search_that_is_switched_off_leaves_the_titles(
    context: BrowserContext, service: Served, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    console.allow("status of 404")
    chat = await signed_in(context, service)
    await taken(chat, FILES / "claude.json")
    change(service, monkeypatch, search="off")
    await look_for(chat, "poe")
    await expect(chat.page.get_by_label("Search titles", exact=True)).to_have_value("poe")
    await expect(titles(chat)).to_have_text(["A poem"])


async def test_progress_is_told_while_the_service_reads(
    context: BrowserContext, service: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.routes.import_course.PROGRESS_SECONDS", 0.1)
    chat = await signed_in(context, service)
    await chat.page.evaluate("""() => {
        window.told = [];
        const look = () => told.push(document.getElementById("import-state")?.textContent ?? "");
        const all = { childList: true, characterData: true, subtree: true };
        new MutationObserver(look).observe(document.body, all);
    }""")
    said = await taken(chat, claude(tmp_path / "a.json", *("tea",) * 300))
    assert "300 conversations with 300 messages were added." in said
    told = await chat.page.evaluate("told")
    assert any(
        re.fullmatch(r"The file is being read: 100 %\. [\d,]+ conversations so far\.", each) for each in told
    )


async def test_a_file_that_ends_in_the_middle_is_taken_as_far_as_it_goes(
    context: BrowserContext, service: Served, tmp_path: Path
) -> None:
    chat = await signed_in(context, service)
    file = claude(tmp_path / "a.json", "one", "two")
    file.write_text(file.read_text()[:-30])
    dialog = await bring_in(chat, file)
    await expect(dialog).to_contain_text("1 conversation with 1 message was added.")
    await expect(dialog.get_by_role("listitem").locator("span")).to_have_text([re.compile(r"The file .+\.")])
    await expect(dialog.get_by_role("listitem").locator("bdi")).to_have_count(0)


async def test_of_several_files_those_that_are_no_exports_are_told(
    context: BrowserContext,
    service: Served,
    tmp_path: Path,
    console: Console,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    console.allow("status of 41[35]")
    change(service, monkeypatch, import_max_bytes=2**20)
    letter, large = tmp_path / "letter.txt", tmp_path / "large.json"
    letter.write_text("Dear reader")
    claude(large, "word " * 4_000_000)  # more than a request that is refused is read of
    chat = await signed_in(context, service)
    dialog = await bring_in(chat, letter, large, FILES / "librechat.json")
    await expect(dialog).to_contain_text("1 conversation with 5 messages was added.")
    problems = dialog.get_by_role("listitem")
    await expect(problems.nth(0)).to_contain_text("letter.txtThis isn't JSON")
    await expect(problems.nth(1)).to_contain_text(
        "large.jsonThe file is larger than what may be imported at once."
    )
