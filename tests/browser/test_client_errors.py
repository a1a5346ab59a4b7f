"""Refusals in the client: the same kind of error over either transport."""

import asyncio
import json
import time
from base64 import urlsafe_b64encode
from typing import Any
from uuid import uuid4

import pytest

from tests.browser.answers import begin, is_whole
from tests.browser.conftest import Console, Served
from tests.browser.embedded import Embedded
from tests.browser.site import Site
from tests.support.chat import until
from tests.support.tab import token_of
from tests.support.wire import HttpWire

both = pytest.mark.parametrize("transport", ["sse", "ws"])
NOWHERE = "00000000-0000-0000-0000-000000000000"


@pytest.fixture(autouse=True)
def requests_are_refused(console: Console) -> None:
    """The browser logs each refused request, whatever the page does."""
    console.allow("Failed to load resource: the server responded with a status of")
    console.allow("WebSocket connection to .* failed")


def short(error: dict[str, Any] | None) -> tuple[str, str, int] | None:
    """An error's name, code and status."""
    return None if error is None else (error["name"], error["code"], error["status"])


@both
async def test_no_such_conversation(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    for conversation in (NOWHERE, "../../models", "%00", "é/?#"):
        error = await (await embedded.send(conversation)).error()
        assert short(error) == ("ChatError", "conversation_not_found", 404), conversation
        assert error is not None
        assert error["message"] == error["detail"] == "There is no such conversation."
    attached = await embedded.read("attach", NOWHERE, {"after": f"{NOWHERE}:3"})
    assert short(await attached.error()) == ("ChatError", "conversation_not_found", 404)
    assert short(await embedded.call(f"chat.stop('{NOWHERE}')")) == (
        "ChatError",
        "conversation_not_found",
        404,
    )


@both
async def test_answer_in_the_way(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport, "a")
    error = await (await embedded.send(conversation, "Too early")).error()
    assert short(error) == ("ChatError", "generation_running", 409)
    assert error is not None
    assert error["generationId"] == (await answer.events(1))[0]["generation_id"]
    call.finish("b")
    assert is_whole(await answer.events())


@both
async def test_wrong_fields_are_named(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    error = await (await embedded.send(conversation, "", temperature=3)).error()
    assert short(error) == ("ChatError", "validation_failed", 422)
    assert error is not None
    assert {each["loc"][-1] for each in error["detail"]} == {"content", "temperature"}
    assert "temperature" in error["message"]


@both
async def test_nothing_to_regenerate(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    error = await (await embedded.read("regenerate", await embedded.conversation())).error()
    assert short(error) == ("ChatError", "nothing_to_regenerate", 400)


@both
async def test_done_rejects_with_the_same_error(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    answer = await embedded.send(NOWHERE)
    error = await embedded.call(f"record.answers[{answer.number}].answer.done")
    assert short(error) == short(await answer.error())


async def test_fields_of_plain_requests_are_told_too(embedded: Embedded) -> None:
    await embedded.begin()
    error = await embedded.call("chat.conversations.create({ title: 'x'.repeat(501) })")
    assert short(error) == ("ChatError", "validation_failed", 422)
    assert short(await embedded.call("chat.models.swap('m2')")) == ("ChatError", "forbidden", 403)
    error = await embedded.call("chat.conversations.list({ cursor: 'nonsense' })")
    assert short(error) == ("ChatError", "validation_failed", 422)


async def test_rate_limit_says_when_to_try_again(embedded: Embedded) -> None:
    await embedded.begin("ws")
    conversation = await embedded.conversation()
    error = await embedded.call(
        f"Promise.all(Array.from({{ length: 700 }}, () => chat.regenerate('{conversation}').done.catch("
        "(error) => { if (error.status === 429) throw error; })))"
    )
    assert short(error) == ("ChatError", "rate_limited", 429)
    assert error["retryAfter"] == 1


@both
async def test_service_that_is_away_for_a_moment_is_asked_again(
    embedded: Embedded, service: Served, transport: str
) -> None:
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    again = service.token()
    service.auth.replies[again] = (503, "away")
    await embedded.page.clock.install()
    await embedded.begin(transport, token=again)
    answer = await embedded.send(conversation)
    await embedded.reported("statuses", "reconnecting")
    service.auth.replies[again] = (200, service.auth.answer(embedded.token))
    await embedded.page.clock.fast_forward(4000)  # the service asked for five seconds
    await asyncio.sleep(0.3)
    assert service.auth.calls.count(again) == 1
    await embedded.page.clock.fast_forward(1500)
    (await service.model.call()).finish("x")
    assert is_whole(await answer.events())


@both
async def test_service_that_stays_away_is_told_after_three_tries(
    embedded: Embedded, service: Served, transport: str
) -> None:
    token = service.token()
    service.auth.replies[token] = (503, "away")
    await embedded.page.clock.install()
    await embedded.begin(transport, token=token)
    answer = await embedded.send(NOWHERE)
    for tries in (1, 2):
        await until(lambda tries=tries: asyncio.sleep(0, service.auth.calls.count(token) == tries))
        await embedded.reported("statuses", "reconnecting")
        await embedded.page.wait_for_timeout(50)
        await embedded.page.clock.fast_forward(5500)
    error = await answer.error()
    assert short(error) == ("ChatError", "auth_unavailable", 503)
    assert error is not None
    assert error["retryAfter"] == 5
    assert service.auth.calls.count(token) == 3


@both
async def test_signed_out_without_a_new_token(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport, token="unknown")
    answer = await embedded.send(NOWHERE)
    assert short(await answer.error()) == ("ChatError", "invalid_token", 401)
    assert await embedded.record("statuses") == ["signed-out"]
    assert await embedded.record("expired") == [False, True]
    await embedded.page.evaluate("(token) => { window.token = token; }", embedded.token)
    answer = await embedded.send(NOWHERE)
    assert short(await answer.error()) == ("ChatError", "conversation_not_found", 404)
    assert await embedded.record("statuses") == ["signed-out", "online"]


@both
async def test_fixed_token_that_is_refused(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    error = await embedded.page.evaluate(
        """async ([baseUrl, transport, id]) => {
            const { ChatClient } = await import("/web/client.js");
            const chat = new ChatClient({ baseUrl, transport, token: "unknown" });
            return chat.send(id, "Hi").done.catch(({ code, status }) => [code, status, chat.status]);
        }""",
        [embedded.base_url, transport, NOWHERE],
    )
    assert error == ["invalid_token", 401, "signed-out"]


@both
async def test_failing_token_callback_is_told(embedded: Embedded, transport: str) -> None:
    await embedded.begin(transport)
    error = await embedded.page.evaluate(
        """async ([baseUrl, transport, id]) => {
            const { ChatClient } = await import("/web/client.js");
            const token = () => { throw new Error("the site's sign-in is away"); };
            const chat = new ChatClient({ baseUrl, transport, token });
            return chat.send(id, "Hi").done.catch(({ code, cause }) => [code, cause.message]);
        }""",
        [embedded.base_url, transport, NOWHERE],
    )
    assert error == ["token_unavailable", "the site's sign-in is away"]


@pytest.mark.parametrize("token", ["two\nlines", "ünicode", "", None, "a b"])
@both
async def test_what_is_no_token_is_told(embedded: Embedded, transport: str, token: str | None) -> None:
    await embedded.begin(transport, token=token)
    error = await (await embedded.send(NOWHERE)).error()
    expected = "invalid_token" if token else "token_unavailable"
    assert error is not None
    assert error["code"] == expected
    assert await embedded.record("statuses") == ["signed-out"]


async def test_whatever_answers_in_the_services_place_is_told(embedded: Embedded, site: Site) -> None:
    embedded.base_url = f"{site.url}/elsewhere"
    await embedded.begin()
    assert short(await (await embedded.send(NOWHERE)).error()) == ("ChatError", "http_405", 405)
    assert short(await embedded.call("chat.models.list()")) == ("ChatError", "http_404", 404)
    site.pages["/elsewhere/api/models"] = "<p>Sign in first"
    assert short(await embedded.call("chat.models.list()")) == ("ChatError", "http_200", 200)
    attached = await embedded.read("attach", NOWHERE, {"after": f"{NOWHERE}:1"})
    assert short(await attached.error()) == ("ChatError", "http_404", 404)
    site.pages[f"/elsewhere/api/conversations/{NOWHERE}/stream"] = "<p>Sign in first"
    attached = await embedded.read("attach", NOWHERE, {"after": f"{NOWHERE}:1"})
    assert short(await attached.error()) == ("ChatError", "http_200", 200)


@both
async def test_token_that_expires_in_mid_answer_is_renewed(
    embedded: Embedded, service: Served, transport: str
) -> None:
    user = uuid4()
    embedded.token = token_of(service.auth.sign_in(user, exp=time.time() + 2))
    later = token_of(service.auth.sign_in(user))
    _, answer, call = await begin(embedded, service, transport, "a")
    await embedded.page.evaluate("(token) => { window.token = token; }", later)
    await embedded.reported("expired", True)
    call.say("b")
    await answer.events(3)
    call.finish("c")
    assert is_whole(await answer.events())
    assert await embedded.record("expired") == [False, True]
    assert later in service.auth.calls


@both
async def test_sign_in_that_is_away_in_mid_answer_is_waited_for(
    embedded: Embedded, service: Served, transport: str
) -> None:
    user = uuid4()
    embedded.token = token_of(service.auth.sign_in(user, exp=time.time() + 2))
    later = token_of(service.auth.sign_in(user))
    _, answer, call = await begin(embedded, service, transport, "a")
    await embedded.page.evaluate("window.isSignInAway = true")
    await embedded.reported("expired", True)
    await embedded.reported("statuses", "reconnecting")
    call.finish("b")
    await embedded.page.evaluate("(token) => { isSignInAway = false; window.token = token; }", later)
    assert is_whole(await answer.events())
    assert "signed-out" not in await embedded.record("statuses")


async def test_many_requests_with_an_expired_token_renew_it_once(embedded: Embedded) -> None:
    await embedded.begin(token="expired")
    await embedded.page.evaluate(
        """async (token) => {
            record.expired = [];
            const asked = Array.from({ length: 5 }, () => chat.conversations.list());
            await new Promise((go) => setTimeout(go));
            window.token = token;
            await Promise.all(asked);
        }""",
        embedded.token,
    )
    assert await embedded.record("expired") == [False, True]


async def test_socket_is_given_a_new_token_before_the_old_one_expires(
    embedded: Embedded, service: Served, wire: HttpWire
) -> None:
    claims = {"iat": 1_900_000_000, "exp": 1_900_000_010}
    token = f"e30.{urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"
    service.auth.replies[token] = (200, service.auth.answer(embedded.token))
    later = embedded.token
    await embedded.page.clock.install(time=claims["iat"])
    embedded.token = token
    _, answer, call = await begin(embedded, service, "ws", "a")
    await embedded.page.evaluate("(token) => { window.token = token; }", later)
    await embedded.page.clock.fast_forward(9000)
    await embedded.reported("expired", True)
    await until(lambda: asyncio.sleep(0, later in service.auth.calls))
    call.finish("b")
    assert is_whole(await answer.events())
    assert wire.upgrades_asked == 1


async def test_without_a_token_none_is_sent(embedded: Embedded) -> None:
    """A proxy may add the token."""
    await embedded.begin()
    error = await embedded.page.evaluate(
        """async (baseUrl) => {
            const { ChatClient } = await import("/web/client.js");
            return new ChatClient({ baseUrl }).models.list().catch(({ code, status }) => [code, status]);
        }""",
        embedded.base_url,
    )
    assert error == ["unauthorized", 401]
