"""The service mounted in another aiohttp application."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestClient

from chat_api.app import create_app
from chat_api.dev.tether import tethered
from chat_api.settings import Settings
from tests.conftest import LastingServer
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, no_answer_lives
from tests.support.model_server import ModelServer
from tests.support.processes import free_port, until
from tests.support.reader import read_events, text_of
from tests.support.service import environment
from tests.support.tab import open_tab, words

Headers = dict[str, str]
Handler = Callable[[web.Request], Any]
Embed = Callable[..., Any]


async def open_embedded(client: Client, user: Headers) -> Chat:
    response = await client.post("/chat/api/conversations", headers=user)
    assert response.status == 201, await response.text()
    return Chat(client, f"/chat/api/conversations/{(await response.json())['id']}", user)


@pytest.fixture
async def embed(model: ModelServer, auth: AuthService) -> AsyncIterator[Embed]:
    """Run an application with the service mounted below a path; `site` may have more routes."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(
            settings: Settings, site: web.Application | None = None, prefix: str = "/chat"
        ) -> Client:
            site = web.Application() if site is None else site
            site.add_subapp(prefix, create_app(settings))
            return await stack.enter_async_context(TestClient(LastingServer(site)))

        yield run


@pytest.fixture
async def client(embed: Embed, settings: Settings) -> Client:
    embedded: Client = await embed(settings)
    return embedded


@pytest.fixture
async def chat(client: Client, user: Headers) -> Chat:
    return await open_embedded(client, user)


async def test_the_pages_lines_run_and_drain(
    checkout: Path, settings: Settings, user: Headers, model: ModelServer, tmp_path: Path
) -> None:
    page = checkout / "docs" / "operations" / "README.md"
    section = page.read_text().partition("## Inside another aiohttp application")[2]
    example = re.search(r"```python\n(.*?)```", section, re.DOTALL)
    assert example is not None
    lines = [line for line in example[1].splitlines() if line]
    assert len(lines) <= 10
    port = free_port()
    assert "port=8080" in example[1]
    lasting = settings.model_copy(update={"drain_seconds": 10.0})
    process = await asyncio.create_subprocess_exec(
        *tethered(
            [sys.executable, "-c", example[1].replace("port=8080", f"port={port}, host='127.0.0.1'")],
            signal.SIGKILL,
        ),
        env=environment(lasting),
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )

    async def serves() -> bool:
        assert process.returncode is None
        try:
            return (await http.get("/chat/api/ready")).status == 200
        except aiohttp.ClientConnectionError:
            return False

    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        await until(serves)
        async with http.post("/chat/api/conversations", headers=user) as response:
            path = f"/chat/api/conversations/{(await response.json())['id']}"
        async with (
            http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream,
            open_tab(http, user, path="/chat/api/ws") as tab,
        ):
            call = await model.call()
            call.say("so ")
            await read_events(stream, 2)
            process.send_signal(signal.SIGTERM)

            async def closed() -> bool:
                assert process.returncode is None
                try:
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                except ConnectionRefusedError:
                    return True
                return False

            await until(closed)
            call.finish("far")
            assert text_of(await read_events(stream)) == "far"
            assert await tab.close_code() == 1001
    async with asyncio.timeout(10):
        _, said = await process.communicate()
    assert process.returncode == 0, said
    requests = [line for line in said.decode().splitlines() if '"event":"request"' in line]
    assert any('"path":"/chat/api/conversations"' in line for line in requests)


async def test_everything_lies_below_the_path(
    client: Client, chat: Chat, user: Headers, model: ModelServer
) -> None:
    assert text_of(await chat.exchange(model, "tea")) == "tea"
    async with open_tab(client, user, path="/chat/api/ws") as tab:
        await tab.say("regenerate", chat.path)
        (await model.call()).finish("chai")
        assert words(await tab.events()) == "chai"
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "chai", "stop")]
    assert (await client.get("/chat/api/health")).status == 200
    figures = await (await client.get("/chat/metrics")).text()
    assert 'method="POST",route="/api/conversations/{id}/messages",status="200"} 1.0' in figures
    assert "/chat/" not in figures


async def test_errors_are_the_services_below_it_and_the_sites_beside_it(
    client: Client, user: Headers
) -> None:
    for method, path, status, code in [
        ("GET", "/chat/api/conversations", 401, "unauthorized"),
        ("GET", "/chat/nothing", 404, "not_found"),
        ("GET", "/chat/web/nothing", 404, "not_found"),
        ("GET", "/chat/api/conversations/x", 404, "conversation_not_found"),
        ("PATCH", "/chat/api/conversations", 405, "method_not_allowed"),
    ]:
        headers = {} if status == 401 else user
        response = await client.request(method, path, headers=headers)
        assert (response.status, (await response.json())["code"]) == (status, code), path
        assert response.headers["X-Trace-Id"]
        assert response.headers["Server"] == "chat-api"
    for path in ("/", "/api/health", "/chatter"):
        response = await client.get(path)
        assert (response.status, response.content_type) == (404, "text/plain")
        assert "X-Trace-Id" not in response.headers


@pytest.mark.parametrize("limit", [0, 2**20, 5000])
async def test_bodies_keep_the_services_limit(
    embed: Embed, settings: Settings, user: Headers, limit: int
) -> None:
    site = web.Application(client_max_size=limit)
    client = await embed(settings.model_copy(update={"max_body_bytes": 10_000}), site)
    headers = user | {"Content-Type": "application/json"}
    for size, status in [(4000, 201), (10_001, 413)]:
        body = b'{"title": "a"' + b" " * (size - 14) + b"}"
        response = await client.post("/chat/api/conversations", data=body, headers=headers)
        assert response.status == status
    assert (await response.json())["code"] == "body_too_large"


async def test_pages_of_the_front_end_are_let_in(client: Client, chat: Chat, user: Headers) -> None:
    origin = {"Origin": "http://localhost:3000"}
    preflight = await client.options(chat.path, headers=origin | {"Access-Control-Request-Method": "PUT"})
    assert (preflight.status, preflight.headers["Access-Control-Allow-Methods"]) == (200, "PUT")
    response = await client.get(chat.path, headers=origin | user)
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    foreign = await client.get(chat.path, headers={"Origin": "https://evil.example"} | user)
    assert "Access-Control-Allow-Origin" not in foreign.headers


@pytest.fixture
def seen() -> list[tuple[str, int, dict[str, Any]]]:
    """What a middleware of the site sees: path, status, and log context after the request."""
    return []


@pytest.fixture
def site(seen: list[tuple[str, int, dict[str, Any]]]) -> web.Application:
    """An application with pages, a middleware that reads bodies, and headers of its own."""

    @web.middleware
    async def look(request: web.Request, handler: Handler) -> web.StreamResponse:
        with structlog.contextvars.bound_contextvars(trace_id="the-sites", page=request.path):
            await request.read()
            response: web.StreamResponse = await handler(request)
            seen.append((request.path, response.status, structlog.contextvars.get_contextvars()))
            return response

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="the site's own page")

    async def mark(_: web.Request, response: web.StreamResponse) -> None:
        response.headers["X-Site"] = "here"

    site = web.Application(middlewares=[look])
    site.router.add_get("/", page)
    site.on_response_prepare.append(mark)
    return site


async def test_the_sites_middlewares_and_signals_go_around_it(
    embed: Embed,
    settings: Settings,
    site: web.Application,
    seen: list[Any],
    user: Headers,
    model: ModelServer,
) -> None:
    client = await embed(settings, site)
    forwarded = user | {"X-Forwarded-For": "203.0.113.9"}  # as nginx would add it
    chat = await open_embedded(client, forwarded)
    assert text_of(await chat.exchange(model, "tea")) == "tea"
    response = await client.get(chat.path, headers=user)
    assert (response.headers["X-Site"], response.headers["Server"]) == ("here", "chat-api")
    assert (await client.get("/")).headers["Server"] != "chat-api"
    assert [(path, status) for path, status, _ in seen] == [
        ("/chat/api/conversations", 201),
        (f"{chat.path}/messages", 200),
        (chat.path, 200),
        ("/", 200),
    ]
    # The site's log context is its own again, so its next line has no user's id.
    assert [context for *_, context in seen] == [{"trace_id": "the-sites", "page": path} for path, *_ in seen]


async def test_two_of_them_in_one_site_are_strangers(
    embed: Embed, settings: Settings, user: Headers, model: ModelServer
) -> None:
    site = web.Application()
    site.add_subapp("/inner", create_app(settings.model_copy(update={"base_path": "/deep"})))
    client = await embed(settings, site)
    chat = await open_embedded(client, user)
    assert text_of(await chat.exchange(model, "tea")) == "tea"
    other = await client.get(chat.path.replace("/chat", "/inner/deep"), headers=user)
    assert len((await other.json())["messages"]) == 2
    for base in ("/chat", "/inner/deep"):
        figures = await (await client.get(f"{base}/metrics")).text()
        assert figures.count('route="/api/conversations/{id}/messages"') == (base == "/chat")


async def test_below_an_application_that_is_embedded_itself(
    embed: Embed, settings: Settings, user: Headers, model: ModelServer
) -> None:
    site, middle = web.Application(), web.Application()
    middle.add_subapp("/chat", create_app(settings))
    site.add_subapp("/team", middle)
    async with TestClient(LastingServer(site)) as client:
        made = await client.post("/team/chat/api/conversations", headers=user)
        chat = Chat(client, f"/team/chat/api/conversations/{(await made.json())['id']}", user)
        assert text_of(await chat.exchange(model, "tea")) == "tea"


async def test_the_sites_end_is_its_end(
    embed: Embed, settings: Settings, user: Headers, model: ModelServer, sql: asyncpg.Connection[Any]
) -> None:
    client = await embed(settings)
    chat = await open_embedded(client, user)
    stream, call, _ = await chat.begin(model, "so ")
    async with open_tab(client, user, path="/chat/api/ws") as tab:
        ending = asyncio.create_task(client.server.close())
        rest = await read_events(stream)
        assert rest[-1].data["finish_reason"] == "interrupted"
        assert await tab.close_code() == 1001
        await ending
    async with asyncio.timeout(5):
        await call.closed.wait()
    await no_answer_lives()
    assert await sql.fetchval("select content from messages where role = 'assistant'") == "so "
    mine = (
        "select count(*) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
    )
    assert await sql.fetchval(mine) == 0
