"""A real browser, and the service behind a network. `make test-browser` runs all tests on one event loop."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.embedded import Embedded
from tests.browser.site import Site
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.processes import free_port
from tests.support.programs import chromium
from tests.support.tab import token_of
from tests.support.wire import HttpWire

SECONDS = 20  # for anything to happen in a browser on a busy machine


def pytest_configure(config: pytest.Config) -> None:
    if config.getini("asyncio_default_fixture_loop_scope") != "session":
        raise pytest.UsageError("run the browser's tests with: make test-browser")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The browser that all tests share."""
    expect.set_options(timeout=SECONDS * 1000)
    async with async_playwright() as playwright:
        # The sandbox refuses to start for root, and the pages are the project's own.
        started = await playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        yield started
        await started.close()


@dataclass
class Console:
    """The browser's errors and warnings. Each one fails the test, unless it was expected."""

    problems: list[str] = field(default_factory=list)
    is_over: bool = False  # the test has ended, and servers end before the browser
    _allowed: list[str] = field(default_factory=list)

    def allow(self, pattern: str) -> None:
        """Expect errors that match this regular expression, such as refused requests."""
        self._allowed.append(pattern)

    @property
    def unforeseen(self) -> list[str]:
        """The errors that weren't expected."""
        return [each for each in self.problems if not any(re.search(this, each) for this in self._allowed)]

    def watch(self, context: BrowserContext) -> None:
        """Listen to all pages of a context."""
        context.on("console", self._hear)
        context.on("weberror", lambda error: self.problems.append(f"uncaught: {error.error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not self.is_over:
            self.problems.append(f"{message.text} ({message.location['url']})")


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    """The errors and warnings of this test's pages."""
    console = Console()
    yield console
    assert console.unforeseen == []


@pytest.fixture
async def context(browser: Browser, console: Console) -> AsyncIterator[BrowserContext]:
    """A browser profile for this test; its pages are tabs."""
    context = await browser.new_context()
    context.set_default_timeout(SECONDS * 1000)
    console.watch(context)
    yield context
    await context.close()


@pytest.fixture
async def page(context: BrowserContext) -> Page:
    """A tab. The test fails if it logs an error or a warning, or if an exception isn't caught."""
    return await context.new_page()


@dataclass(frozen=True)
class Served:
    """The running service: its URL, its users, and its model server."""

    address: str
    client: Client
    auth: AuthService
    model: ModelServer

    def token(self, *, exp: float | None = None, is_admin: bool | None = None) -> str:
        """A new user's token; `exp` in Unix seconds."""
        return token_of(self.auth.sign_in(exp=exp, is_admin=is_admin))


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """Another site, whose origin may call the service."""
    async with Site() as site:
        yield site


@pytest.fixture
async def service(
    start: Start, settings: Settings, site: Site, auth: AuthService, model: ModelServer, console: Console
) -> AsyncIterator[Served]:
    """The service on a port of 127.0.0.1, with a scripted model. Its own pages and the site's may call it."""
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    allowed = settings.model_copy(update={"frontend_url": f"{address},{site.url}", "expired_streams": "cut"})
    client = await start(allowed, port)
    yield Served(address, client, auth, model)
    console.is_over = True


@pytest.fixture
async def wire(service: Served, console: Console) -> AsyncIterator[HttpWire]:
    """A network to the service that can be broken."""
    async with HttpWire(service.client.host, service.client.port) as wire:
        yield wire
        console.is_over = True


@pytest.fixture
async def embedded(page: Page, site: Site, service: Served, wire: HttpWire) -> Embedded:
    """The client in a page of the site, over that network, signed in."""
    await page.goto(site.url)
    return Embedded(page, wire.address, service.token())


@pytest.fixture
async def chat(context: BrowserContext, service: Served) -> ChatPage:
    """A tab with the service's own page, signed in, at a new conversation."""
    return await open_tab(context, service.address, service.token(), service.model)


@pytest.fixture(params=["sse", "ws"])
async def reader_transport(request: pytest.FixtureRequest, context: BrowserContext) -> None:
    """The transport that the reader has chosen in all tabs."""
    script = f"if (location.host) localStorage.setItem('chat.transport', '{request.param}')"
    await context.add_init_script(script)  # a page that is still blank has no storage
