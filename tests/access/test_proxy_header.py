"""What a proxy says in a header signs its user in: a trusted one alone, and for no other site's page."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from chat_api import errors
from chat_api.access.proxy_header import ProxyHeader
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.keys import key_of
from tests.support.model_server import ModelServer
from tests.support.queries import Connection
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab, token_of

LIST = "/api/conversations"
USER, EMAIL = "X-Auth-Request-User", "X-Auth-Request-Email"
ALICE = uuid5(uuid5(NAMESPACE_URL, "proxy"), "alice")
SEEN = {USER: "alice"}


@pytest.fixture
async def client(start: Start, settings: Settings) -> Client:
    """The service behind a proxy; the tests play the proxy, and say what it says."""
    started: Client = await start(settings.model_copy(update={"auth": "header"}))
    return started


def own_page(client: Client) -> dict[str, str]:
    """The header that a browser adds to requests of the service's own page."""
    return {"Origin": str(client.make_url("/")).rstrip("/")}


async def ask(client: Client, headers: Any, path: str = LIST, method: str = "GET") -> tuple[int, Any]:
    async with client.request(method, path, headers=headers) as response:
        return response.status, (await response.json()).get("code")


async def test_who_the_proxy_names_has_conversations(client: Client, model: ModelServer) -> None:
    page = {**SEEN, **own_page(client)}
    async with client.post(LIST, headers=page) as response:
        made = await response.json()
        assert (response.status, made["user_id"]) == (201, str(ALICE))
    async with client.post(f"{LIST}/{made['id']}/messages", json={"content": "Hi"}, headers=page) as stream:
        (await model.call()).finish("so far")
        assert text_of(await read_events(stream)) == "so far"
    assert (await ask(client, {USER: "bob"}, f"{LIST}/{made['id']}"))[0] == 404
    assert (await ask(client, SEEN, f"{LIST}/{made['id']}"))[0] == 200


async def test_an_id_that_is_a_uuid_stays_as_it_is(client: Client) -> None:
    user_id = "0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee"
    async with client.post(LIST, headers={USER: user_id, **own_page(client)}) as response:
        assert (await response.json())["user_id"] == user_id


@pytest.mark.parametrize("headers", [{}, {USER: ""}, {USER: "  "}, {EMAIL: "alice@chat.example"}])
async def test_who_is_not_named_is_401(client: Client, headers: dict[str, str]) -> None:
    async with client.get(LIST, headers=headers) as response:
        body = await response.json()
        assert (response.status, body["code"]) == (401, "unauthorized")
        assert "the proxy" in body["detail"]
        assert response.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("trusted", ["none", "10.0.0.0/8", "unix", "127.0.0.2"])
async def test_a_peer_that_is_not_trusted_is_401_and_a_log_line(
    start: Start, settings: Settings, trusted: str, capsys: pytest.CaptureFixture[str]
) -> None:
    client = await start(settings.model_copy(update={"auth": "header", "trusted_proxies": trusted}))
    for _ in range(20):
        # Nor does it help to claim another address.
        where = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1", "Forwarded": "for=127.0.0.1"}
        assert await ask(client, {**SEEN, **where}) == (401, "unauthorized")
    said = "".join(capsys.readouterr())
    assert said.count("proxy_header_refused") == 1, "not one for each request"
    assert "reason=peer_not_trusted" in said
    assert "TRUSTED_PROXIES" in said
    assert "alice" not in said


@pytest.mark.parametrize(
    "headers",
    [
        [(USER, "root"), (USER, "alice")],
        [(USER, "alice"), (USER, "alice")],
        [(USER, "a" * 256)],
        [(USER, "al\u00a0ice")],
        [(USER, "alice"), (EMAIL, "root@chat.example"), (EMAIL, "alice@chat.example")],
    ],
)
async def test_a_header_that_stands_twice_or_is_no_name_is_401(
    client: Client, headers: list[tuple[str, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert await ask(client, headers) == (401, "unauthorized")
    assert "reason=header_not_usable" in "".join(capsys.readouterr())


async def test_nor_do_two_in_different_spellings(client: Client) -> None:
    reader, writer = await asyncio.open_connection(client.host, client.port)
    claims = f"{USER}: alice\r\n{USER.lower()}: root\r\n{USER.upper()}: root\r\n"
    writer.write(f"GET {LIST} HTTP/1.1\r\nHost: x\r\n{claims}Connection: close\r\n\r\n".encode())
    async with asyncio.timeout(15):
        assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()


@pytest.mark.parametrize(
    "name", ["X_Auth_Request_User", "X-Auth-Request_User", "X-Auth-Request-Users", "X-Forwarded-User"]
)
async def test_no_other_header_will_do(client: Client, name: str) -> None:
    assert await ask(client, {name: "alice"}) == (401, "unauthorized")


async def test_the_headers_may_have_other_names_and_another_issuer(start: Start, settings: Settings) -> None:
    changes = {"auth": "header", "auth_user_header": "X-Remote-User", "auth_issuer": "https://id.example"}
    client = await start(settings.model_copy(update=changes))
    assert await ask(client, SEEN) == (401, "unauthorized")
    async with client.post(LIST, headers={"x-remote-user": "alice", **own_page(client)}) as response:
        expected = uuid5(uuid5(NAMESPACE_URL, "https://id.example"), "alice")
        assert (await response.json())["user_id"] == str(expected)


@pytest.mark.parametrize(
    ("email", "is_admin"),
    [("root@chat.example", True), (" Root@chat.EXAMPLE", True), ("alice@chat.example", False), ("", False)],
)
async def test_admin_email_makes_an_administrator(
    start: Start, settings: Settings, email: str, is_admin: bool
) -> None:
    changes = {"auth": "header", "admin_email": "root@chat.example"}
    client = await start(settings.model_copy(update=changes))
    status, _ = await ask(client, {**SEEN, EMAIL: email}, "/api/admin/users")
    assert status == (501 if is_admin else 403)


FOREIGN = ["https://evil.example", "null", "http://localhost:3000.evil.example", "", "http://127.0.0.1"]


@pytest.mark.parametrize("origin", [*FOREIGN, None])
async def test_another_sites_page_acts_for_nobody(
    client: Client, sql: Connection, origin: str | None
) -> None:
    """The browser sends the proxy's cookie with it, so the proxy names the user."""
    page = SEEN if origin is None else {**SEEN, "Origin": origin}
    for method, path in (
        ("POST", LIST),
        ("PUT", f"{LIST}/{UUID(int=1)}"),
        ("DELETE", f"{LIST}/{UUID(int=1)}"),
        ("POST", "/api/tickets"),
        ("POST", "/api/models/swap"),
    ):
        assert await ask(client, page, path, method) == (403, "origin_refused"), (method, path)
    assert await sql.fetchval("select count(*) from conversations") == 0
    async with open_tab(client, headers=page) as tab:
        assert await tab.close_code() == 1008
    async with client.post(LIST, headers=page, data="title=x") as response:  # as a form does
        assert response.status == 403


async def test_pages_of_the_front_end_act_and_so_do_the_services_own(
    client: Client, settings: Settings
) -> None:
    for page in (own_page(client), {"Origin": settings.origins[0]}):
        assert (await ask(client, {**SEEN, **page}, method="POST"))[0] == 201
        async with open_tab(client, headers={**SEEN, **page}) as tab:
            assert await tab.hear() == {"type": "ready", "user_id": str(ALICE)}


async def test_behind_a_proxy_the_own_origin_is_that_of_the_browser(client: Client) -> None:
    proxied = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.example"}
    page = {**SEEN, **proxied, "Origin": "https://chat.example"}
    assert (await ask(client, page, method="POST"))[0] == 201
    assert (await ask(client, {**page, "Origin": "http://chat.example"}, method="POST"))[0] == 403


async def test_to_read_a_page_needs_no_origin_and_may_not_be_read_by_another_site(client: Client) -> None:
    async with client.get(LIST, headers={**SEEN, "Origin": "https://evil.example"}) as response:
        assert response.status == 200
        assert "Access-Control-Allow-Origin" not in response.headers
        assert response.headers["X-Content-Type-Options"] == "nosniff"


async def test_a_token_counts_before_the_header(start: Start, settings: Settings, sql: Connection) -> None:
    client = await start(settings.model_copy(update={"auth": "header,keys"}))
    user_id = UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee")
    program = await key_of(sql, user_id)
    async with client.post(LIST, headers={**SEEN, **program}) as response:
        assert (await response.json())["user_id"] == str(user_id), "and needs no Origin"
    forged = {"Authorization": "Bearer sck_" + "0" * 40}
    assert await ask(client, {**SEEN, **forged}) == (401, "invalid_token")


@pytest.mark.parametrize("authorization", ["Basic YWxpY2U6eA==", "Bearer an.id.token", "Bearer", "x"])
async def test_an_authorization_that_is_the_proxys_own_affair_is_passed_over(
    client: Client, authorization: str
) -> None:
    assert (await ask(client, {**SEEN, "Authorization": authorization}))[0] == 200
    assert (await ask(client, {"Authorization": authorization}))[0] == 401


async def test_where_header_is_off_the_header_is_nothing(
    start: Start, settings: Settings, auth: AuthService
) -> None:
    client = await start(settings)
    assert await ask(client, SEEN) == (401, "unauthorized")
    async with open_tab(client, headers=SEEN) as tab:
        assert (await tab.ask("auth", token=token_of(auth.sign_in())))["type"] == "ready"


async def test_with_the_auth_service_too_a_token_may_come_in_a_frame(
    start: Start, settings: Settings, auth: AuthService
) -> None:
    client = await start(settings.model_copy(update={"auth": "header,service"}))
    async with open_tab(client, auth.sign_in()):  # the proxy names nobody
        pass


async def test_a_socket_of_another_user_is_not_taken_over(
    start: Start, settings: Settings, auth: AuthService
) -> None:
    client = await start(settings.model_copy(update={"auth": "header,service"}))
    async with open_tab(client, headers={**SEEN, **own_page(client)}) as tab:
        assert (await tab.hear())["type"] == "ready"
        await tab.say("auth", token=token_of(auth.sign_in()))
        assert await tab.close_code() == 4401


async def test_a_socket_ends_in_time_so_that_the_proxy_is_asked_again(
    start: Start, settings: Settings
) -> None:
    changes = {"auth": "header", "auth_cache_seconds": 1}
    client = await start(settings.model_copy(update=changes))
    async with open_tab(client, headers={**SEEN, **own_page(client)}) as tab:
        assert (await tab.hear())["type"] == "ready"
        assert await tab.close_code() == 1001, "which every client takes for: connect again"


def test_what_the_proxy_says_is_believed_for_about_the_time_of_a_token(settings: Settings) -> None:
    header = ProxyHeader(settings, now=lambda: 1000.0)
    given = CIMultiDictProxy(CIMultiDict(SEEN))
    ends = {header.principal(given, "127.0.0.1", is_trusted=True).expires_at for _ in range(20)}
    assert 1270 <= min(ends) < max(ends) <= 1300


def test_the_log_is_told_once_a_minute(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    now = time.time()
    header = ProxyHeader(settings, now=lambda: now)
    given = CIMultiDictProxy(CIMultiDict(SEEN))
    for seconds, lines in ((0, 1), (59, 0), (1, 1)):
        now += seconds
        with contextlib.suppress(errors.Unauthorized):
            header.principal(given, "203.0.113.7", is_trusted=False)
        assert "".join(capsys.readouterr()).count("proxy_header_refused") == lines


async def test_the_page_asks_for_no_token(client: Client, start: Start, settings: Settings) -> None:
    async with client.get("/") as response:
        assert '<meta name="token-url" content="none:">' in await response.text()
    other = await start(settings.model_copy(update={"auth": "header", "web_token_url": "/token"}))
    async with other.get("/") as response:
        assert '<meta name="token-url" content="/token">' in await response.text()
