"""What a program asks by OpenAI's library stands in the page."""

from __future__ import annotations

from playwright.async_api import BrowserContext, expect

from tests.browser.chat_page import open_tab
from tests.browser.conftest import Served
from tests.support.sdk import connected


async def test_a_programs_conversation_of_three_turns_is_shown_and_goes_on(
    context: BrowserContext, service: Served
) -> None:
    token = service.token()
    async with connected(service.address, {"Authorization": f"Bearer {token}"}) as program:
        conversation = (await program.conversations.create()).id
        for question, answer in (("One?", "Uno."), ("Two?", "Due."), ("Three?", "Tre.")):
            service.model.say = [answer]
            response = await program.responses.create(input=question, conversation=conversation)
            assert response.output_text == answer
        tab = await open_tab(context, service.address, token, service.model)
        await tab.page.get_by_role("link", name="One?").click()
        await expect(tab.questions).to_contain_text(["One?", "Two?", "Three?"])
        await expect(tab.answers).to_contain_text(["Uno.", "Due.", "Tre."])
        service.model.say = ["Quattro."]
        await tab.prompt.fill("And four?")
        await tab.prompt.press("Enter")
        await expect(tab.said.nth(3)).to_contain_text("Quattro.")
        items = await program.conversations.items.list(conversation, order="desc", limit=1)
        assert "Quattro." in items.data[0].to_json()
