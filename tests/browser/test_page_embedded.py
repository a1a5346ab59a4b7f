"""The page as part of a site: below one of its paths, with the site's own sign-in."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from uuid import uuid4

import aiohttp
import pytest
from aiohttp import web
from playwright.async_api import Browser, BrowserContext, Page, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage, open_tab
from tests.browser.conftest import Console
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.model_server import ModelServer
from tests.support.processes import free_port
from tests.support.programs import chromium
from tests.support.tab import token_of

HOP_BY_HOP = {"transfer-encoding", "connection", "content-encoding", "content-length"}


@dataclass
class HostSite:
    """A site with the service below /chat/, which gives its page a token at /session/token.

    `tokens`: the tokens that it gives, one after the other, the last one repeatedly; none: signed out.
    """

    service: str
    tokens: list[str] = field(default_factory=list)
    asked: int = 0
    cookies: list[str] = field(default_factory=list)

    async def token(self, request: web.Request) -> web.Response:
        self.asked += 1
        self.cookies.append(request.headers.get("Cookie", ""))
        if not self.tokens:
            return web.json_response({"detail": "sign in"}, status=401)
        return web.json_response({"token": self.tokens[0] if len(self.tokens) == 1 else self.tokens.pop(0)})

    async def home(self, _: web.Request) -> web.Response:
        response = web.Response(text="home")
        response.set_cookie("session", "of-the-site", httponly=True, samesite="Strict")
        return response

    async def chat(self, request: web.Request) -> web.StreamResponse:
        url = f"{self.service}/{request.match_info['path']}"
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.request(
                request.method,
                url,
                params=request.query,
                headers={name: value for name, value in request.headers.items() if name != "Host"},
                data=await request.read(),
            ) as answer,
        ):
            passed = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            if encoding := answer.headers.get("Content-Encoding"):
                passed["Content-Encoding"] = encoding
            response = web.StreamResponse(status=answer.status, headers=passed)
            await response.prepare(request)
            async for chunk in answer.content.iter_any():
                await response.write(chunk)
            return response


@pytest.fixture
async def host(start: Start, settings: Settings) -> AsyncIterator[tuple[HostSite, str]]:
    """The site, and its URL."""
    port = free_port()
    # Root-relative, so it is the site's path, not the service's.
    await start(settings.model_copy(update={"web_token_url": "/session/token"}), port)
    site = HostSite(f"http://127.0.0.1:{port}")
    app = web.Application()
    app.router.add_get("/", site.home)
    app.router.add_get("/session/token", site.token)
    app.router.add_route("*", "/chat/{path:.*}", site.chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    own = free_port()
    await web.TCPSite(runner, "127.0.0.1", own).start()
    yield site, f"http://127.0.0.1:{own}"
    await runner.cleanup()


async def test_below_a_path_with_the_sites_own_sign_in(
    page: Page, host: tuple[HostSite, str], auth: AuthService, model: ModelServer
) -> None:
    site, address = host
    site.tokens = [token_of(auth.sign_in())]
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    chat = ChatPage(page, model)
    await page.goto(f"{address}/chat/")
    await chat.exchange("Hi", "Hel", "lo.")
    await expect(chat.said).to_have_text("Hello.")
    await page.reload()
    await expect(chat.said).to_have_text("Hello.")
    stray = [url for url in asked if not url.startswith((f"{address}/chat/", f"{address}/session/token"))]
    assert stray == []
    assert await page.evaluate("sessionStorage.getItem('chat.token')") is None
    await chat.button("Settings").click()
    await expect(chat.button("Sign out")).to_have_count(0)  # the site's own paths
    await page.close()


async def test_the_token_is_fetched_with_the_sites_cookie_and_anew_when_it_has_ended(
    page: Page, host: tuple[HostSite, str], auth: AuthService, model: ModelServer, console: Console
) -> None:
    console.allow("status of 401|favicon")
    site, address = host
    user = uuid4()
    site.tokens = [token_of(auth.sign_in(user, exp=time.time() + 3)), token_of(auth.sign_in(user))]
    await page.goto(address)
    await page.goto(f"{address}/chat/")
    chat = ChatPage(page, model)
    call = await chat.ask("Hi", "one ")
    await expect(chat.said).to_have_text("one")

    async def renewed() -> bool:
        return site.asked >= 2

    await until(renewed)
    call.finish("two")
    await chat.idle()
    await expect(chat.said).to_have_text("one two")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    assert set(site.cookies) == {"session=of-the-site"}
    await page.close()


async def test_who_is_signed_out_of_the_site_may_sign_in_there_and_go_on(
    page: Page, host: tuple[HostSite, str], auth: AuthService, model: ModelServer, console: Console
) -> None:
    console.allow("status of 401")
    site, address = host
    await page.goto(f"{address}/chat/")
    dialog = page.get_by_role("dialog", name="You are signed out")
    await expect(dialog).to_be_visible()
    await page.get_by_role("button", name="Continue").click()
    await expect(dialog).to_be_visible()
    site.tokens = [token_of(auth.sign_in())]
    await page.get_by_role("button", name="Continue").click()
    await expect(dialog).to_have_count(0)
    await ChatPage(page, model).exchange("Hi", "Hello.")
    await page.close()


@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_below_base_path(
    context: BrowserContext,
    start: Start,
    settings: Settings,
    auth: AuthService,
    model: ModelServer,
    transport: str,
) -> None:
    client = await start(settings.model_copy(update={"base_path": "/chat"}))
    address = str(client.make_url("/chat"))
    keep = f"localStorage.setItem('chat.transport', '{transport}')"
    await context.add_init_script(f"if (location.protocol === 'http:') {keep}")
    chat = await open_tab(context, address, token_of(auth.sign_in()), model)
    await chat.exchange("Hi", "Hel", "lo.")
    await expect(chat.said).to_have_text("Hello.")
    await chat.page.close()


async def test_in_a_local_network_without_tls(
    browser: Browser,
    console: Console,
    start: Start,
    settings: Settings,
    auth: AuthService,
    model: ModelServer,
) -> None:
    """A host name other than localhost is not a secure context: the clipboard and other APIs are missing."""
    port = free_port()
    await start(settings, port)
    args = ["--no-sandbox", "--host-resolver-rules=MAP chat.test 127.0.0.1"]
    named = await browser.browser_type.launch(executable_path=chromium(), args=args)
    context = await named.new_context()
    console.allow("Cross-Origin-Opener-Policy header has been ignored")
    console.watch(context)
    chat = await open_tab(context, f"http://chat.test:{port}", token_of(auth.sign_in()), model)
    assert not await chat.page.evaluate("isSecureContext")
    await chat.exchange("Hi", "Hello **there**.\n\n```python\nprint(1)\n```")
    await expect(chat.said.locator("strong")).to_have_text("there")
    await expect(chat.said.locator(".hljs-built_in")).to_have_text("print")
    await chat.button("Copy the answer").click()
    await expect(chat.page.get_by_text("Copied.")).to_be_visible()
    await chat.prompt.press("Control+v")
    await expect(chat.prompt).to_have_value(re.compile(r"^Hello \*\*there\*\*\."))
    await named.close()
