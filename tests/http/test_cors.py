"""CORS: which pages may call this service, and what they may read of its responses."""

from __future__ import annotations

import pytest
from aiohttp import ClientResponse
from structlog.testing import capture_logs

from chat_api.settings import Settings
from tests.conftest import Client
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

Headers = dict[str, str]
LIST = "/api/conversations"
ALLOWED, ANOTHER, FOREIGN = "https://chat.example", "http://localhost:3000", "https://evil.example"
EXPOSED = {"X-Trace-Id", "Retry-After"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"frontend_url": f" {ALLOWED}/ ,{ANOTHER},"})


def readable(response: ClientResponse, origin: str) -> bool:
    """Whether a browser lets a page of that origin read this response."""
    assert "Origin" in response.headers.get("Vary", ""), "a shared cache must not mix origins up"
    if "Access-Control-Allow-Origin" not in response.headers:
        return False
    assert response.headers["Access-Control-Allow-Origin"] == origin
    exposed = response.headers["Access-Control-Expose-Headers"].split(",")
    assert {name.strip() for name in exposed} == EXPOSED
    return True


async def test_a_refused_question_of_a_browser_is_logged_as_refused(client: Client) -> None:
    with capture_logs() as lines:
        response = await client.options(
            LIST, headers={"Origin": FOREIGN, "Access-Control-Request-Method": "GET"}
        )
    assert response.status == 403
    assert [line["status"] for line in lines if line["event"] == "request"] == [403]


@pytest.mark.parametrize("origin", [ALLOWED, ANOTHER])
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", LIST),
        ("POST", LIST),
        ("PUT", f"{LIST}/x"),
        ("DELETE", f"{LIST}/x"),
        ("POST", f"{LIST}/x/messages"),
        ("GET", f"{LIST}/x/stream"),
        ("POST", f"{LIST}/x/stop"),
        ("GET", "/api/models"),
        ("POST", "/api/models/swap"),
    ],
)
async def test_a_page_of_the_front_end_may_ask_without_a_token_what_it_may_do(
    client: Client, origin: str, method: str, path: str
) -> None:
    wanted = "authorization,content-type,idempotency-key,last-event-id,x-trace-id"
    response = await client.options(
        path,
        headers={
            "Origin": origin,
            "Access-Control-Request-Method": method,
            "Access-Control-Request-Headers": wanted,
        },
    )
    assert response.status == 200
    assert response.headers["Access-Control-Allow-Origin"] == origin
    assert response.headers["Access-Control-Allow-Methods"] == method
    assert set(response.headers["Access-Control-Allow-Headers"].lower().split(",")) == set(wanted.split(","))
    assert int(response.headers["Access-Control-Max-Age"]) > 0
    assert response.headers["X-Trace-Id"]


@pytest.mark.parametrize(
    "origin",
    [FOREIGN, "null", f"{ALLOWED}.evil.example", "http://chat.example", f"{ALLOWED}:8443", "", f"{ALLOWED}/"],
)
async def test_a_page_of_another_origin_may_do_nothing(
    client: Client, user: Headers, origin: str, conversation: str
) -> None:
    preflight = await client.options(
        LIST, headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status in (403, 405)
    assert "Access-Control-Allow-Origin" not in preflight.headers
    for path in (LIST, conversation, "/api/health", "/api/models"):
        assert not readable(await client.get(path, headers=user | {"Origin": origin}), origin)


async def test_a_page_of_the_front_end_reads_every_answer_errors_included(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    model.say = ["hello"]
    headers = user | {"Origin": ALLOWED}
    for method, path, body, status in [
        ("GET", LIST, None, 200),
        ("POST", LIST, None, 201),
        ("POST", LIST, [1], 422),
        ("PUT", conversation, {"title": "a"}, 200),
        ("GET", f"{LIST}/x", None, 404),
        ("GET", "/api/health", None, 200),
        ("POST", "/api/models/swap", {"model_tag": "m"}, 403),
        ("DELETE", conversation, None, 204),
    ]:
        response = await client.request(method, path, headers=headers, json=body)
        assert response.status == status
        assert readable(response, ALLOWED), (method, path)
    unsigned = await client.get(LIST, headers={"Origin": ALLOWED})
    assert unsigned.status == 401
    assert readable(unsigned, ALLOWED), "else the page can't tell that it must sign in"


async def test_streams_are_readable_by_the_front_end_alone(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    model.say = ["hello"]
    for origin, allowed in [(ALLOWED, True), (FOREIGN, False)]:
        headers = user | {"Origin": origin}
        sent = await client.post(f"{conversation}/messages", headers=headers, json={"content": "a"})
        assert readable(sent, origin) == allowed
        await read_events(sent)
        again = await client.post(f"{conversation}/regenerate", headers=headers)
        assert readable(again, origin) == allowed
        await read_events(again)
        attached = await client.get(f"{conversation}/stream", headers=headers)
        assert readable(attached, origin) == allowed
        await read_events(attached)


async def test_callers_that_are_no_browser_see_nothing_of_all_this(client: Client, user: Headers) -> None:
    response = await client.get(LIST, headers=user)
    assert not [name for name in response.headers if name.startswith("Access-Control-")]
