"""Nobody sees or touches another user's data, or learns that it exists (docs/design.md section 6)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import orjson
import pytest

from chat_api.bodies import MessageCreate
from chat_api.postgres.queries import load_queries
from chat_api.transports.websocket.commands import KINDS
from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.model_server import Call, ModelServer
from tests.support.queries import Chat, Connection, dump, one, run
from tests.support.reader import read_events
from tests.support.tab import open_tab


async def a_life(sql: Connection) -> tuple[Chat, UUID, list[UUID]]:
    """A conversation with finished generations (key `k`) and a running one.

    Returns the running one, and messages: one on the active path, one off it, one that waits for its turn
    (key `q`), and one that isn't there.
    """
    chat = await Chat().open(sql, "private")
    await chat.finish(
        sql, await chat.begin(sql, idempotency_key="k"), content="secret", finish_reason="length"
    )
    await chat.finish(sql, await chat.begin(sql, kind="regenerate"), content="secret", finish_reason="length")
    running = await chat.begin(sql, idempotency_key="l", content="whisper")
    await chat.speak(sql, (running, 0, [{}, {"token": "hush"}]))
    active, inactive = [
        await sql.fetchval(f"select id from {table} where role = 'assistant'")
        for table in ("messages", "inactive_messages")
    ]
    waiting = await chat.queue(sql, "secret wish", idempotency_key="q")
    assert waiting is not None
    return chat, running, [active, inactive, UUID(orjson.loads(waiting["queued"])["id"]), uuid4()]


# Every query with a user as parameter. The others need an id that one of these has returned.
QUERIES = sorted(name for name, query in load_queries().items() if "user_id" in query.parameters)
# These write the caller's own, or (usage.of_user) have a row for everybody: tests/http/test_usage.py.
OWN = (
    "budgets.put",
    "conversations.create",
    "tickets.put",
    "usage.add_title",
    "usage.of_user",
    "users.bring_back",
)


def somebody_elses(name: str, chat: Chat, generation_id: UUID, messages: list[UUID]) -> list[dict[str, Any]]:
    """Parameters with the stranger's id, but otherwise such that the owner would get a result."""
    user_id = uuid4()
    common: dict[str, Any]
    the_conversation = {"conversation_id": chat.id, "user_id": user_id}
    match name:
        case "conversations.page":
            return [
                {"user_id": user_id, "before_updated_at": None, "before_id": None, "max_rows": 9, "skip": 0}
            ]
        case "conversations.delete":
            return [{"id": chat.id, "user_id": user_id}]
        case "conversations.get":
            common = {"id": chat.id, "user_id": user_id, "before_id": None, "max_bytes": 9}
            return [{**common, "max_rows": rows} for rows in (None, 9)]
        case "messages.piece":
            return [{**the_conversation, "after_position": -9, "end_position": 1 << 40, "max_bytes": 9}]
        case "conversations.update":
            common = {
                "id": chat.id,
                "user_id": user_id,
                "title": "stolen",
                "is_favorited": True,
                "model_tag": "stolen",
                "instructions": "steal",
                "options": '{"top_k": 1}',
            }
            return [
                {**common, "version": version, "active_message_id": message_id}
                for version in (None, 0)
                for message_id in (None, *messages)
            ]
        case "conversations.fork":
            return [
                {"id": chat.id, "user_id": user_id, "message_id": message_id, "max_conversations": 9}
                for message_id in messages
            ]
        case "messages.delete":
            return [{**the_conversation, "message_id": message_id} for message_id in messages]
        case "generations.attach":
            return [{**the_conversation, "generation_id": asked} for asked in (None, generation_id)]
        case "generations.stop":
            return [{**the_conversation, "generation_id": asked} for asked in (None, generation_id)]
        case "generations.start":
            common = {
                **the_conversation,
                "title": "stolen",
                "worker_id": chat.worker_id,
                "options": '{"thinking_mode": true}',
                "max_messages": 50,
                "max_characters": 6000,
                "max_running": 9,
                "models": None,
                "with_reasoning": ["default"],
                "prices": None,
                "instruction_bytes": None,
                "max_tokens": 9,
                "limits": '[{"name": "sends_per_user", "subject": "x", "every": "1 s", "period": "9 s"}]',
            }
            nowhere: dict[str, Any] = {"parent_id": None, "is_root": False, "answer_id": None}
            nowhere |= {"queued_id": None, "waits_its_turn": False}
            return [
                {
                    **common,
                    "kind": kind,
                    "content": content,
                    "results": results,
                    "idempotency_key": key,
                    **place,
                }
                for kind, content, results, named in (
                    ("send", "hello", None, "parent_id"),
                    ("regenerate", None, None, "answer_id"),
                    ("continue", None, None, "answer_id"),
                    ("results", None, '[{"tool_call_id": "c1", "content": "x"}]', None),
                )
                for place in (
                    nowhere,
                    *([{**nowhere, "is_root": True}] if kind == "send" else []),
                    *([{**nowhere, "queued_id": messages[2]}] if kind == "send" else []),
                    *([{**nowhere, "waits_its_turn": True}] if kind == "send" else []),
                    *([{**nowhere, named: message_id} for message_id in messages] if named else []),
                )
                for key in (None, "k", "l")
            ]
        case "queue.add":
            common = {
                **the_conversation,
                "content": "hello",
                "request": "{}",
                "max_waiting": 9,
                "limits": None,
            }
            return [{**common, "idempotency_key": key} for key in (None, "k", "q")]
        case "queue.clear":
            return [the_conversation]
        case "responses.get":
            return [{**the_conversation, "generation_id": generation_id}]
        case "responses.open":
            common = {"title": "stolen", "model_tag": "default", "metadata": "{}", "max_conversations": 9}
            return [{"id": chat.id, "user_id": user_id, **common}]
        case "responses.conversation":
            return [{**the_conversation, "metadata": each} for each in (None, '{"stolen": "yes"}')]
        case "responses.add":
            brought = '[{"role": "user", "content": "hello"}]'
            return [{**the_conversation, "messages": brought, "only_first": each} for each in (True, False)]
        case "responses.items":
            return [
                {**the_conversation, "after_id": after, "newest_first": newest_first, "max_rows": 9}
                for after in (None, messages[0])
                for newest_first in (True, False)
            ]
        case "responses.message":
            return [
                {**the_conversation, "message_id": message_id} for message_id in (*messages, generation_id)
            ]
        case "users.count":
            return [{"user_id": user_id, "before_updated_at": None, "before_id": None, "max_rows": 9}]
        case "users.stop_answers":
            return [{"user_id": user_id}]
        case "users.export":
            return [{"user_id": user_id, "conversation_id": each} for each in (None, chat.id)]
        case "users.delete":
            return [{"user_id": user_id, "max_rows": 9}]
        case "keys.forget":
            return [{"user_id": user_id}]
        case "usage.forget":
            return [{"user_id": user_id, "max_rows": 9}]
    raise AssertionError(f"{name} takes a user's id: say here how a stranger would call it")


@pytest.mark.parametrize("name", [name for name in QUERIES if name not in OWN])
async def test_a_stranger_gets_no_row_and_changes_none(sql: Connection, name: str) -> None:
    chat, generation_id, messages = await a_life(sql)
    before = await dump(sql)
    for parameters in somebody_elses(name, chat, generation_id, messages):
        found = await run(sql, name, **parameters)
        assert not any(value for row in found for value in row)  # no row, or a count of none
    assert await dump(sql) == before


async def test_a_generation_is_not_found_through_a_conversation_of_ones_own(sql: Connection) -> None:
    _, running, _ = await a_life(sql)
    mine = await Chat().open(sql)
    row = await one(
        sql, "generations.attach", conversation_id=mine.id, user_id=mine.user_id, generation_id=running
    )
    assert row is not None
    assert tuple(row) == (mine.id, 0, None, None)
    before = await dump(sql)
    row = await mine.start(sql, kind="regenerate", idempotency_key="l")
    assert row is not None
    assert (row["outcome"], row["generation_id"], row["history"]) == ("nothing", None, None)
    assert await dump(sql) == before


async def test_a_message_is_not_found_through_a_conversation_of_ones_own(sql: Connection) -> None:
    _, _, messages = await a_life(sql)
    mine = await Chat().open(sql)
    before = await dump(sql)
    for message_id in messages:
        for changes in (
            {"parent_id": message_id},
            {"kind": "regenerate", "answer_id": message_id},
            {"kind": "continue", "content": None, "answer_id": message_id},
        ):
            row = await mine.start(sql, **changes)
            assert row is not None
            assert (row["outcome"], row["history"], row["begun"]) == ("no_message", None, None), changes
        common = {"user_id": mine.user_id, "message_id": message_id}
        row = await one(sql, "conversations.fork", id=mine.id, max_conversations=9, **common)
        assert row is not None
        assert (row["outcome"], row["conversation"]) == ("no_message", None)
        row = await one(sql, "messages.delete", conversation_id=mine.id, **common)
        assert row is not None
        assert row["outcome"] == "no_message"
    assert await dump(sql) == before


Request = tuple[str, str, dict[str, Any]]

# Every path with an id in it, with every body and header that has an effect; `<message>` is the owner's.
REQUESTS: list[Request] = [
    ("GET", "", {}),
    ("GET", "", {"params": {"limit": "1", "before": "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"}}),
    ("PUT", "", {"json": {"title": "stolen", "is_favorited": True}}),
    ("PUT", "", {"json": {"title": "stolen"}, "headers": {"If-Match": '"0"'}}),
    ("PUT", "", {"json": {"title": "stolen"}, "headers": {"If-Match": '"9"'}}),
    ("PUT", "", {"json": {"active_message_id": "<message>"}}),
    ("PUT", "", {"json": {"model_tag": "stolen", "instructions": "steal", "options": {"top_k": 1}}}),
    ("DELETE", "", {}),
    ("POST", "/messages", {"json": {"content": "hello"}}),
    ("POST", "/messages", {"json": {"content": "hello", "stream": False}}),
    ("POST", "/messages", {"json": {"content": "hello"}, "headers": {"Idempotency-Key": "k"}}),
    ("POST", "/regenerate", {}),
    ("POST", "/messages", {"json": {"content": "hello", "parent_id": "<message>"}}),
    ("POST", "/messages", {"json": {"content": "hello", "parent_id": None}}),
    ("DELETE", "/messages/{message_id}", {}),
    ("POST", "/fork", {"json": {"message_id": "<message>"}}),
    ("POST", "/regenerate", {"headers": {"Idempotency-Key": "k"}}),
    ("POST", "/regenerate", {"json": {"message_id": "<message>"}}),
    ("POST", "/continue", {}),
    ("POST", "/continue", {"headers": {"Idempotency-Key": "k"}}),
    ("POST", "/continue", {"json": {"message_id": "<message>"}}),
    ("POST", "/tool_results", {"json": {"results": [{"tool_call_id": "c1", "content": "x"}]}}),
    (
        "POST",
        "/tool_results",
        {
            "json": {"results": [{"tool_call_id": "c1", "content": "x"}]},
            "headers": {"Idempotency-Key": "k"},
        },
    ),
    ("GET", "/stream", {}),
    ("GET", "/stream", {"headers": {"Last-Event-ID": "<event>"}}),
    ("GET", "/stream", {"params": {"after": "<event>"}}),
    ("GET", "/stream", {"params": {"ticket": "sct_0000000000000000000000000000000000000000"}}),
    ("POST", "/stop", {}),
    ("POST", "/stop", {"json": {"queue": "clear"}}),
]

Ask = Callable[..., Awaitable[tuple[int, bytes]]]


@pytest.fixture
def ask(client: Client) -> Ask:
    """Send one of REQUESTS as a user to a conversation, and return the status and the body."""

    async def send(
        request: Request, user: dict[str, str], path: str, event: str = "", message: str = str(UUID(int=1))
    ) -> tuple[int, bytes]:
        text = orjson.dumps(request).replace(b"<event>", event.encode())
        for named in (b"<message>", b"{message_id}"):
            text = text.replace(named, message.encode())
        method, below, given = orjson.loads(text)
        headers = {**user, **given.pop("headers", {})}
        async with client.request(method, path + below, headers=headers, **given) as response:
            return response.status, await response.read()

    return send


Secret = tuple[aiohttp.ClientResponse, Call, str, str]


@pytest.fixture
async def secret(
    sql: Connection,
    client: Client,
    user: dict[str, str],
    model: ModelServer,
    conversation: str,
    is_running: bool,
) -> Secret:
    """The owner's answer, with the key `k`: its stream, the model's call, the ids of its token event and of
    its question.
    """
    sent = await client.post(
        f"{conversation}/messages", json={"content": "secret"}, headers={**user, "Idempotency-Key": "k"}
    )
    call = await model.call()
    call.say("hush")
    (begun, token) = await read_events(sent, 2)
    if not is_running:
        call.finish()
        await read_events(sent)
    await until(lambda: sql.fetchval("select max(next_seq) = 2 from journal"))
    return sent, call, token.id, begun.data["user_message_id"]


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_stranger_is_told_the_same_as_where_nothing_is_and_changes_nothing(
    sql: Connection,
    auth: AuthService,
    model: ModelServer,
    conversation: str,
    ask: Ask,
    secret: Secret,
    is_running: bool,
) -> None:
    sent, call, event, message = secret
    before = await dump(sql)
    stranger = auth.sign_in()
    nothing = f"/api/conversations/{uuid4()}"
    for request in REQUESTS:
        theirs = await ask(request, stranger, conversation, event, message)
        nobodys = await ask(request, stranger, nothing, event, message)
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


async def test_every_way_to_name_something_is_tried_here(client: Client) -> None:
    """Every parameter in the API's description other than the path's, so that no new one is forgotten."""
    async with client.get("/api/openapi.json") as response:
        description = await response.json()
    named = {
        (method.upper(), path.partition("{id}")[2], parameter["in"], parameter["name"])
        for path, operations in description["paths"].items()
        for method, operation in operations.items()
        if isinstance(operation, dict)
        for parameter in operation.get("parameters", [])
        if "{id}" in path and parameter["in"] != "path" and parameter["name"] != "X-Trace-Id"
    }
    places = {"headers": "header", "params": "query"}
    tried = {
        (method, below, places[place], name)
        for method, below, given in REQUESTS
        for place in given.keys() & places.keys()
        for name in given[place]
    }
    assert named - tried == set()


async def test_what_wants_a_token_and_takes_no_id_is_known_to_show_ones_own(client: Client) -> None:
    """A new route that takes an id outside its path must be added to REQUESTS in some form."""
    assert client.app is not None
    wanting = set()
    for route in client.app.router.routes():
        path = "" if route.resource is None else route.resource.canonical
        if path and "{" not in path and route.method not in ("HEAD", "OPTIONS", "*"):
            async with client.request(route.method, path) as response:
                if response.status == 401:
                    wanting.add((route.method, path))
    assert wanting == {
        ("GET", "/api/conversations"),
        ("POST", "/api/conversations"),
        ("GET", "/api/models"),
        ("POST", "/api/models/swap"),
        ("POST", "/api/tickets"),  # tests/access/test_tickets.py
        ("GET", "/api/usage"),
        ("POST", "/v1/responses"),  # this and all below /v1: tests/responses/test_isolation.py
        ("POST", "/v1/conversations"),
        ("GET", "/v1/models"),
        ("GET", "/api/admin/users"),  # for administrators alone: tests/http/test_admin.py
    }


Command = dict[str, Any]

# Every command, with every field that has an effect; `<event>` and `<message>` are the owner's.
COMMANDS: dict[str, list[Command]] = {
    "send": [
        {"content": "hello"},
        {"content": "hello", "idempotency_key": "k"},
        {"content": "hello", "parent_id": "<message>"},
        {"content": "hello", "parent_id": None},
    ],
    "regenerate": [{}, {"idempotency_key": "k"}, {"message_id": "<message>"}],
    "continue": [{}, {"idempotency_key": "k"}, {"message_id": "<message>"}],
    "tool_results": [
        {"results": [{"tool_call_id": "c1", "content": "x"}]},
        {"results": [{"tool_call_id": "c1", "content": "x"}], "idempotency_key": "k"},
    ],
    "subscribe": [{}, {"after": "<event>"}],
    "unsubscribe": [{}],
    "stop": [{}, {"queue": "clear"}],
}


def test_every_command_is_tried_here() -> None:
    assert set(COMMANDS) == set(KINDS) - {"auth"}
    options = {"type", "ref", "conversation_id", *MessageCreate.model_fields}
    options -= {"content", "parent_id"}
    for kind, tried in COMMANDS.items():
        fields = set(KINDS[kind].model_fields) - options
        assert fields - {name for command in tried for name in command} == set(), kind


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_strangers_socket_is_told_the_same_as_where_nothing_is_and_changes_nothing(
    sql: Connection,
    client: Client,
    auth: AuthService,
    model: ModelServer,
    conversation: str,
    secret: Secret,
    is_running: bool,
) -> None:
    sent, call, event, message = secret
    before = await dump(sql)
    async with open_tab(client, auth.sign_in()) as tab:
        for kind, tried in COMMANDS.items():
            for command in tried:
                known = {"<event>": event, "<message>": message}
                fields = {name: known.get(str(value), value) for name, value in command.items()}
                theirs = await tab.ask(kind, conversation, **fields)
                assert theirs == await tab.ask(kind, f"/{uuid4()}", **fields), (kind, fields)
                if kind != "unsubscribe":  # which needs no request
                    assert theirs["code"] == "conversation_not_found"
        if is_running:
            call.finish(" hush")
            await read_events(sent)
            before = await dump(sql)
        # The stranger's socket got nothing of what was said meanwhile.
        assert (await tab.ask("unsubscribe", conversation, ref="last"))["ref"] == "last"
    assert await dump(sql) == before
    assert len(model.requests) == 1


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
