"""The provider's keys: fetched once, again when they change, and kept while the provider is away."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chat_api import errors
from chat_api.access.jwks import JwksDoor
from chat_api.access.key_set import AGE_SECONDS, MAX_KEYS, PAUSE_SECONDS, RETRY_SECONDS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import until
from tests.support.provider import AUDIENCE, Provider

DISCOVERY = "/.well-known/openid-configuration"
KEYS = "/keys"
BOTH = [DISCOVERY, KEYS]


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with Provider("ES256") as provider:
        yield provider


Open = Callable[..., JwksDoor]


@pytest.fixture
async def make(provider: Provider, clock: Clock) -> AsyncIterator[Open]:
    doors: list[JwksDoor] = []
    # As the application's: it doesn't decompress.
    async with aiohttp.ClientSession(
        headers={"Accept-Encoding": "identity"}, auto_decompress=False
    ) as session:

        def make(**changes: Any) -> JwksDoor:
            given = {"auth_issuer": provider.issuer, "auth_audience": AUDIENCE, **changes}
            door = JwksDoor(Settings(_env_file=None, auth="jwks", **given), session)
            door.keys._now = clock
            doors.append(door)
            return door

        yield make
        for door in doors:
            await door.close()


@pytest.fixture
def door(make: Open) -> JwksDoor:
    return make()


def reply(status: int = 200, **given: Any) -> Callable[[], Awaitable[web.Response]]:
    async def answer() -> web.Response:
        return web.Response(status=status, **given)

    return answer


def listed(document: Any, **given: Any) -> Callable[[], Awaitable[web.Response]]:
    return reply(text=json.dumps(document), **given)


def good(provider: Provider, number: int = 0) -> str:
    return provider.sign(provider.claims(), number)


async def test_the_keys_are_fetched_once_for_many_tokens_at_once(door: JwksDoor, provider: Provider) -> None:
    principals = await asyncio.gather(*(door.ask(good(provider)) for _ in range(20)))
    assert all(principals)
    assert provider.asked == BOTH


async def test_an_address_of_the_keys_needs_no_discovery(make: Open, provider: Provider) -> None:
    door = make(auth_issuer="https://id.example/", auth_jwks_url=f"{provider.url}/keys")
    token = provider.sign(provider.claims(iss="https://id.example/"))
    assert await door.ask(token) is not None
    assert provider.asked == [KEYS]


async def test_a_new_key_is_known_at_once(door: JwksDoor, provider: Provider, clock: Clock) -> None:
    assert await door.ask(good(provider)) is not None
    provider.keys = [provider.listed(0), provider.listed(1)]
    clock.now += PAUSE_SECONDS
    tokens = [good(provider, number % 2) for number in range(20)]
    assert all(await asyncio.gather(*map(door.ask, tokens)))
    assert provider.asked == BOTH * 2, "one more fetch, for all of them"


async def test_unknown_keys_ask_once_in_a_while_however_many_there_are(
    door: JwksDoor, provider: Provider, clock: Clock
) -> None:
    assert await door.ask(good(provider)) is not None
    for _ in range(3):
        for number in range(20):
            forged = provider.sign(provider.claims(), kid=f"made-up-{number}")
            assert await door.ask(forged) is None
        clock.now += PAUSE_SECONDS
        await door.ask(forged)
    assert provider.asked == BOTH * 4
    assert await door.ask(good(provider)) is not None


async def test_a_key_that_was_withdrawn_ends(door: JwksDoor, provider: Provider, clock: Clock) -> None:
    assert await door.ask(good(provider)) is not None
    provider.keys = [provider.listed(1)]
    clock.now += AGE_SECONDS - 1
    assert await door.ask(good(provider)) is not None
    assert provider.asked == BOTH
    clock.now += 1
    assert await door.ask(good(provider)) is not None, "nobody waits for the fetch"
    await until(lambda: _is(lambda: door.keys._fetching is None))
    assert provider.asked == BOTH * 2
    assert await door.ask(good(provider)) is None
    assert await door.ask(good(provider, 1)) is not None


async def _is(check: Callable[[], bool]) -> bool:
    return check()


async def test_known_keys_stay_while_the_provider_is_away(
    door: JwksDoor, provider: Provider, clock: Clock
) -> None:
    assert await door.ask(good(provider)) is not None
    provider.replies[DISCOVERY] = reply(503)
    for _ in range(3):
        clock.now += AGE_SECONDS
        assert await door.ask(good(provider)) is not None
        await until(lambda: _is(lambda: door.keys._fetching is None))
        # Nobody knows whether the provider has this key by now.
        for _ in range(2):
            with pytest.raises(errors.AuthUnavailable):
                await door.ask(good(provider, 1))
    assert provider.asked == [*BOTH, *[DISCOVERY] * 3]
    del provider.replies[DISCOVERY]
    provider.keys = [provider.listed(1)]
    clock.now += PAUSE_SECONDS
    assert await door.ask(good(provider, 1)) is not None


async def test_a_provider_that_comes_late_is_asked_again(
    door: JwksDoor, provider: Provider, clock: Clock
) -> None:
    provider.replies[KEYS] = reply(502)
    for _ in range(5):
        with pytest.raises(errors.AuthUnavailable):
            await door.ask(good(provider))
    assert provider.asked == BOTH, "not once for each request"
    del provider.replies[KEYS]
    clock.now += RETRY_SECONDS
    assert await door.ask(good(provider)) is not None


@pytest.mark.parametrize("path", BOTH)
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(429), errors.AuthUnavailable),
        (reply(502), errors.AuthUnavailable),
        (reply(503), errors.AuthUnavailable),
        (reply(504), errors.AuthUnavailable),
        (reply(500), errors.AuthBroken),
        (reply(404), errors.AuthBroken),
        (reply(401), errors.AuthBroken),
        (reply(301, headers={"Location": "/elsewhere"}), errors.AuthBroken),
        (reply(302, headers={"Location": "/keys"}), errors.AuthBroken),
        (reply(307, headers={"Location": "http://127.0.0.1:1/"}), errors.AuthBroken),
        (reply(text=""), errors.AuthBroken),
        (reply(text="<html>"), errors.AuthBroken),
        (reply(body=b"\xff\xfe"), errors.AuthBroken),
        (reply(text="[]"), errors.AuthBroken),
        (reply(text="null"), errors.AuthBroken),
        (reply(text="{}"), errors.AuthBroken),
        (reply(text="[" * 100_000), errors.AuthBroken),
        (reply(text=" " * 262_145), errors.AuthBroken),
        (
            reply(body=gzip.compress(b"{}"), headers={"Content-Encoding": "gzip"}),
            errors.AuthBroken,
        ),
    ],
)
async def test_an_answer_that_cannot_be_used_is_no_refusal(
    door: JwksDoor,
    provider: Provider,
    path: str,
    answer: Callable[[], Awaitable[web.Response]],
    error: type[errors.ChatError],
) -> None:
    provider.replies[path] = answer
    with pytest.raises(errors.ChatError) as caught:
        await door.ask(good(provider))
    assert type(caught.value) is error
    assert provider.asked == (BOTH if path == KEYS else [DISCOVERY]), "and no redirect is followed"


@pytest.mark.parametrize(
    "keys", [None, {}, "keys", [], ["key"], [{}], [{"kty": "oct", "k": "AAAA"}], [{}] * (MAX_KEYS + 1)]
)
async def test_a_list_without_a_key_is_broken(door: JwksDoor, provider: Provider, keys: Any) -> None:
    provider.replies[KEYS] = listed({"keys": keys})
    with pytest.raises(errors.AuthBroken):
        await door.ask(good(provider))


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "https://evil.example"},
        {"issuer": None},
        {"jwks_uri": None},
        {"jwks_uri": "file:///etc/passwd"},
        {"jwks_uri": "/keys"},
        {"jwks_uri": 7},
        {"jwks_uri": "http://a b/"},
    ],
)
async def test_a_discovery_that_says_something_else_is_not_believed(
    door: JwksDoor, provider: Provider, changed: dict[str, Any]
) -> None:
    provider.replies[DISCOVERY] = listed(
        {"issuer": provider.issuer, "jwks_uri": f"{provider.url}/keys", **changed}
    )
    with pytest.raises(errors.AuthBroken):
        await door.ask(good(provider))
    assert provider.asked == [DISCOVERY]


async def test_over_tls_the_keys_are_not_fetched_without(
    make: Open, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = make(auth_issuer="https://id.example")

    async def answer(url: str) -> dict[str, Any]:
        assert url == "https://id.example/.well-known/openid-configuration"
        return {"issuer": "https://id.example", "jwks_uri": f"{provider.url}/keys"}

    monkeypatch.setattr(door.keys, "_get", answer)
    with pytest.raises(errors.AuthBroken):
        await door.ask(provider.sign(provider.claims(iss="https://id.example")))


@pytest.mark.parametrize("path", BOTH)
async def test_a_provider_that_hangs_is_503_and_not_401(make: Open, provider: Provider, path: str) -> None:
    door = make(auth_timeout=0.2)
    hung = asyncio.Event()

    async def hang() -> web.Response:
        await hung.wait()
        return web.Response(status=500)

    provider.replies[path] = hang
    answers = await asyncio.gather(*(door.ask(good(provider)) for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in answers] == [errors.AuthUnavailable] * 5
    assert provider.asked.count(path) == 1
    hung.set()


async def test_a_provider_that_trickles_is_cut_off(make: Open, provider: Provider) -> None:
    door = make(auth_timeout=0.3)
    async with Trickle() as slow:
        door._settings = door._settings.model_copy(update={"auth_jwks_url": slow.url})
        door.keys._settings = door._settings
        with pytest.raises(errors.AuthUnavailable):
            await door.ask(good(provider))


class Trickle:
    """Sends a byte now and then, until the client leaves."""

    async def __aenter__(self) -> Trickle:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self._left = asyncio.Event()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/keys"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        async with asyncio.timeout(15):
            await self._left.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
        while not reader.at_eof() and not writer.is_closing():
            writer.write(b" ")
            await asyncio.sleep(0.02)
        writer.transport.abort()
        self._left.set()


async def test_a_provider_that_refuses_connections_is_503(make: Open, provider: Provider) -> None:
    door = make(auth_jwks_url="http://127.0.0.1:1/keys")
    with pytest.raises(errors.AuthUnavailable):
        await door.ask(good(provider))


async def test_who_leaves_does_not_end_the_fetch_for_the_others(door: JwksDoor, provider: Provider) -> None:
    go = asyncio.Event()

    async def late() -> web.Response:
        await go.wait()
        return web.json_response({"keys": provider.keys})

    provider.replies[KEYS] = late
    first, second = (asyncio.create_task(door.ask(good(provider))) for _ in range(2))
    await until(lambda: _is(lambda: provider.asked == BOTH))
    first.cancel()
    go.set()
    assert await second is not None
    assert first.cancelled()


async def test_closing_ends_a_fetch_under_way(door: JwksDoor, provider: Provider) -> None:
    hung = asyncio.Event()

    async def hang() -> web.Response:
        await hung.wait()
        return web.Response()

    provider.replies[DISCOVERY] = hang
    asking = asyncio.create_task(door.ask(good(provider)))
    await until(lambda: _is(lambda: provider.asked == [DISCOVERY]))
    await door.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    hung.set()


async def test_callers_are_told_503_or_502_and_no_address(
    start: Start, settings: Settings, provider: Provider, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {"auth": "jwks", "auth_issuer": provider.issuer, "auth_audience": AUDIENCE}
    client = await start(settings.model_copy(update=changes))
    for answer, status, code in (
        (reply(503), 503, "auth_unavailable"),
        (listed({"issuer": "https://other.example"}), 502, "auth_broken"),
    ):
        provider.replies[DISCOVERY] = answer
        async with client.get("/api/conversations", headers=provider.sign_in(jti=code)) as response:
            body = await response.json()
            assert (response.status, body["code"]) == (status, code)
            assert "127.0.0.1" not in body["detail"]
            assert ("Retry-After" in response.headers) == (status == 503)
        await asyncio.sleep(RETRY_SECONDS + 0.1)
    said = "".join(capsys.readouterr())
    assert "its issuer is 'https://other.example', and AUTH_ISSUER" in said
