"""The page and the real routes: a file of another product is imported, searched, read, exported, and imported again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from playwright.async_api import BrowserContext, Download, Locator, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console, Served
from tests.browser.test_page_search import field, found, outcome, titles
from tests.browser.test_page_transfer import held, settle_on
from tests.importing.test_formats import FILES


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
        "another po",
    ),
    Product(
        "librechat",
        "1 conversation with 5 messages was added. 1 message was left out.",
        "Pictures or files are named in their place: 1.",
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
