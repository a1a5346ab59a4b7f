"""nginx says who is asking (AUTH=header), and a client's own headers never get through, in any spelling."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from uuid import NAMESPACE_URL, UUID, uuid5

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.deploy.nginx.conftest import Front
from tests.deploy.nginx.server import AUTHORITY, Nginx
from tests.deploy.nginx.test_sites import converse
from tests.support.model_server import ModelServer
from tests.support.tab import open_tab

GOOD = "session=good"
SITES = {"header": "/chat", "oauth2-proxy": ""}


def user_id_of(name: str) -> str:
    return str(uuid5(uuid5(NAMESPACE_URL, "proxy"), name))


@pytest.fixture
async def site() -> AsyncIterator[TestServer]:
    """What nginx asks: the site itself, and oauth2-proxy as its documentation describes it."""

    def is_good(request: web.Request) -> bool:
        # They see the client's headers, too, and pass over them.
        return request.cookies.get("session") == "good"

    async def session(request: web.Request) -> web.Response:
        if not is_good(request):
            return web.Response(status=401)
        named = {"X-Chat-User": "alice", "X-Chat-Email": "alice@chat.example"}
        return web.Response(status=204, headers=named)

    async def auth(request: web.Request) -> web.Response:
        if not is_good(request):
            return web.Response(status=401)
        named = {"X-Auth-Request-User": "alice", "X-Auth-Request-Email": "alice@chat.example"}
        return web.Response(status=202, headers={**named, "Set-Cookie": "_oauth2_proxy=renewed"})

    async def start(request: web.Request) -> web.Response:
        assert request.headers["X-Forwarded-Proto"] == "https"
        return web.Response(text=f"sign in, and go back to {request.query['rd']}")

    app = web.Application()
    app.router.add_get("/chat-session", session)
    app.router.add_get("/oauth2/auth", auth)
    app.router.add_get("/oauth2/start", start)
    async with TestServer(app) as server:
        yield server


@pytest.fixture(params=SITES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def base(name: str) -> str:
    return SITES[name]


@pytest.fixture
async def nginx(front: Front, site: TestServer, name: str) -> Nginx:
    asked = "127.0.0.1:8080" if name == "header" else "127.0.0.1:4180"
    changes = {"auth": "header", "admin_email": "root@chat.example"}
    return await front(name, {asked: f"127.0.0.1:{site.port}"}, **changes)


async def test_who_has_a_session_needs_nothing_else(nginx: Nginx, model: ModelServer, base: str) -> None:
    page = {"Cookie": GOOD, "Origin": nginx.url}
    async with nginx.connect() as http:
        await converse(http, page, model, base)
        async with http.get(f"{base}/api/conversations", headers={"Cookie": GOOD}) as response:
            items = (await response.json())["items"]
    assert {item["user_id"] for item in items} == {user_id_of("alice")}


async def test_who_has_none_is_401(nginx: Nginx, base: str) -> None:
    async with nginx.connect() as http:
        for headers in ({}, {"Cookie": "session=bad"}, {"Authorization": "Bearer x"}):
            async with http.get(f"{base}/api/conversations", headers=headers) as response:
                assert (response.status, (await response.json())["code"]) == (401, "unauthorized")


# A header that claims to be somebody, as it goes over the wire; `%s` is the claim.
SPELLINGS = [
    "X-Auth-Request-User: %s",
    "x-auth-request-user: %s",
    "X-AUTH-REQUEST-USER: %s",
    "X_Auth_Request_User: %s",
    "X-Auth_Request-User: %s",
    "X-Auth-Request-User:%s",
    "X-Auth-Request-User: \t %s \t",
    "X-Auth-Request-User : %s",
    "X-Auth-Request-User: %s\r\nX-Auth-Request-User: alice",
    "X-Auth-Request-User: alice\r\nX-Auth-Request-User: %s",
    "X-Auth-Request-User: alice\r\nx-auth-request-user: %s",
    "X-Chat-User: %s",
    "X-Chat-User: %s\r\nX_Chat_User: %s",
    "X-Auth-Request-User: alice\r\n %s",
    "Connection: X-Auth-Request-User\r\nX-Auth-Request-User: %s",
    "Connection: close, X-Auth-Request-User, X-Auth-Request-Email",
    "X-Forwarded-User: %s",
    "X-Remote-User: %s",
    "Authorization: Bearer %s",
    "X-Accel-Redirect: /chat-session\r\nX-Auth-Request-User: %s",
    "X-Original-URI: /oauth2/start\r\nX-Auth-Request-User: %s",
]


async def send(nginx: Nginx, request: str) -> tuple[int, bytes]:
    """Send a request as it is. Returns the status, 0 if there was none, and the body."""
    context = ssl.create_default_context(cafile=str(AUTHORITY))
    reader, writer = await asyncio.open_connection("localhost", nginx.port, ssl=context)
    try:
        writer.write(request.encode())
        async with asyncio.timeout(15):
            came = await reader.read()
    except ConnectionError:
        return 0, b""
    finally:
        writer.transport.abort()
    head, _, body = came.partition(b"\r\n\r\n")
    return int(head.split()[1]) if head else 0, body


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("cookie", [GOOD, "session=bad", ""])
async def test_a_clients_own_header_never_gets_through(
    nginx: Nginx, base: str, spelling: str, cookie: str
) -> None:
    claim = spelling.replace("%s", "root") + "\r\nX-Auth-Request-Email: root@chat.example"
    claim += "\r\nX_Auth_Request_Email: root@chat.example"
    close = "" if "Connection" in spelling else "Connection: close\r\n"
    cookies = f"Cookie: {cookie}\r\n" if cookie else ""
    rest = f"Host: localhost:{nginx.port}\r\n{cookies}{claim}\r\n{close}"
    status, body = await send(
        nginx,
        f"POST {base}/api/conversations HTTP/1.1\r\n{rest}Origin: {nginx.url}\r\nContent-Length: 0\r\n"
        "Connection: close\r\n\r\n",
    )
    if cookie == GOOD and status == 201:
        assert user_id_of("alice").encode() in body
    else:
        assert status in (400, 401), body
        assert b"user_id" not in body
    status, _ = await send(nginx, f"GET {base}/api/admin/users HTTP/1.1\r\n{rest}Connection: close\r\n\r\n")
    assert status in ((403, 400) if cookie == GOOD else (401, 400)), "root is an administrator, alice isn't"


@pytest.mark.parametrize("site_name", ["own-host", "sub-path"])
async def test_nor_on_a_site_beside_it_that_signs_nobody_in(front: Front, site_name: str) -> None:
    """The service believes nginx, whichever site of it passes the request."""
    nginx = await front(site_name, auth="header,keys")
    base = "" if site_name == "own-host" else "/chat"
    async with nginx.connect() as http:
        claim = {"X-Auth-Request-User": "root", "Origin": nginx.url}
        for method in ("GET", "POST"):
            async with http.request(method, f"{base}/api/conversations", headers=claim) as response:
                assert response.status == 401
        async with open_tab(http, path=f"{base}/api/ws", headers=claim) as tab:
            await tab.say("stop", f"/{UUID(int=1)}")
            assert await tab.close_code() == 4401


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
async def test_no_page_of_another_origin_acts_by_the_cookie(
    nginx: Nginx, base: str, origin: str | None
) -> None:
    page = {"Cookie": GOOD} | ({} if origin is None else {"Origin": origin})
    async with nginx.connect() as http:
        async with http.post(f"{base}/api/conversations", headers=page) as response:
            assert (response.status, (await response.json())["code"]) == (403, "origin_refused")
        async with http.ws_connect(f"{base}/api/ws", headers=page) as socket:
            assert (await socket.receive(timeout=10)).type is aiohttp.WSMsgType.CLOSE
            assert socket.close_code == 1008
        cross = {**page, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        async with http.post(f"{base}/api/conversations", headers=cross) as response:
            assert response.status == 403


async def test_what_nginx_asks_is_not_to_be_asked_from_outside(nginx: Nginx, name: str) -> None:
    path = "/chat-session" if name == "header" else "/oauth2/auth"
    async with nginx.connect() as http, http.get(path, headers={"Cookie": GOOD}) as response:
        assert response.status == 404


async def test_the_metrics_are_closed(nginx: Nginx, base: str) -> None:
    async with nginx.connect() as http, http.get(f"{base}/metrics", headers={"Cookie": GOOD}) as response:
        assert response.status == 404


class TestOAuth2Proxy:
    @pytest.fixture
    def name(self) -> str:
        return "oauth2-proxy"

    async def test_who_opens_the_page_is_sent_to_sign_in(self, nginx: Nginx) -> None:
        async with nginx.connect() as http:
            async with http.get("/", allow_redirects=False) as response:
                assert response.status == 302
                assert response.headers["Location"].endswith("/oauth2/start?rd=/")
            async with http.get("/oauth2/start?rd=/") as response:
                assert await response.text() == "sign in, and go back to /"
            async with http.get("/", headers={"Cookie": GOOD}) as response:
                assert 'content="none:"' in await response.text()

    async def test_a_session_that_is_renewed_reaches_the_browser(self, nginx: Nginx) -> None:
        async with nginx.connect() as http:
            for path in ("/", "/api/conversations"):
                async with http.get(path, headers={"Cookie": GOOD}) as response:
                    assert response.headers["Set-Cookie"] == "_oauth2_proxy=renewed"
