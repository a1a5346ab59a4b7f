"""The page that shows the API's description works under its own strict policy, also below a path."""

from __future__ import annotations

import pytest
from playwright.async_api import BrowserContext, Page, expect

from tests.browser.conftest import Served


async def open_page(page: Page, address: str) -> None:
    await page.goto(f"{address}/api/docs")
    await expect(page.get_by_text("Conversations", exact=True).first).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
async def test_every_part_of_the_page_is_shown_without_a_complaint(
    page: Page, service: Served, scheme: str, width: int
) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    await page.set_viewport_size({"width": width, "height": 900})
    await open_page(page, service.address)
    for link in await page.locator("[id^=link-]").all():  # a phone has none: it shows everything
        await link.evaluate("each => each.click()")
    await expect(page.get_by_text("samosaChaat chat API").first).to_be_visible()


async def test_a_request_can_be_tried(page: Page, service: Served) -> None:
    await open_page(page, service.address)
    await page.get_by_text("Authentication", exact=True).click()
    field = page.get_by_placeholder("api-token")  # there is one for tickets, too
    header = page.locator("td").filter(has_text="Authorization").filter(has=field)
    await header.locator(field).fill(service.token())
    await header.get_by_role("button", name="SET").click()
    await page.get_by_text("List conversations", exact=True).click()
    async with page.expect_response(lambda response: "/api/conversations?" in response.url) as asked:
        await page.get_by_role("button", name="EXECUTE").click()
    response = await asked.value
    assert (response.status, (await response.json())["items"]) == (200, [])


async def test_the_page_asks_no_other_host(context: BrowserContext, page: Page, service: Served) -> None:
    asked: list[str] = []
    context.on("request", lambda request: asked.append(request.url))
    await open_page(page, service.address)
    assert [url for url in asked if not url.startswith((service.address, "data:"))] == []
