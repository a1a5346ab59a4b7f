"""The page behind a proxy that signs its readers in (AUTH=header): the real nginx, a session by cookie."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import NAMESPACE_URL, uuid5

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from playwright.async_api import Browser, expect

from chat_api.settings import Settings
from tests.browser.chat_page import ChatPage
from tests.browser.conftest import SECONDS, Console
from tests.conftest import Start
from tests.deploy.nginx.server import Nginx
from tests.support.model_server import ModelServer
from tests.support.queries import Connection


@pytest.fixture
async def proxy(start: Start, settings: Settings) -> AsyncIterator[Nginx]:
    """nginx in front of the service. Who has the cookie is alice."""

    async def session(request: web.Request) -> web.Response:
        if request.cookies.get("session") != "good":
            return web.Response(status=401)
        return web.Response(status=204, headers={"X-Chat-User": "alice"})

    app = web.Application()
    app.router.add_get("/chat-session", session)
    client = await start(settings.model_copy(update={"auth": "header", "base_path": "/chat"}))
    async with TestServer(app) as site:
        places = {"8002": client.port, "8080": site.port}
        adapted = {f"127.0.0.1:{old}": f"127.0.0.1:{new}" for old, new in places.items()}
        async with Nginx("header", "port", adapted) as nginx:
            yield nginx


@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_the_page_works_without_a_token(
    browser: Browser, console: Console, proxy: Nginx, model: ModelServer, sql: Connection, transport: str
) -> None:
    context = await browser.new_context(ignore_https_errors=True)
    context.set_default_timeout(SECONDS * 1000)
    console.watch(context)
    await context.add_cookies([{"name": "session", "value": "good", "url": proxy.url}])
    await context.add_init_script(f"if (location.host) localStorage.setItem('chat.transport', '{transport}')")
    page = await context.new_page()
    await page.goto(f"{proxy.url}/chat/")
    chat = ChatPage(page, model)
    await chat.exchange("How is tea made?", "With ", "ginger.")
    await expect(chat.said).to_contain_text("With ginger.")
    await expect(page.get_by_role("dialog")).to_have_count(0)
    user_id = uuid5(uuid5(NAMESPACE_URL, "proxy"), "alice")
    assert await sql.fetchval("select user_id from conversations") == user_id
    await page.reload()
    await expect(chat.said).to_contain_text("With ginger.")
    console.is_over = True
    await context.close()
