"""The README's pictures, taken of the current page: `make screenshots` puts them into docs/screenshots."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import pytest
from playwright.async_api import BrowserContext, ViewportSize, expect

from tests.browser.chat_page import open_tab
from tests.browser.conftest import Served
from tests.browser.sample import ANSWER, QUESTION
from tests.support.chat import Sql, open_chat

DESKTOP = ViewportSize(width=1180, height=860)
PHONE = ViewportSize(width=390, height=760)
LARGEST = 250_000  # bytes: a README loads all of them
EARLIER = [
    (0, "Masala chai for four"),
    (1, "Why is the sky blue?"),
    (1, "Translate a letter to my landlord"),
    (3, "Names for a cat"),
    (4, "SQL: newest row of each group"),
    (6, "Plan a quiet weekend in the hills"),
    (12, "Explain TLS to my grandmother"),
    (19, "Regular expression for dates"),
]


@pytest.mark.parametrize(
    ("name", "theme", "size"),
    [("light", "light", DESKTOP), ("dark", "dark", DESKTOP), ("phone", "light", PHONE)],
)
async def test_screenshot(
    name: str,
    theme: Literal["light", "dark"],
    size: ViewportSize,
    context: BrowserContext,
    service: Served,
    sql: Sql,
    tmp_path: Path,
) -> None:
    service.model.models = (
        200,
        {"current_model": "nanochat-d20", "models": ["nanochat-d20", "nanochat-d32"]},
    )
    token = service.token()
    for days, title in EARLIER:
        chat = await open_chat(service.client, {"Authorization": f"Bearer {token}"}, title=title)
        await sql.execute(
            "update conversations set updated_at = $1, is_favorited = $2 where id = $3::uuid",
            datetime.now(UTC) - timedelta(days=days, minutes=1),
            title == "Names for a cat",
            chat.path.rpartition("/")[2],
        )
    tab = await open_tab(context, service.address, token, service.model)
    await tab.page.set_viewport_size(size)
    await tab.page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    call = await tab.ask(QUESTION, *(f"{word} " for word in ANSWER.rpartition("> ")[0].split(" ")))
    await expect(tab.said.locator(".hljs-keyword").first).to_be_visible()
    call.finish("> Above a hundred million,", " use a segmented sieve.")
    await tab.idle()
    await tab.page.locator("#thread").evaluate("thread => thread.scrollTop = 0")

    picture = await tab.page.screenshot(path=f"{os.environ.get('SCREENSHOTS') or tmp_path}/{name}.png")
    assert 20_000 < len(picture) < LARGEST
