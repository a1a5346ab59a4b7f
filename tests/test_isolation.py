"""Nobody sees or touches another user's data; existence isn't told either (DESIGN section 6, promise 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from chat_api.db import load_queries
from tests.auth_service import AuthService
from tests.chat import until
from tests.conftest import Client
from tests.model_server import ModelServer
from tests.queries import Chat, Connection, one, run
from tests.reader import read_events

# What holds something of a user, in which order.
TABLES = {
    "conversations": "id",
    "messages": "id",
    "generations": "id",
    "journal": "generation_id, next_seq",
}


async def dump(sql: Connection) -> dict[str, list[asyncpg.Record]]:
    """Every row of every table that holds something of a user."""
    return {
        table: await sql.fetch(f"select * from {table} order by {order}") for table, order in TABLES.items()
    }


async def a_life(sql: Connection) -> tuple[Chat, UUID]:
    """A conversation with a finished generation (key `k`) and a running one, which is returned."""
    chat = await Chat().open(sql, "private")
    await chat.finish(sql, await chat.begin(sql, idempotency_key="k"), content="secret")
    running = await chat.begin(sql, idempotency_key="l", content="whisper")
    await chat.speak(sql, (running, 0, [{}, {"token": "hush"}]))
    return chat, running


# Every query that takes a user. The others are reached only with an id that one of these gave out.
QUERIES = sorted(name for name, query in load_queries().items() if "user_id" in query.parameters)


def somebody_elses(name: str, chat: Chat, generation_id: UUID) -> list[dict[str, Any]]:
    """Parameters with the stranger's id, each otherwise such that the owner would get something."""
    user_id = uuid4()
    the_conversation = {"conversation_id": chat.id, "user_id": user_id}
    match name:
        case "conversations.page":
            return [
                {"user_id": user_id, "before_updated_at": None, "before_id": None, "max_rows": 9, "skip": 0}
            ]
        case "conversations.get" | "conversations.delete":
            return [{"id": chat.id, "user_id": user_id}]
        case "conversations.update":
            return [{"id": chat.id, "user_id": user_id, "title": "stolen", "is_favorited": True}]
        case "generations.attach":
            return [{**the_conversation, "generation_id": asked} for asked in (None, generation_id)]
        case "generations.stop":
            return [the_conversation]
        case "users.count" | "users.stop_answers" | "users.export":
            return [{"user_id": user_id}]
        case "users.delete":
            return [{"user_id": user_id, "max_rows": 100}]
        case "generations.start":
            common = {
                **the_conversation,
                "title": "stolen",
                "worker_id": chat.worker_id,
                "max_messages": 50,
                "max_characters": 6000,
                "tell": True,
            }
            return [
                {**common, "kind": kind, "content": content, "idempotency_key": key}
                for kind, content in (("send", "hello"), ("regenerate", None))
                for key in (None, "k", "l")
            ]
    raise AssertionError(f"{name} takes a user's id: say here how a stranger would call it")


@pytest.mark.parametrize("name", [name for name in QUERIES if name != "conversations.create"])
async def test_a_stranger_gets_no_row_and_changes_none(sql: Connection, name: str) -> None:
    chat, generation_id = await a_life(sql)
    before = await dump(sql)
    for parameters in somebody_elses(name, chat, generation_id):
        rows = await run(sql, name, **parameters)
        assert [
            count for row in rows for count in row if count != 0
        ] == []  # `users` counts: no row, or noughts
    assert await dump(sql) == before


async def test_a_generation_is_not_found_through_a_conversation_of_ones_own(sql: Connection) -> None:
    _, running = await a_life(sql)
    mine = await Chat().open(sql)
    row = await one(
        sql, "generations.attach", conversation_id=mine.id, user_id=mine.user_id, generation_id=running
    )
    assert row is not None
    assert tuple(row) == (mine.id, None, None)
    before = await dump(sql)
    row = await mine.start(sql, kind="regenerate", idempotency_key="l")
    assert row is not None
    assert (row["outcome"], row["generation_id"], row["history"]) == ("nothing", None, None)
    assert await dump(sql) == before


Request = tuple[str, str, dict[str, Any]]

# Every address with an id in it, with every body and header that would do something.
REQUESTS: list[Request] = [
    ("GET", "", {}),
    ("PUT", "", {"json": {"title": "stolen", "is_favorited": True}}),
    ("DELETE", "", {}),
    ("POST", "/messages", {"json": {"content": "hello"}}),
    ("POST", "/messages", {"json": {"content": "hello", "stream": False}}),
    ("POST", "/messages", {"json": {"content": "hello"}, "headers": {"Idempotency-Key": "k"}}),
    ("POST", "/regenerate", {}),
    ("POST", "/regenerate", {"headers": {"Idempotency-Key": "k"}}),
    ("GET", "/stream", {}),
    ("GET", "/stream", {"headers": {"Last-Event-ID": "<event>"}}),
    ("GET", "/stream", {"params": {"after": "<event>"}}),
    ("POST", "/stop", {}),
]

Ask = Callable[..., Awaitable[tuple[int, bytes]]]


@pytest.fixture
def ask(client: Client) -> Ask:
    """Send one of REQUESTS as somebody to a conversation; the status and the body."""

    async def send(request: Request, user: dict[str, str], path: str, event: str = "") -> tuple[int, bytes]:
        method, below, given = orjson.loads(orjson.dumps(request).replace(b"<event>", event.encode()))
        headers = {**user, **given.pop("headers", {})}
        async with client.request(method, path + below, headers=headers, **given) as response:
            return response.status, await response.read()

    return send


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_stranger_is_told_the_same_as_where_nothing_is_and_changes_nothing(
    sql: Connection,
    client: Client,
    user: dict[str, str],
    auth: AuthService,
    model: ModelServer,
    conversation: str,
    ask: Ask,
    is_running: bool,
) -> None:
    sent = await client.post(
        f"{conversation}/messages", json={"content": "secret"}, headers={**user, "Idempotency-Key": "k"}
    )
    call = await model.call()
    call.say("hush")
    (_, token) = await read_events(sent, 2)
    if not is_running:
        call.finish()
        await read_events(sent)
    await until(lambda: sql.fetchval("select max(next_seq) = 2 from journal"))
    before = await dump(sql)
    stranger = auth.sign_in()
    nothing = f"/api/conversations/{uuid4()}"
    for request in REQUESTS:
        theirs = await ask(request, stranger, conversation, token.id)
        nobodys = await ask(request, stranger, nothing, token.id)
        assert theirs == nobodys, request
        assert theirs[0] == 404, request
        assert orjson.loads(theirs[1])["code"] == "conversation_not_found"
    assert await dump(sql) == before
    assert len(model.requests) == 1
    assert not call.closed.is_set()
    if is_running:
        call.finish(" hush")
        assert [event.data.get("token") for event in await read_events(sent)] == [" hush", None]


async def test_every_address_with_an_id_is_asked_here(client: Client) -> None:
    assert client.app is not None
    found = {
        (route.method, route.resource.canonical.partition("{id}")[2])
        for route in client.app.router.routes()
        if route.resource is not None and "{id}" in route.resource.canonical
    }
    asked = {(method, below) for method, below, _ in REQUESTS}
    assert {pair for pair in found if pair[0] not in ("HEAD", "OPTIONS")} == asked


async def test_lists_hold_ones_own_conversations_only(
    client: Client, user: dict[str, str], auth: AuthService, conversation: str
) -> None:
    stranger = auth.sign_in()
    mine = await (await client.post("/api/conversations", headers=stranger)).json()
    for headers, own in ((user, conversation.rpartition("/")[2]), (stranger, mine["id"])):
        for params in ({}, {"limit": "1"}, {"offset": "0"}):
            body = await (await client.get("/api/conversations", headers=headers, params=params)).json()
            assert [item["id"] for item in body["items"]] == [own]
            assert body["next_cursor"] is None


async def test_another_users_cursor_shows_ones_own_list_only(
    client: Client, user: dict[str, str], auth: AuthService
) -> None:
    for _ in range(2):
        await client.post("/api/conversations", headers=user)
    page = await (await client.get("/api/conversations", headers=user, params={"limit": "1"})).json()
    assert page["next_cursor"] is not None
    stranger = auth.sign_in()
    params = {"cursor": page["next_cursor"]}
    body = await (await client.get("/api/conversations", headers=stranger, params=params)).json()
    assert (body["items"], body["grouped"], body["next_cursor"]) == ([], {}, None)


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer unknown"}])
async def test_without_a_valid_token_nothing_is_told_or_changed(
    sql: Connection, conversation: str, ask: Ask, headers: dict[str, str]
) -> None:
    before = await dump(sql)
    for request in REQUESTS:
        status, _ = await ask(request, headers, conversation)
        assert status == 401, request
    assert await dump(sql) == before


@pytest.mark.parametrize("status", ["running", "completed"])
async def test_a_stream_is_not_attached_by_another_users_event_id(
    client: Client,
    user: dict[str, str],
    auth: AuthService,
    model: ModelServer,
    conversation: str,
    status: str,
) -> None:
    sent = await client.post(f"{conversation}/messages", json={"content": "secret"}, headers=user)
    call = await model.call()
    call.say("hush")
    (start, _) = await read_events(sent, 2)
    if status == "completed":
        call.finish()
        await read_events(sent)
    stranger = auth.sign_in()
    mine = await (await client.post("/api/conversations", headers=stranger)).json()
    attached = await client.get(
        f"/api/conversations/{mine['id']}/stream", headers={**stranger, "Last-Event-ID": start.id}
    )
    assert (attached.status, await attached.read()) == (204, b"")
