"""The service's own page, as a reader uses it."""

from __future__ import annotations

from dataclasses import dataclass

from playwright.async_api import BrowserContext, Locator, Page, expect

from tests.support.model_server import Call, ModelServer

# Set once for the tab, as if it had been typed: a reload after a sign-out must not restore it.
TYPED = "if (!sessionStorage.typed) Object.assign(sessionStorage, { typed: true, 'chat.token': '%s' })"


@dataclass(frozen=True)
class ChatPage:
    """A tab with the page."""

    page: Page
    model: ModelServer

    @property
    def prompt(self) -> Locator:
        """The message box."""
        return self.page.get_by_label("Message", exact=True)

    @property
    def questions(self) -> Locator:
        """The questions' elements."""
        return self.page.get_by_role("article", name="You said")

    @property
    def asked(self) -> Locator:
        """The text of each question."""
        return self.questions.locator(".bubble")

    @property
    def answers(self) -> Locator:
        """The answers' elements."""
        return self.page.get_by_role("article", name="The answer")

    @property
    def said(self) -> Locator:
        """The text of each answer, without the model's thinking."""
        return self.answers.locator("> .prose")

    @property
    def thinking(self) -> Locator:
        """What the model thought before each answer."""
        return self.answers.locator(".thinking")

    @property
    def calls(self) -> Locator:
        """The tool calls."""
        return self.answers.get_by_role("list", name="Tool calls").get_by_role("listitem")

    @property
    def rows(self) -> Locator:
        """The conversations in the sidebar."""
        return self.page.locator("#conversations li")

    def row(self, title: str) -> Locator:
        """The row of one conversation."""
        return self.rows.filter(has_text=title)

    def button(self, name: str) -> Locator:
        """A button by its full name."""
        return self.page.get_by_role("button", name=name, exact=True)

    async def send(self, text: str) -> None:
        """Write a message and press Enter."""
        await self.prompt.fill(text)
        await self.prompt.press("Enter")

    async def ask(self, text: str, *tokens: str) -> Call:
        """Send a message, and let the model say the first tokens."""
        await self.send(text)
        call = await self.model.call()
        call.say(*tokens)
        return call

    async def exchange(self, text: str, *tokens: str) -> None:
        """Send a message, and wait for the whole answer."""
        before = await self.answers.count()
        call = await self.ask(text)
        call.finish(*tokens)
        await expect(self.answers).to_have_count(before + 1)
        await self.idle()

    async def idle(self) -> None:
        """Wait until no answer is being written."""
        await expect(self.page.locator("#composer")).to_have_attribute("data-state", "ready")

    async def menu(self, title: str, entry: str) -> None:
        """Choose an entry of a conversation's menu."""
        await self.row(title).hover()
        await self.row(title).get_by_role("button").click()
        await self.page.get_by_role("menuitem", name=entry).click()


async def open_tab(context: BrowserContext, address: str, token: str, model: ModelServer) -> ChatPage:
    """Open a tab that is signed in, at a new conversation."""
    page = await context.new_page()
    await page.add_init_script(TYPED % token)
    await page.goto(f"{address}/")
    return ChatPage(page, model)
