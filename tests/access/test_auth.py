"""Tokens: the auth service's answers are cached for a while, but never past the token's expiry."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import pytest
from aioresponses import CallbackResult, aioresponses

from chat_api import errors
from chat_api.access.service import ServiceDoor
from chat_api.access.tokens import TokenVerifier
from chat_api.http.context import VERIFIER
from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.interception import intercepted

VALIDATE = "http://auth:8001/auth/validate"
USER = UUID("0190aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee")
LIST = "/api/conversations"


class Clock:
    """Unix time that the test sets."""

    def __init__(self) -> None:
        self.now = 1_750_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service() -> Iterator[aioresponses]:
    """The auth service."""
    with intercepted() as interceptor:
        yield interceptor


@pytest.fixture
def short() -> Settings:
    return Settings(_env_file=None, internal_api_key="internal", auth_cache_size=3, auth_timeout=5)


@pytest.fixture
async def verifier(short: Settings, clock: Clock) -> AsyncIterator[TokenVerifier]:
    async with aiohttp.ClientSession() as session:
        verifier = TokenVerifier(short, [ServiceDoor(short, session)], Metrics(), now=clock)
        yield verifier
        await verifier.close()


def good(exp: float | None = None, **user: Any) -> dict[str, Any]:
    """The auth service's response for a valid token."""
    claims = {"sub": str(USER)} if exp is None else {"sub": str(USER), "exp": exp}
    who = {"id": str(USER), "email": "a@b", "name": None, "provider": "github", **user}
    return {"valid": True, "user": who, "claims": claims}


def calls(service: aioresponses) -> list[Any]:
    return [call.kwargs for found in service.requests.values() for call in found]


async def refused(verifier: TokenVerifier, token: str = "t") -> bool:
    try:
        await verifier.verify(token)
    except errors.InvalidToken:
        return True
    return False


async def test_the_auth_service_is_asked_as_agreed(verifier: TokenVerifier, service: aioresponses) -> None:
    service.post(VALIDATE, payload=good(is_admin=True))
    principal = await verifier.verify("the.token")
    assert (principal.user_id, principal.is_admin) == (USER, True)
    (call,) = calls(service)
    assert call["json"] == {"token": "the.token"}
    assert call["headers"] == {"X-Internal-API-Key": "internal"}
    assert call["allow_redirects"] is False, "the key and the token go nowhere else"


@pytest.mark.parametrize("is_admin", [None, False, "absent"])
async def test_only_a_true_is_admin_makes_an_administrator(
    verifier: TokenVerifier, service: aioresponses, is_admin: object
) -> None:
    service.post(VALIDATE, payload=good(**({} if is_admin == "absent" else {"is_admin": is_admin})))
    assert (await verifier.verify("t")).is_admin is False


async def test_a_good_answer_is_asked_for_once(verifier: TokenVerifier, service: aioresponses) -> None:
    service.post(VALIDATE, payload=good())
    assert len({await verifier.verify("t") for _ in range(5)}) == 1
    assert len(calls(service)) == 1


@pytest.mark.parametrize(
    ("exp", "believed"),
    [(None, 300), (10_000.0, 300), (100.5, 100.5)],
    ids=["no expiry", "long", "short"],
)
async def test_an_answer_is_kept_five_minutes_and_never_past_the_tokens_end(
    verifier: TokenVerifier,
    service: aioresponses,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    exp: float | None,
    believed: float,
) -> None:
    kept: list[float] = []
    cache = verifier._cache
    put = cache.set

    async def watched(key: str, value: object, ttl: float) -> None:
        kept.append(ttl)
        await put(key, value, ttl=ttl)

    monkeypatch.setattr(cache, "set", watched)
    service.post(VALIDATE, payload=good(exp and clock.now + exp))
    await verifier.verify("t")
    assert kept == [pytest.approx(believed)]


async def test_a_token_ends_on_time_though_it_is_still_remembered(
    verifier: TokenVerifier, service: aioresponses, clock: Clock
) -> None:
    service.post(VALIDATE, payload=good(clock.now + 60))
    await verifier.verify("t")
    clock.now += 59.9
    await verifier.verify("t")
    clock.now += 0.1
    assert await refused(verifier)
    assert len(calls(service)) == 1


@pytest.mark.parametrize("seconds", [0, -1, -1e9])
async def test_a_token_that_has_ended_is_refused_whatever_the_service_says(
    verifier: TokenVerifier, service: aioresponses, clock: Clock, seconds: float
) -> None:
    service.post(VALIDATE, payload=good(clock.now + seconds))
    assert await refused(verifier)


@pytest.mark.parametrize(
    "reply",
    [
        {"status": 401, "payload": {"valid": False, "reason": "expired"}},
        {"status": 401, "body": "<html>"},
        {"status": 200, "payload": {"valid": False, "reason": "expired"}},
    ],
)
async def test_a_refusal_is_remembered_for_a_moment(
    verifier: TokenVerifier, service: aioresponses, reply: dict[str, Any]
) -> None:
    service.post(VALIDATE, **reply)
    service.post(VALIDATE, payload=good())
    assert await refused(verifier)
    assert await refused(verifier)
    assert len(calls(service)) == 1
    (handle,) = verifier._cache._handlers.values()
    assert 0 < handle.when() - asyncio.get_running_loop().time() <= 5
    await verifier._cache.clear()  # as the cache's timer does
    assert (await verifier.verify("t")).user_id == USER


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ({"exception": aiohttp.ClientConnectionError("refused")}, errors.AuthUnavailable),
        ({"exception": TimeoutError()}, errors.AuthUnavailable),
        ({"exception": aiohttp.ServerDisconnectedError()}, errors.AuthUnavailable),
        ({"exception": OSError("no route")}, errors.AuthUnavailable),
        ({"status": 429}, errors.AuthUnavailable),
        ({"status": 502}, errors.AuthUnavailable),
        ({"status": 503}, errors.AuthUnavailable),
        ({"status": 504}, errors.AuthUnavailable),
        ({"status": 403, "payload": {"detail": "bad key"}}, errors.AuthBroken),
        ({"status": 500}, errors.AuthBroken),
        ({"status": 404}, errors.AuthBroken),
        ({"status": 204}, errors.AuthBroken),
        ({"status": 307, "headers": {"Location": "http://evil/"}}, errors.AuthBroken),
        ({"body": ""}, errors.AuthBroken),
        ({"body": "<html>"}, errors.AuthBroken),
        ({"body": b"\xff\xfe"}, errors.AuthBroken),
        ({"payload": None}, errors.AuthBroken),
        ({"payload": []}, errors.AuthBroken),
        ({"payload": {}}, errors.AuthBroken),
        ({"payload": {"valid": True}}, errors.AuthBroken),
        ({"payload": {"valid": True, "user": None}}, errors.AuthBroken),
        ({"payload": {"valid": True, "user": {"email": "a@b"}}}, errors.AuthBroken),
        ({"payload": {"valid": True, "user": {"id": "42"}}}, errors.AuthBroken),
        (
            {"payload": {"valid": True, "user": {"id": str(USER)}, "claims": {"exp": "soon"}}},
            errors.AuthBroken,
        ),
        ({"body": f'{{"valid":true,"user":{{"id":"{USER}"}},"claims":{{"exp":NaN}}}}'}, errors.AuthBroken),
        ({"payload": {"valid": "perhaps", "user": {"id": str(USER)}}}, errors.AuthBroken),
    ],
)
async def test_a_failure_is_told_apart_and_not_remembered(
    verifier: TokenVerifier, service: aioresponses, reply: dict[str, Any], error: type[errors.ChatError]
) -> None:
    service.post(VALIDATE, **reply)
    service.post(VALIDATE, payload=good())
    with pytest.raises(errors.ChatError) as caught:
        await verifier.verify("t")
    assert type(caught.value) is error
    assert (await verifier.verify("t")).user_id == USER


class Held:
    """An auth service that responds when the test says so."""

    def __init__(self, service: aioresponses, reply: CallbackResult) -> None:
        self.asked = asyncio.Event()
        self.answer = asyncio.Event()
        self._reply = reply
        service.post(VALIDATE, callback=self._call, repeat=True)

    async def _call(self, *_: object, **__: object) -> CallbackResult:
        self.asked.set()
        await self.answer.wait()
        return self._reply


@pytest.mark.parametrize("status", [200, 401, 503])
async def test_many_requests_with_one_new_token_make_one_call(
    verifier: TokenVerifier, service: aioresponses, status: int
) -> None:
    held = Held(service, CallbackResult(status=status, payload=good()))
    waiting = [asyncio.create_task(verifier.verify("t")) for _ in range(50)]
    other = asyncio.create_task(verifier.verify("another"))
    await held.asked.wait()
    held.answer.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    await asyncio.gather(other, return_exceptions=True)
    assert len(calls(service)) == 2
    kinds = {200: "Principal", 401: "InvalidToken", 503: "AuthUnavailable"}
    assert {type(result).__name__ for result in results} == {kinds[status]}
    assert verifier._calls == {}


async def test_one_caller_that_leaves_does_not_fail_the_others(
    verifier: TokenVerifier, service: aioresponses
) -> None:
    held = Held(service, CallbackResult(payload=good()))
    first, second = (asyncio.create_task(verifier.verify("t")) for _ in range(2))
    await held.asked.wait()
    first.cancel()
    held.answer.set()
    assert (await second).user_id == USER
    assert len(calls(service)) == 1


async def test_closing_ends_a_call_under_way(verifier: TokenVerifier, service: aioresponses) -> None:
    held = Held(service, CallbackResult(payload=good()))
    waiting = asyncio.create_task(verifier.verify("t"))
    await held.asked.wait()
    try:
        async with asyncio.timeout(5):
            await verifier.close()
    finally:
        held.answer.set()
    await asyncio.gather(waiting, return_exceptions=True)
    assert waiting.cancelled()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "auth-validate"] == []


async def test_no_more_tokens_are_remembered_than_allowed(
    verifier: TokenVerifier, service: aioresponses, short: Settings
) -> None:
    service.post(VALIDATE, payload=good(), repeat=True)
    for number in range(10):
        await verifier.verify(f"token-{number}")
    assert len(verifier._cache._cache) == short.auth_cache_size
    await verifier.verify("token-9")
    assert len(calls(service)) == 10
    await verifier.verify("token-0")
    assert len(calls(service)) == 11
    assert len(verifier._cache._handlers) <= short.auth_cache_size


async def test_tokens_are_kept_as_digests_alone(verifier: TokenVerifier, service: aioresponses) -> None:
    service.post(VALIDATE, payload=good())
    service.post(VALIDATE, status=401)
    await verifier.verify("a-good-token")
    assert await refused(verifier, "a-bad-token")
    kept = repr([vars(verifier._cache), vars(verifier._cache.plugins[0]), verifier._calls])
    assert "a-good-token" not in kept
    assert "a-bad-token" not in kept


@pytest.mark.parametrize("token", ["", "x" * 8193, "tökén", "a\tb", "a\0b", "\ud800", "🦜"])
async def test_a_token_that_cannot_be_one_asks_nobody(
    verifier: TokenVerifier, service: aioresponses, token: str
) -> None:
    assert await refused(verifier, token)
    assert calls(service) == []


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (None, "unauthorized"),
        ("", "unauthorized"),
        ("Bearer", "unauthorized"),
        ("Bearer ", "unauthorized"),
        ("Basic dTpw", "unauthorized"),
        ("token-1", "unauthorized"),
        ("Bearer  ", "unauthorized"),
        ("Bearer unknown", "invalid_token"),
        ("Bearer a b", "invalid_token"),
        ("Bearer tökén", "invalid_token"),
    ],
)
async def test_without_a_good_token_every_address_says_how_to_sign_in(
    client: Client, header: str | None, code: str
) -> None:
    for method, path in [
        ("GET", LIST),
        ("POST", LIST),
        ("GET", f"{LIST}/{uuid4()}"),
        ("PUT", f"{LIST}/{uuid4()}"),
        ("DELETE", f"{LIST}/{uuid4()}"),
        ("POST", f"{LIST}/{uuid4()}/messages"),
        ("POST", f"{LIST}/{uuid4()}/regenerate"),
        ("GET", f"{LIST}/{uuid4()}/stream"),
        ("POST", f"{LIST}/{uuid4()}/stop"),
        ("GET", "/api/models"),
        ("POST", "/api/models/swap"),
        ("PATCH", LIST),
        ("GET", "/nowhere"),
    ]:
        headers = {} if header is None else {"Authorization": header}
        response = await client.request(method, path, headers=headers, data=b"not even json")
        assert response.status == 401, (method, path)
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert (await response.json())["code"] == code


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case(client: Client, user: dict[str, str], scheme: str) -> None:
    header = user["Authorization"].replace("Bearer", scheme)
    assert (await client.get(LIST, headers={"Authorization": header})).status == 200


@pytest.mark.parametrize(
    ("status", "body", "answered", "code"),
    [
        (403, {"detail": "wrong internal key"}, 502, "auth_broken"),
        (200, {"nonsense": 1}, 502, "auth_broken"),
        (503, {}, 503, "auth_unavailable"),
    ],
)
async def test_a_broken_auth_service_is_not_the_callers_fault(
    client: Client, auth: AuthService, status: int, body: object, answered: int, code: str
) -> None:
    auth.replies["t"] = (status, body)
    response = await client.get(LIST, headers={"Authorization": "Bearer t"})
    assert response.status == answered
    assert (await response.json())["code"] == code
    assert "WWW-Authenticate" not in response.headers
    assert ("Retry-After" in response.headers) == (answered == 503)


async def test_an_auth_service_that_is_away_is_a_matter_of_waiting(
    client: Client, auth: AuthService, user: dict[str, str]
) -> None:
    assert (await client.get(LIST, headers=user)).status == 200
    other = auth.sign_in()
    address = auth.url.partition("//")[2]
    await auth.__aexit__()
    response = await client.get(LIST, headers=other)
    assert response.status == 503
    assert response.headers["Retry-After"]
    assert address not in await response.text(), "the address is internal"
    assert (await client.get(LIST, headers=user)).status == 200, "who is known goes on"


async def test_the_cache_is_one_for_the_whole_application(
    client: Client, auth: AuthService, user: dict[str, str]
) -> None:
    responses = await asyncio.gather(*(client.get(LIST, headers=user) for _ in range(20)))
    assert {response.status for response in responses} == {200}
    assert len(auth.calls) == 1
    assert client.app is not None
    assert len(client.app[VERIFIER]._cache._cache) == 1
