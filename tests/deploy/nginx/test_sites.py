"""The nginx sites and the service's listening addresses, one by one."""

from __future__ import annotations

import asyncio
import re
import signal
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chat_api.settings import Settings
from tests.conftest import Start
from tests.deploy.nginx.conftest import Front
from tests.deploy.nginx.server import FILES, Nginx
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.processes import Service, free_port, open_conversation
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab, token_of, words

Headers = dict[str, str]


async def converse(http: aiohttp.ClientSession, user: Headers, model: ModelServer, base: str = "") -> None:
    """A question and its answer, then another answer over a WebSocket."""
    async with http.post(f"{base}/api/conversations", headers=user) as response:
        assert response.status == 201, await response.text()
        path = f"{base}/api/conversations/{(await response.json())['id']}"
    async with http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
        call = await model.call()
        call.say("so ")
        assert text_of(await read_events(stream, 2)) == "so "
        call.finish("far")
        assert text_of(await read_events(stream)) == "far"
    async with open_tab(http, path=f"{base}/api/ws", headers=user) as tab:
        assert (await tab.hear())["type"] == "ready"
        await tab.say("regenerate", path)
        call = await model.call()
        assert len(await tab.events(2)) == 2
        call.finish("so good")
        assert words(await tab.events()) == "so good"


async def test_on_its_own_host(front: Front, user: Headers, model: ModelServer) -> None:
    nginx = await front()
    async with nginx.connect() as http:
        await converse(http, user, model)
        async with http.get("/api/health") as response:
            assert response.headers["Strict-Transport-Security"] == "max-age=31536000"
        plain = f"http://localhost:{nginx.plain_port}"
        async with http.post(f"{plain}/api/conversations?a=b", allow_redirects=False) as response:
            assert response.status == 308
            assert response.headers["Location"] == "https://localhost/api/conversations?a=b"
        renewal = nginx.folder / "html" / ".well-known" / "acme-challenge"
        renewal.mkdir(parents=True)
        (renewal / "token").write_text("proof")
        async with http.get(f"{plain}/.well-known/acme-challenge/token") as response:
            assert await response.text() == "proof"


async def test_a_trace_keeps_its_id(front: Front, user: Headers) -> None:
    trace_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    traceparent = f"00-{trace_id}-00f067aa0ba902b7-01"
    async with (await front()).connect() as http:
        for path in ("/api/conversations", "/metrics"):  # the service's responses, and nginx's own
            async with http.get(path, headers={**user, "traceparent": traceparent}) as response:
                assert response.headers["X-Trace-Id"] == trace_id
            async with http.get(path, headers={**user, "traceparent": "00-zz"}) as response:
                assert len(response.headers["X-Trace-Id"]) == 32


async def test_below_a_path_of_another_site(front: Front, user: Headers, model: ModelServer) -> None:
    async with (await front("sub-path")).connect() as http:
        await converse(http, user, model, "/chat")
        async with http.get("/") as response:
            assert await response.text() == "the site's own page"
        async with http.get("/chat", allow_redirects=False) as response:
            assert response.status == 301
            assert response.headers["Location"].endswith("/chat/")
        # The service gets the path as it was sent, with its escapes.
        async with http.get("/chat/api/conversations/%2e%2e%2fx", headers=user) as response:
            assert (response.status, (await response.json())["code"]) == (404, "conversation_not_found")


async def test_over_a_unix_socket(unix_front: Front, user: Headers, model: ModelServer) -> None:
    async with (await unix_front()).connect() as http:
        await converse(http, user, model)


async def requests(client: Client) -> int:
    """How many requests for conversations a server has answered."""
    figures = await (await client.get("/metrics")).text()
    found = re.findall(r'^chat_requests_total\{.*route="/api/conversations/\{id\}.*} (\S+)$', figures, re.M)
    return int(sum(float(count) for count in found))


class TestSeveralWorkers:
    @pytest.fixture
    async def workers(self, start: Start, settings: Settings) -> list[Client]:
        return [await start(settings), await start(settings)]

    @pytest.fixture
    async def nginx(self, workers: list[Client]) -> AsyncIterator[Nginx]:
        ports = {
            f"127.0.0.1:{8002 + number}": f"127.0.0.1:{each.port}" for number, each in enumerate(workers)
        }
        async with Nginx("own-host", "workers", ports) as nginx:
            yield nginx

    async def test_a_conversation_stays_with_one_of_them(
        self, nginx: Nginx, workers: list[Client], user: Headers, model: ModelServer
    ) -> None:
        async with nginx.connect() as http:
            shares = []
            for _ in range(12):
                path = await open_conversation(http, user)
                before = [await requests(worker) for worker in workers]
                for _ in range(4):
                    async with http.get(path, headers=user) as response:
                        assert response.status == 200
                after = [await requests(worker) for worker in workers]
                shares.append([later - earlier for earlier, later in zip(before, after, strict=True)])
            assert all(sorted(share) == [0, 4] for share in shares)
            assert [0, 4] in shares
            assert [4, 0] in shares
            await converse(http, user, model)

    async def test_when_one_ends_the_other_takes_over(
        self, nginx: Nginx, workers: list[Client], user: Headers, model: ModelServer
    ) -> None:
        async with nginx.connect() as http:
            paths = [await open_conversation(http, user) for _ in range(8)]
            await workers[0].close()
            model.say = ["tea"]
            # Connections are refused before anything is sent, so a POST goes to the other server, too.
            for path in paths:
                ask = http.post(f"{path}/messages", json={"content": "Hi"}, headers=user)
                async with ask as stream:
                    assert text_of(await read_events(stream)) == "tea"
            assert len(model.requests) == 8

    @pytest.mark.parametrize(("method", "statuses"), [("POST", {201, 503}), ("GET", {200})])
    async def test_a_post_that_was_sent_is_never_sent_again(
        self, settings: Settings, start: Start, user: Headers, sql: Any, method: str, statuses: set[int]
    ) -> None:
        taken = []

        async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            taken.append((await reader.readuntil(b"\r\n")).split()[0].decode())
            writer.close()

        async with await asyncio.start_server(break_off, "127.0.0.1", 0) as broken:
            port = broken.sockets[0].getsockname()[1]
            client = await start(settings)
            ports = {"127.0.0.1:8002": f"127.0.0.1:{port}", "127.0.0.1:8003": f"127.0.0.1:{client.port}"}
            async with Nginx("own-host", "workers", ports) as nginx, nginx.connect() as http:
                answered = []
                for _ in range(30):  # half of them meet the broken server, until nginx drops it for 10 s
                    async with http.request(method, "/api/conversations", headers=user) as response:
                        answered.append(response.status)
        assert set(taken) == {method}
        assert set(answered) == statuses
        assert answered.count(503) == (len(taken) if method == "POST" else 0)
        assert await sql.fetchval("select count(*) from conversations") == answered.count(201)


async def test_a_rolling_restart_costs_no_request_its_answer(
    settings: Settings, user: Headers, model: ModelServer
) -> None:
    port = free_port()
    lasting = settings.model_copy(update={"log_level": "INFO", "drain_seconds": 15.0})
    async with (
        Service(lasting, "--workers", "2", port=port) as service,
        Nginx("own-host", "port", {"127.0.0.1:8002": f"127.0.0.1:{port}"}) as nginx,
        nginx.connect() as http,
    ):
        path = await open_conversation(http, user)
        before = await service.workers()
        stream = await http.post(f"{path}/messages", json={"content": "Hi"}, headers=user)
        # One of the workers takes long to drain. No request may wait for that.
        asyncio.get_running_loop().call_later(4, (await model.call()).finish, "tea")
        patience = aiohttp.ClientTimeout(total=3)
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        ended = asyncio.create_task(service.notified("READY=1"))
        statuses = []
        while not ended.done():
            async with http.get(path, headers=user, timeout=patience) as response:
                statuses.append(response.status)
            await asyncio.wait({ended}, timeout=0.05)  # within the rate limit
        await ended
        assert not set(await service.workers()) & set(before)
        assert set(statuses) == {200}
        assert text_of(await read_events(stream)) == "tea"


class TestSession:
    """A site that identifies its users by a cookie."""

    @pytest.fixture
    async def site(self, user: Headers) -> AsyncIterator[TestServer]:
        async def session(request: web.Request) -> web.Response:
            assert "Content-Length" not in request.headers or request.content_length == 0
            if request.cookies.get("session") != "good":
                return web.Response(status=401)
            return web.Response(status=204, headers={"X-Chat-Token": token_of(user)})

        app = web.Application()
        app.router.add_get("/chat-session", session)
        async with TestServer(app) as server:
            yield server

    @pytest.fixture
    async def nginx(self, front: Front, site: TestServer) -> Nginx:
        return await front("session", {"127.0.0.1:8080": f"127.0.0.1:{site.port}"})

    async def test_who_is_signed_in_there_needs_no_token_here(self, nginx: Nginx, model: ModelServer) -> None:
        cookie = {"Cookie": "session=good"}
        async with nginx.connect() as http:
            await converse(http, cookie, model, "/chat")
            await converse(http, cookie | {"Authorization": "Bearer forged"}, model, "/chat")

    async def test_no_page_of_another_origin_gets_a_socket_by_the_cookie(self, nginx: Nginx) -> None:
        for origin, kind in [
            (nginx.url, aiohttp.WSMsgType.TEXT),
            ("https://evil.example", aiohttp.WSMsgType.CLOSE),
        ]:
            headers = {"Cookie": "session=good", "Origin": origin}
            async with nginx.connect() as http, http.ws_connect("/chat/api/ws", headers=headers) as socket:
                assert (await socket.receive(timeout=5)).type is kind

    async def test_others_are_refused_in_the_services_form(self, nginx: Nginx, user: Headers) -> None:
        async with nginx.connect() as http:
            for headers in ({}, {"Cookie": "session=bad"}, user):
                async with http.get("/chat/api/conversations", headers=headers) as response:
                    assert response.status == 401
                    assert (await response.json())["code"] == "unauthorized"
            async with http.get("/chat-session", headers={"Cookie": "session=good"}) as response:
                assert response.status == 404

    @pytest.mark.parametrize(
        ("site_", "mode", "method", "status"),
        [
            ("cross-site", "no-cors", "POST", 403),
            ("cross-site", "navigate", "POST", 403),
            ("cross-site", "cors", "GET", 403),
            ("cross-site", "navigate", "GET", 200),
            ("same-origin", "cors", "POST", 201),
            ("same-site", "cors", "GET", 200),
            ("none", "navigate", "GET", 200),
        ],
    )
    async def test_pages_of_other_sites_may_link_here_and_no_more(
        self, nginx: Nginx, site_: str, mode: str, method: str, status: int
    ) -> None:
        headers = {"Cookie": "session=good", "Sec-Fetch-Site": site_, "Sec-Fetch-Mode": mode}
        ask = nginx.connect()
        async with ask, ask.request(method, "/chat/api/conversations", headers=headers) as response:
            assert response.status == status
            if status == 403:
                assert (await response.json())["code"] == "forbidden"


def test_every_file_is_named_where_files_are_explained() -> None:
    readme = (FILES / "README.md").read_text()
    files = [str(path.relative_to(FILES)) for path in FILES.rglob("*.conf")]
    assert files
    assert [name for name in files if name not in readme] == []
