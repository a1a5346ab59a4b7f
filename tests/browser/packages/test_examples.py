"""The examples of docs/packages.md, in an application that Vite has built."""

from __future__ import annotations

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Served
from tests.browser.site import Site

ADDRESS = "https://chat.example.org/"


@pytest.fixture
async def at(page: Page, service: Served) -> Page:
    """A page in which the example's service is this one."""

    async def replace(route: Route) -> None:
        response = await route.fetch()
        text = (await response.text()).replace(ADDRESS, f"{service.address}/")
        await route.fulfill(response=response, body=text)

    await page.route("**/assets/*.js", replace)
    return page


@pytest.mark.parametrize("name", ["react", "ai-sdk"])
async def test_example_streams_goes_on_after_a_reload_and_stops(
    at: Page, pages: str, site: Site, service: Served, name: str
) -> None:
    site.token = service.token()
    await at.goto(f"{pages}/example-{name}.html")
    box = at.get_by_role("textbox")
    messages = at.locator("form > p:not([role])")
    await box.fill("How is masala chai made?")
    await box.press("Enter")
    call = await service.model.call()
    assert call.request["messages"] == [{"role": "user", "content": "How is masala chai made?"}]
    call.say("Boil ")
    await expect(messages).to_have_text(["How is masala chai made?", "Boil "])
    await expect(box).to_be_empty()
    await at.reload()
    await expect(messages).to_have_text(["How is masala chai made?", "Boil "])
    call.say("water")
    await expect(messages).to_have_text(["How is masala chai made?", "Boil water"])
    await at.get_by_role("button", name="Stop").click()
    await call.closed.wait()
    await expect(at.get_by_role("button")).to_have_text(["Send"])
    await expect(messages).to_have_text(["How is masala chai made?", "Boil water"])
    await box.fill("And then?")
    await box.press("Enter")
    (await service.model.call()).finish("Add milk")
    said = ["How is masala chai made?", "Boil water", "And then?", "Add milk"]
    await expect(messages).to_have_text(said)
    await expect(at.get_by_role("alert")).to_be_empty()
