"""The page of `chat-api dev`: it signs in by itself, and the real local model answers."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.chat_page import ChatPage
from tests.dev.dev_process import READY, DevProcess
from tests.support.model_server import ModelServer
from tests.support.processes import free_port

SOME = re.compile(r"\w+ \w+")


async def test_the_printed_address_opens_a_chat_with_the_real_local_model(
    page: Page, tmp_path: Path, model: ModelServer
) -> None:
    async with DevProcess(tmp_path, "--port", str(free_port())) as stack:
        await stack.until(READY, 300)
        await page.goto(stack.page)
        chat = ChatPage(page, model)
        await expect(page.get_by_role("button", name="Model: SmolLM2")).to_be_visible(timeout=20_000)
        await chat.send("Tell me a long story about tea.")
        await expect(chat.said).to_have_text(SOME, timeout=30_000)
        await page.reload()
        # The model uses every core that it gets.
        await expect(chat.asked).to_have_text("Tell me a long story about tea.", timeout=30_000)
        await expect(chat.said).to_have_text(SOME, timeout=30_000)
        before = await chat.said.inner_text()
        await expect(chat.said).not_to_have_text(before, use_inner_text=True, timeout=30_000)  # it grows
        await page.keyboard.press("Escape")  # such a model goes on for minutes
        await chat.idle()
        said = await chat.said.inner_text()
        assert said.startswith(before)
        await page.reload()
        await expect(chat.said).to_have_text(said, use_inner_text=True)
        await expect(chat.answers.locator(".message-foot")).to_contain_text("token")
        assert stack.token not in page.url
        assert await page.evaluate("sessionStorage.getItem('chat.token')") is None
        await page.close()  # before its service ends, or it would complain
