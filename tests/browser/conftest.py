"""A real browser, and the service as it reaches it. `make test-browser` runs all on one event loop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.embedded import Embedded
from tests.browser.site import Site
from tests.browser.wire import Wire
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.processes import free_port
from tests.support.programs import chromium
from tests.support.tab import token_of

SECONDS = 10  # what a browser may take for anything on a busy machine


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("asyncio_default_fixture_loop_scope") != "session":
        raise pytest.UsageError("run the browser's tests with: make test-browser")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser that all tests share."""
    async with async_playwright() as playwright:
        # Its sandbox refuses to start for root, and these are our own pages.
        started = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        await started.close()


@dataclass
class Console:
    """What the browser complains of: each line fails the test, unless it was foreseen."""

    problems: list[str] = field(default_factory=list)
    is_over: bool = False  # the test has ended: what is complained of is that servers end before the browser
    _allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Expect complaints that hold this regular expression; a refused request is one."""
        self._allowed.append(pattern)

    @property
    def unforeseen(self) -> list[str]:
        """The others."""
        return [each for each in self.problems if not any(re.search(this, each) for this in self._allowed)]

    def watch(self, context: BrowserContext) -> None:
        """Listen to all its pages."""
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.is_over:
            self.problems.append(f"{message.text} ({message.location['url']})")


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    """What this test's pages complain of."""
    console = Console()
    yield console
    assert console.unforeseen == []


@pytest.fixture
async def context(browser: Browser, console: Console) -> AsyncIterator[BrowserContext]:
    """A profile of this test's own; its pages are tabs of one browser."""
    context = await browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    console.watch(context)
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A tab. The test fails when it logs an error or a warning, or throws one that nobody catches."""
    return await context.new_page()


@dataclass(frozen=True)
class Served:
    """The running service: where it is, who may use it, and what its model says."""

    address: str
    client: Client
    auth: AuthService
    model: ModelServer

    def token(self, *, exp: float | None = None, is_admin: bool | None = None) -> str:
        """A new user's token; `exp` in Unix seconds."""
        return token_of(self.auth.sign_in(exp=exp, is_admin=is_admin))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Another site, which may use the service."""
    async with Site() as site:
        yield site


@pytest.fixture
async def service(
    start: Start, settings: Settings, site: Site, auth: AuthService, model: ModelServer, console: Console
) -> AsyncIterator[Served]:
    """The service on a port of 127.0.0.1, with a scripted model; its own pages and the site's may use it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    allowed = settings.model_copy(update={"frontend_url": f"{address},{site.url}"})
    client = await start(allowed, port)
    yield Served(address, client, auth, model)
    console.is_over = True


@pytest.fixture
async def wire(service: Served, console: Console) -> AsyncIterator[Wire]:
    """A network to the service that can be broken."""
    async with Wire(service.client.host, service.client.port) as wire:
        yield wire
        console.is_over = True


@pytest.fixture
async def embedded(page: Page, site: Site, service: Served, wire: Wire) -> Embedded:
    """The client in a page of that site, over that network, signed in."""
    await page.goto(site.url)
    return Embedded(page, wire.address, service.token())


@pytest.fixture
async def chat(context: BrowserContext, service: Served) -> ChatPage:
    """A tab with the service's own page, signed in, at a new conversation."""
    return await open_tab(context, service.address, service.token(), service.model)
