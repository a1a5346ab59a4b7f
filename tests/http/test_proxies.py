"""Proxies in front of the service: which are trusted, and for what."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from aiohttp import ClientSession, UnixConnector, web
from structlog.testing import capture_logs

from chat_api.app import create_app
from chat_api.settings import Settings
from chat_api.settings.proxies import Proxies, host, scheme
from tests.conftest import Start
from tests.support.chat import Client
from tests.support.tab import Tab, open_tab

Headers = dict[str, str]
INSIDE = Proxies.parse("127.0.0.1, 10.0.0.0/8,2001:db8::/32, UNIX")


@pytest.mark.parametrize(
    ("forwarded_for", "client"),
    [
        (["203.0.113.9"], "203.0.113.9"),
        (["203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["203.0.113.9", "10.1.2.3, 10.1.2.4"], "203.0.113.9"),
        (["2001:DB8::7,2001:db9::1,2001:db8::9"], "2001:db9::1"),
        (["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        # Sent by the client itself:
        (["127.0.0.1, 203.0.113.9"], "203.0.113.9"),
        (["10.9.9.9", "203.0.113.9, 10.1.2.3"], "203.0.113.9"),
        (["<script>, 203.0.113.9"], "203.0.113.9"),
        (["10.9.9.9, unknown, 10.1.2.3"], "10.1.2.3"),
        (["10.9.9.9,,10.1.2.3"], "10.1.2.3"),
        # Forms that proxies write:
        (["203.0.113.9:4711"], "203.0.113.9"),
        (["[2001:db9::1]:4711"], "2001:db9::1"),
        (["[2001:db9::1]"], "2001:db9::1"),
        (["::ffff:203.0.113.9"], "203.0.113.9"),
        (["\t203.0.113.9 "], "203.0.113.9"),
        # Values that can't be valid:
        ([], "127.0.0.1"),
        ([""], "127.0.0.1"),
        (["unknown"], "127.0.0.1"),
        (["203.0.113.999"], "127.0.0.1"),
        (["203.0.113.9:x"], "127.0.0.1"),
        (["٢٠٣.0.113.9"], "127.0.0.1"),
        (["[203.0.113.9"], "127.0.0.1"),
        (["chat.example"], "127.0.0.1"),
        (["," * 5000], "127.0.0.1"),
    ],
)
def test_the_client_is_the_right_most_that_is_not_trusted(forwarded_for: Sequence[str], client: str) -> None:
    assert INSIDE.client("127.0.0.1", forwarded_for) == client


@pytest.mark.parametrize(
    ("trusted", "peer", "believed"),
    [
        ("127.0.0.1,::1,unix", "127.0.0.1", True),
        ("127.0.0.1,::1,unix", "::ffff:127.0.0.1", True),
        ("127.0.0.1,::1,unix", "127.0.0.2", False),
        ("127.0.0.1,::1,unix", "::1", True),
        ("127.0.0.1,::1,unix", "", True),
        ("127.0.0.1,::1,unix", None, True),
        ("127.0.0.1,::1", "", False),
        ("127.0.0.1,::1", "/tmp/named", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "203.0.113.9", True),
        ("0.0.0.0/0", "2001:db9::1", False),
        ("none", "127.0.0.1", False),
        ("None ", "", False),
    ],
)
def test_those_who_are_named_are_believed(trusted: str, peer: str | None, believed: bool) -> None:
    assert Proxies.parse(trusted).trust(peer) is believed


@pytest.mark.parametrize(
    ("said", "meant"),
    [(["https"], "https"), (["HTTP "], "http"), (["https", "https"], "https"), (["https", "http"], None)]
    + [([text], None) for text in ("", "ftp", "https, http", "https\x00", "javascript")],
)
def test_the_scheme_is_one_of_two(said: list[str], meant: str | None) -> None:
    assert scheme(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [([text], text) for text in ("chat.example", "Chat.Example:8443", "localhost", "[::1]:80", "192.0.2.1")]
    + [([text], None) for text in ("", "a b", "a,b", "a/b", "u@a", "a:b", "a:123456", "ä", "a" * 254, "[::1")]
    + [(["a", "b"], None)],
)
def test_the_host_is_a_host(said: list[str], meant: str | None) -> None:
    assert host(said) == meant


async def remote(client: Client | ClientSession, headers: Headers) -> str:
    """The client's address in a request's log line."""
    with capture_logs() as lines:
        async with client.get("/api/health", headers=headers) as response:
            assert response.status == 200
    (line,) = [line for line in lines if line["event"] == "request"]
    return str(line["remote"])


async def test_a_proxy_on_this_machine_is_believed_unless_told_otherwise(
    start: Start, settings: Settings
) -> None:
    forged = {"X-Forwarded-For": "127.0.0.1, 203.0.113.9"}
    by_default = await start(settings)
    assert await remote(by_default, forged) == "203.0.113.9"
    assert await remote(by_default, {}) == "127.0.0.1"
    for trusted in ("none", "10.0.0.0/8", "unix"):
        client = await start(settings.model_copy(update={"trusted_proxies": trusted}))
        assert await remote(client, forged) == "127.0.0.1"


@pytest.mark.parametrize(("trusted", "seen"), [("unix", "203.0.113.9"), ("127.0.0.1", "unix")])
async def test_a_unix_socket_has_a_name_to_trust(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, trusted: str, seen: str
) -> None:
    path = str(tmp_path_factory.mktemp("s") / "s")
    runner = web.AppRunner(create_app(settings.model_copy(update={"trusted_proxies": trusted})))
    await runner.setup()
    try:
        await web.UnixSite(runner, path).start()
        async with ClientSession("http://chat.example", connector=UnixConnector(path)) as client:
            assert await remote(client, {"X-Forwarded-For": "203.0.113.9"}) == seen
            assert await remote(client, {}) == "unix"
    finally:
        await runner.cleanup()


PAGE = {"Origin": "https://chat.example", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "chat.example"}


async def test_a_page_of_the_services_own_origin_may_open_a_socket(client: Client, user: Headers) -> None:
    own = str(client.make_url("/").origin())
    async with open_tab(client, user, headers={"Origin": own}):
        pass
    async with open_tab(client, user, headers=PAGE):
        pass
    async with open_tab(client, user, headers=PAGE | {"Host": "chat.example", "X-Forwarded-Host": ""}):
        pass


@pytest.mark.parametrize(
    "headers",
    [
        PAGE | {"Origin": "http://chat.example"},
        PAGE | {"Origin": "https://chat.example.evil.example"},
        PAGE | {"Origin": "null"},
        PAGE | {"X-Forwarded-Proto": "http"},
        PAGE | {"X-Forwarded-Host": "chat.example, evil.example"},
    ],
)
async def test_another_page_may_not(client: Client, headers: Headers) -> None:
    async with client.ws_connect("/api/ws", headers=headers) as socket:
        assert await Tab(socket).close_code() == 1008


async def test_a_stranger_cannot_make_an_origin_the_services_own(start: Start, settings: Settings) -> None:
    client = await start(settings.model_copy(update={"trusted_proxies": "none"}))
    async with client.ws_connect("/api/ws", headers=PAGE) as socket:
        assert await Tab(socket).close_code() == 1008


async def test_bodies_and_streams_pass_as_without_a_proxy(client: Client, user: Headers) -> None:
    headers = user | {"X-Forwarded-For": "203.0.113.9", "X-Trace-Id": "mine"}
    made = await client.post("/api/conversations", headers=headers, json={"title": "Tea"})
    assert (made.status, (await made.json())["title"]) == (201, "Tea")
    assert made.headers["X-Trace-Id"] == "mine"
    nothing = await client.get(f"/api/conversations/{(await made.json())['id']}/stream", headers=headers)
    assert nothing.status == 204
    big = await client.post("/api/conversations", headers=headers, data=b"x" * 300_000)
    assert big.status == 413
