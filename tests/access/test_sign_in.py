"""Failed sign-ins: an address with too many has to wait, but signed-in users are not affected."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from chat_api.access.sign_in_failures import MAX_ADDRESSES, SignInFailures
from chat_api.errors import TooManySignInFailures
from chat_api.settings import Settings
from chat_api.settings.rate import Rate
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Client
from tests.support.tab import open_tab, token_of

LIST = "/api/conversations"
HERE, THERE = "203.0.113.9", "203.0.113.10"


@pytest.fixture
async def strict(start: Start, settings: Settings) -> Client:
    """A service that allows an address five failures an hour, one every 720 seconds."""
    client: Client = await start(settings.model_copy(update={"sign_in_failures_per_address": "5/hour"}))
    return client


async def ask(client: Client, token: str, address: str = HERE) -> Any:
    """Send a request with this token from this address."""
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}
    response = await client.get(LIST, headers=headers)
    return response.status, await response.json(), response.headers


async def fail(client: Client, count: int = 5, address: str = HERE) -> None:
    for number in range(count):
        status, body, _ = await ask(client, f"forged-{address}-{number}", address)
        assert (status, body["code"]) == (401, "invalid_token")


async def test_after_so_many_failures_an_address_is_told_to_wait_and_nobody_is_asked(
    strict: Client, auth: AuthService
) -> None:
    await fail(strict)
    for number in range(50):
        status, body, headers = await ask(strict, f"another-{number}")
        assert (status, body["code"]) == (429, "too_many_sign_in_failures")
        assert re.fullmatch("[A-Z].*[.] Try again in 1[123] minutes[.]", body["detail"])
        assert 700 < int(headers["Retry-After"]) <= 720
    assert len(auth.calls) == 5
    figures = await (await strict.get("/metrics")).text()
    assert 'chat_refusals_total{limit="sign_in_failures_per_address"} 50.0' in figures


async def test_who_is_signed_in_at_that_address_goes_on_and_another_address_is_heard(
    strict: Client, auth: AuthService
) -> None:
    known, late = token_of(auth.sign_in()), token_of(auth.sign_in())
    assert (await ask(strict, known))[0] == 200
    await fail(strict)
    assert (await ask(strict, known))[0] == 200
    assert (await ask(strict, late))[0] == 429
    assert (await ask(strict, late, THERE))[0] == 200
    assert (await ask(strict, late))[0] == 200, "now it is known"


async def test_one_bad_token_repeated_is_one_failure(strict: Client, auth: AuthService) -> None:
    for _ in range(20):
        assert (await ask(strict, "expired"))[0] == 401
    assert (await ask(strict, token_of(auth.sign_in())))[0] == 200
    await fail(strict, 4)
    assert (await ask(strict, "expired"))[0] == 401, "what is known isn't kept back"
    assert (await ask(strict, "another"))[0] == 429


async def test_a_failing_auth_service_is_nobodys_failure(strict: Client, auth: AuthService) -> None:
    for number in range(10):
        auth.replies[f"unlucky-{number}"] = (503, {})
        assert (await ask(strict, f"unlucky-{number}"))[0] == 503
    assert (await ask(strict, token_of(auth.sign_in())))[0] == 200


async def test_a_socket_is_told_to_wait_and_may_sign_in_later(strict: Client, auth: AuthService) -> None:
    await fail(strict)
    where = {"X-Forwarded-For": HERE}
    async with open_tab(strict, headers=where) as tab:
        frame = await tab.ask("auth", token="unknown")
        assert (frame["type"], frame["code"], frame["status"]) == ("error", "too_many_sign_in_failures", 429)
        assert 700 < frame["retry_after"] <= 720
        user = auth.sign_in()
        assert (await ask(strict, token_of(user), THERE))[0] == 200
        assert (await tab.ask("auth", token=token_of(user)))["type"] == "ready"
    upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    upgrade |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Authorization": "Bearer unknown"}
    async with strict.get("/api/ws", headers=where | upgrade) as response:
        assert response.status == 429
        assert "Retry-After" in response.headers


async def test_a_socket_counts_for_its_address_too(strict: Client) -> None:
    for number in range(5):
        async with open_tab(strict, headers={"X-Forwarded-For": HERE}) as tab:
            await tab.say("auth", token=f"forged-{number}")
            assert await tab.close_code() == 4401
    assert (await ask(strict, "another"))[0] == 429


@pytest.mark.parametrize("address", ["127.0.0.1", "unknown", ""])
async def test_a_trusted_proxy_that_speaks_for_nobody_is_never_kept_waiting(
    strict: Client, address: str
) -> None:
    for number in range(20):
        assert (await ask(strict, f"forged-{number}", address))[0] == 401


async def test_without_a_limit_all_are_asked(client: Client, auth: AuthService) -> None:
    await fail(client, 30)
    assert len(auth.calls) == 30


async def test_it_needs_no_database(start: Start, settings: Settings) -> None:
    away = {"database_url": "postgresql://127.0.0.1:1/x", "sign_in_failures_per_address": "5/hour"}
    client = await start(settings.model_copy(update=away))
    await fail(client)
    assert (await ask(client, "another"))[0] == 429


async def test_of_many_at_once_no_more_pass_than_were_on_their_way(strict: Client, auth: AuthService) -> None:
    found = await asyncio.gather(*(ask(strict, f"forged-{number}") for number in range(30)))
    assert {status for status, _, _ in found} <= {401, 429}
    assert (await ask(strict, "another"))[0] == 429


class Clock:
    """A clock that the test sets, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def waits(failures: SignInFailures, address: str = HERE) -> int:
    """How long the address has to wait, in seconds; 0 if it may sign in."""
    try:
        failures.check(address)
    except TooManySignInFailures as error:
        return error.retry_after or 0
    return 0


def test_waiting_as_long_as_told_suffices_and_a_second_less_does_not() -> None:
    clock = Clock()
    failures = SignInFailures(Rate.parse("7/minute"), clock)
    for _ in range(7):
        assert waits(failures) == 0
        failures.note(HERE)
    assert waits(failures) == 9
    clock.now += 8
    assert waits(failures) == 1
    clock.now += 1
    assert waits(failures) == 0
    failures.note(HERE)
    assert waits(failures) > 0
    clock.now += 3600
    for _ in range(7):
        assert waits(failures) == 0, "never more than the whole"
        failures.note(HERE)
    assert waits(failures) == 9


def test_failures_that_came_all_at_once_are_paid_for_afterwards() -> None:
    """Otherwise as many could come again as soon as one may. Nobody waits longer than the period."""
    clock = Clock()
    failures = SignInFailures(Rate.parse("5/hour"), clock)
    for _ in range(7):
        failures.note(HERE)
    assert waits(failures) == 3 * 720
    for _ in range(1000):
        failures.note(HERE)
    assert waits(failures) == 3600
    clock.now += 3600
    assert waits(failures) == 0
    failures.note(HERE)
    assert waits(failures) == 720


def test_addresses_without_number_take_no_memory_without_end() -> None:
    failures = SignInFailures(Rate.parse("1/hour"), Clock())
    for number in range(MAX_ADDRESSES + 500):
        failures.note(str(number))
    assert len(failures._buckets) == MAX_ADDRESSES
    assert waits(failures, str(MAX_ADDRESSES)) > 0
    assert waits(failures, "0") == 0


@pytest.mark.parametrize(
    "text", ["30", "0/minute", "-1/minute", "30/year", "30 / minute", "1000001/day", "x", "٣/day"]
)
def test_a_rate_is_a_number_and_a_period(text: str) -> None:
    with pytest.raises(ValueError, match="such as 30/minute"):
        Rate.parse(text)


def test_as_many_as_the_rate_says_fit_into_its_period() -> None:
    for text in ("7/minute", "3/second", "1/day", "1000000/second"):
        rate = Rate.parse(text)
        assert rate is not None
        assert rate.period - rate.every < rate.every * rate.count <= rate.period
    assert Rate.parse("0") is None
