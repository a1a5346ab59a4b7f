"""nginx's own refusals have the service's error format."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest

from chat_api import errors
from tests.deploy.nginx.conftest import Front
from tests.deploy.nginx.server import Nginx
from tests.http.test_proxies import remote
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import free_port, open_conversation
from tests.support.reader import read_events
from tests.support.tab import open_tab

Headers = dict[str, str]
LIST = "/api/conversations"


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """The status and code of nginx's own error, whose format is checked."""
    assert response.headers["Server"].startswith("nginx")
    assert response.content_type == "application/json"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Retry-After" in response.headers["Access-Control-Expose-Headers"]
    assert response.headers["X-Trace-Id"]
    body = await response.json()
    assert set(body) == {"detail", "code"}
    assert body["detail"].endswith(".")
    return response.status, body["code"]


async def test_a_service_that_is_down(user: Headers) -> None:
    nowhere = {"127.0.0.1:8002": f"127.0.0.1:{free_port()}"}
    async with Nginx("own-host", "port", nowhere) as nginx, nginx.connect() as http:
        for headers in (user | {"X-Trace-Id": "mine"}, user | {"X-Request-Id": "mine"}):
            async with http.get(LIST, headers=headers) as response:
                assert await refusal(response) == (503, "unavailable")
                assert await response.json() == errors.Unavailable().body
                assert response.headers["Retry-After"] == str(errors.Unavailable.retry_after)
                assert response.headers["X-Trace-Id"] == "mine"
        async with http.post(f"{LIST}/x/messages", headers=user | {"X-Trace-Id": "no\t"}) as response:
            assert await refusal(response) == (503, "unavailable")
            assert len(response.headers["X-Trace-Id"]) == 32
        with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
            await http.ws_connect("/api/ws")
        assert caught.value.status == 503


async def test_a_body_that_is_too_large(front: Front, user: Headers) -> None:
    nginx = await front(max_body_bytes=262_144)
    async with nginx.connect() as http:
        path = await open_conversation(http, user)
        json = {"Content-Type": "application/json"}
        async with http.post(LIST, headers=user | json, data=b"x" * 262_145) as response:
            assert await refusal(response) == (413, "body_too_large")
            assert await response.json() == errors.BodyTooLarge().body

        async def drip() -> AsyncIterator[bytes]:
            for _ in range(5):
                yield b"x" * 65536

        async with http.post(LIST, headers=user | json, data=drip()) as response:
            assert await refusal(response) == (413, "body_too_large")
        # What the service accepts, nginx lets through:
        title = b'{"title": "a"' + b" " * (262_144 - 14) + b"}"
        async with http.put(path, headers=user | json, data=title) as response:
            assert response.status == 200


async def test_a_token_may_be_as_long_as_the_service_takes_it(front: Front, auth: AuthService) -> None:
    long = "t" * 8000
    auth.replies[long] = (200, {"valid": True, "user": {"id": "8" * 8 + "-8888-4888-8888-" + "8" * 12}})
    async with (await front()).connect() as http:
        async with http.get(LIST, headers={"Authorization": f"Bearer {long}"}) as response:
            assert response.status == 200
        async with http.get(LIST, headers={"Authorization": f"Bearer {long * 3}"}) as response:
            assert await refusal(response) == (431, "headers_too_large")


async def until_refused(ask: Callable[[], Awaitable[aiohttp.ClientResponse]], most: int) -> int:
    """How many requests are answered before nginx refuses one."""
    for count in range(most):
        async with await ask() as response:
            if response.status != 200:
                assert await refusal(response) == (429, errors.RateLimited.code)
                assert int(response.headers["Retry-After"]) == 2
                return count
    raise AssertionError(f"{most} in a row were answered")


async def test_too_many_questions(front: Front, user: Headers, model: ModelServer) -> None:
    model.say = ["tea"]
    async with (await front()).connect() as http:
        path = await open_conversation(http, user)
        question = {"content": "Hi", "stream": False}
        asked = await until_refused(lambda: http.post(f"{path}/messages", json=question, headers=user), 50)
        assert asked >= 11
        again = await until_refused(lambda: http.post(f"{path}/regenerate", headers=user), 50)
        assert again < 11
        # A slash at the end is no way around it.
        assert await until_refused(lambda: http.post(f"{path}/regenerate/", headers=user), 50) < 11
        # Reading has a limit of its own.
        async with http.get(path, headers=user) as response:
            assert len((await response.json())["messages"]) == 2 * asked
        async with http.get(f"{path}/stream", headers=user) as stream:
            await read_events(stream)


async def test_too_many_requests(front: Front) -> None:
    async with (await front()).connect() as http:
        assert await until_refused(lambda: http.get("/api/health"), 1000) >= 61


async def test_the_pages_own_files_are_not_too_many(front: Front) -> None:
    """Opening the page takes more of them at once than an address has requests."""
    async with (await front()).connect() as http:

        async def status(path: str) -> int:
            async with http.get(path) as response:
                return response.status

        assert {await status("/web/client.js") for _ in range(90)} == {200}
        assert {await status("/api/conversations/web/client.js") for _ in range(200)} == {401, 429}


async def test_too_many_at_once(front: Front, user: Headers) -> None:
    nginx = await front()
    limits = nginx.folder / "snippets" / "chat-api-rate-limit.conf"
    assert "limit_conn chat_api_connections 100;" in limits.read_text()
    limits.write_text(limits.read_text().replace("chat_api_connections 100", "chat_api_connections 2"))
    await nginx.reload()
    async with (
        nginx.connect() as http,
        open_tab(http, user),
        open_tab(http, user),
        http.get("/api/health") as response,
    ):
        assert await refusal(response) == (429, errors.RateLimited.code)


@pytest.mark.parametrize(("site", "path"), [("own-host", "/metrics"), ("sub-path", "/chat/metrics")])
async def test_figures_are_not_for_the_outside(front: Front, site: str, path: str) -> None:
    async with (await front(site)).connect() as http, http.get(path) as response:
        assert await refusal(response) == (404, "not_found")
        assert await response.json() == errors.NotFound().body


async def test_the_services_own_errors_pass_as_they_are(front: Front, user: Headers) -> None:
    async with (await front()).connect() as http:
        async with http.get(LIST) as response:
            assert response.status == 401
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert await response.json() == errors.Unauthorized().body
        async with http.get(f"{LIST}/x", headers=user) as response:
            assert (response.status, await response.json()) == (404, errors.ConversationNotFound().body)


class TestWhoAsks:
    """Over a Unix socket, so that the client's address isn't a trusted one."""

    async def test_the_client_is_whom_nginx_saw(self, unix_front: Front) -> None:
        nginx = await unix_front(trusted_proxies="unix")
        async with nginx.connect() as http:
            assert await remote(http, {}) == "127.0.0.1"
            assert await remote(http, {"X-Forwarded-For": "203.0.113.9"}) == "127.0.0.1"

    async def test_nobody_is_believed_unless_trusted(self, unix_front: Front) -> None:
        nginx = await unix_front(trusted_proxies="127.0.0.1")
        async with nginx.connect() as http:
            assert await remote(http, {"X-Forwarded-For": "203.0.113.9"}) == "unix"

    async def test_a_proxy_before_nginx_may_be_trusted_too(self, unix_front: Front) -> None:
        nginx = await unix_front(trusted_proxies="unix,127.0.0.1")
        async with nginx.connect() as http:
            assert await remote(http, {"X-Forwarded-For": "10.0.0.1, 203.0.113.9"}) == "203.0.113.9"

    async def test_no_client_says_which_origin_is_the_services_own(self, unix_front: Front) -> None:
        nginx = await unix_front()
        evil = {"X-Forwarded-Host": "evil.example", "X-Forwarded-Proto": "http"}
        async with nginx.connect() as http:
            for origin, closed in [
                (nginx.url, None),
                ("http://evil.example", 1008),
                ("https://evil.example", 1008),
            ]:
                async with http.ws_connect("/api/ws", headers=evil | {"Origin": origin}) as socket:
                    await socket.send_json({"type": "auth", "token": "wrong"})
                    await socket.receive(timeout=5)
                    assert socket.close_code == (closed or 4401)
