"""A user's conversations: their format, their pages, and that nobody else sees them."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.conftest import Client
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

Headers = dict[str, str]
Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

LISTED = {"id", "user_id", "title", "model_tag", "is_favorited", "created_at", "updated_at", "version"}
CONVERSATION = LISTED | {"instructions", "options"}
MESSAGE = {
    "id", "conversation_id", "role", "content", "token_count", "model_tag", "inference_time_ms", "created_at",
    "finish_reason", "reasoning", "tool_calls", "tool_call_id", "usage", "parent_id", "siblings",
}  # fmt: skip
LIST = "/api/conversations"


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def user(auth: AuthService, user_id: UUID) -> Headers:
    return auth.sign_in(user_id)


def listed(conversation: dict[str, Any]) -> dict[str, Any]:
    """A conversation as the list has it."""
    return {name: conversation[name] for name in LISTED}


def cursor(*parts: object) -> str:
    """A forged cursor."""
    return base64.urlsafe_b64encode(" ".join(map(str, parts)).encode()).decode()


async def add(sql: Sql, user_id: UUID, *times: datetime) -> list[str]:
    """Store conversations last touched at these times, and return their ids."""
    rows = await sql.fetch(
        "insert into conversations (user_id, created_at, updated_at) select $1, t, t"
        " from unnest($2::timestamptz[]) t returning id",
        user_id,
        times,
    )
    return [str(row["id"]) for row in rows]


async def get(client: Client, path: str, headers: Headers, **params: Any) -> Any:
    response = await client.get(path, headers=headers, params=params)
    assert response.status == 200, await response.text()
    return await response.json()


async def walk(client: Client, headers: Headers, limit: int) -> list[list[str]]:
    """Follow the cursors through all pages, and return the ids on each."""
    pages, cursor = [], {}
    while True:
        page = await get(client, LIST, headers, limit=limit, **cursor)
        pages.append([item["id"] for item in page["items"]])
        if page["next_cursor"] is None:
            return pages
        cursor = {"cursor": page["next_cursor"]}


async def test_a_new_conversation_has_every_field_and_its_defaults(
    client: Client, user: Headers, user_id: UUID
) -> None:
    response = await client.post(LIST, headers=user)
    body = await response.json()

    assert response.status == 201
    assert body.keys() == CONVERSATION
    assert (body["title"], body["model_tag"], body["is_favorited"]) == ("New conversation", "default", False)
    assert body["id"] == str(UUID(body["id"]))
    assert body["user_id"] == str(user_id)
    assert datetime.fromisoformat(body["created_at"]).utcoffset() == timedelta(0)
    assert body["updated_at"] == body["created_at"]
    opened = await get(client, f"{LIST}/{body['id']}", user)
    nothing = {"has_more": False, "generation": None, "queued": [], "unanswered": None}
    assert opened == {**body, "messages": [], **nothing}


@pytest.mark.parametrize(
    "title",
    [
        "a",
        "x" * 500,
        "🦜" * 500,
        "\u202e\u05e9\u05dc\u05d5\u05dd",
        "e\u0301" * 250,
        'quotes " and \\ and \n lines',
        "   ",
    ],
    ids=["shortest", "longest", "emoji", "rtl", "combining", "escapes", "spaces"],
)
async def test_a_title_comes_back_as_it_was_given(client: Client, user: Headers, title: str) -> None:
    response = await client.post(LIST, headers=user, json={"title": title, "model_tag": "m" * 100, "huh": 1})
    assert response.status == 201
    body = await response.json()
    assert (body["title"], body["model_tag"]) == (title, "m" * 100)
    page = await get(client, LIST, user)
    assert page["items"] == [listed(body)]

    response = await client.put(f"{LIST}/{body['id']}", headers=user, json={"title": title[::-1]})
    assert (await response.json())["title"] == title[::-1]


@pytest.mark.parametrize(
    ("method", "body", "loc"),
    [
        ("POST", {"title": "x" * 501}, ["body", "title"]),
        ("POST", {"title": 5}, ["body", "title"]),
        ("POST", {"title": "a\0b"}, ["body", "title"]),
        ("POST", {"model_tag": "m" * 101}, ["body", "model_tag"]),
        ("POST", {"model_tag": "\0"}, ["body", "model_tag"]),
        ("POST", [], ["body"]),
        ("POST", "title", ["body"]),
        ("PUT", {}, ["body"]),
        ("PUT", {"title": None, "is_favorited": None}, ["body"]),
        ("PUT", {"unknown": 1}, ["body"]),
        ("PUT", {"title": ""}, ["body", "title"]),
        ("PUT", {"title": "x" * 501}, ["body", "title"]),
        ("PUT", {"is_favorited": "perhaps"}, ["body", "is_favorited"]),
        ("PUT", {"model_tag": "m" * 101}, ["body", "model_tag"]),
        ("PUT", {"active_message_id": "the last one"}, ["body", "active_message_id"]),
        ("PUT", {"instructions": "x" * 8001}, ["body", "instructions"]),
        ("PUT", {"instructions": "\0"}, ["body", "instructions"]),
        ("PUT", {"options": "none"}, ["body", "options"]),
        ("PUT", {"options": {"temperature": 3}}, ["body", "options", "temperature"]),
        ("PUT", {"options": {"max_tokens": 4097}}, ["body", "options", "max_tokens"]),  # of nanochat
    ],
)
async def test_a_field_that_is_not_valid_is_named(
    client: Client, user: Headers, conversation: str, method: str, body: object, loc: list[str]
) -> None:
    path = conversation if method == "PUT" else LIST
    response = await client.request(method, path, headers=user, json=body)
    answer = await response.json()
    assert response.status == 422
    assert answer["code"] == "validation_failed"
    assert [problem["loc"] for problem in answer["detail"]] == [loc]
    assert all(problem.keys() == {"type", "loc", "msg"} for problem in answer["detail"])


async def test_nulls_of_an_older_service_read_as_defaults(client: Client, user: Headers, sql: Sql) -> None:
    made = await (await client.post(LIST, headers=user)).json()
    await sql.execute("update conversations set title = null, model_tag = null")
    await sql.execute(
        "insert into messages (conversation_id, role, content) values ($1, 'user', 'hi')", made["id"]
    )
    assert (await get(client, LIST, user))["items"] == [listed(made)]
    opened = await get(client, f"{LIST}/{made['id']}", user)
    message = opened.pop("messages")[0]
    assert opened == {**made, "has_more": False, "generation": None, "queued": [], "unanswered": None}
    assert message.keys() == MESSAGE
    assert (message["token_count"], message["inference_time_ms"], message["model_tag"]) == (0, 0, "")
    assert message["finish_reason"] is None
    starred = await client.put(f"{LIST}/{made['id']}", headers=user, json={"is_favorited": True})
    assert await starred.json() == {**made, "is_favorited": True, "version": 1}


async def test_messages_come_in_the_order_in_which_they_were_stored(
    client: Client, user: Headers, conversation: str, sql: Sql
) -> None:
    now = datetime.now(UTC)
    for minutes, role, content in [
        (3, "assistant", "b"),
        (5, "system", "s"),
        (4, "user", "a"),
        (3, "user", "c"),
    ]:
        await sql.execute(
            "insert into messages (conversation_id, role, content, created_at) values ($1, $2, $3, $4)",
            conversation.rpartition("/")[2], role, content, now - timedelta(minutes=minutes),
        )  # fmt: skip
    messages = (await get(client, conversation, user))["messages"]
    assert [message["content"] for message in messages] == ["b", "s", "a", "c"]
    assert [message["finish_reason"] for message in messages] == ["stop", None, None, None]


async def test_a_conversation_tells_of_the_answer_being_written(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    async with client.post(f"{conversation}/messages", headers=user, json={"content": "hi"}) as response:
        call = await model.call()
        call.say("one")
        start, token = await read_events(response, 2)
        generation = (await get(client, conversation, user))["generation"]
        assert generation.keys() == {
            "id", "conversation_id", "user_message_id", "status", "started_at", "last_event_id"
        }  # fmt: skip
        assert generation["status"] == "running"
        assert generation["last_event_id"] == token.id
        assert start.data.pop("history") == {"sent": 1, "left_out": 0}
        assert {"generation_id": generation["id"], **generation}.items() >= start.data.items()
        assert datetime.fromisoformat(generation["started_at"]).utcoffset() == timedelta(0)
        call.finish()
        await read_events(response)
    assert (await get(client, conversation, user))["generation"] is None


async def test_the_list_is_newest_first_and_grouped_by_utc_date(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    await sql.execute("set timezone = 'Asia/Kolkata'")
    midnight = datetime(2025, 3, 1, tzinfo=UTC)
    times = [midnight + timedelta(seconds=s) for s in (-86_400, -1, 0, 1)]
    old, before, on, after = await add(sql, user_id, *times)
    page = await get(client, LIST, user)

    assert page.keys() == {"items", "grouped", "limit", "offset", "next_cursor"}
    assert [item["id"] for item in page["items"]] == [after, on, before, old]
    assert (page["limit"], page["offset"], page["next_cursor"]) == (50, 0, None)
    assert list(page["grouped"]) == ["2025-03-01", "2025-02-28"]
    assert [item for group in page["grouped"].values() for item in group] == page["items"]
    assert [item["id"] for item in page["grouped"]["2025-02-28"]] == [before, old]


async def test_a_user_without_conversations_gets_an_empty_page(client: Client, user: Headers) -> None:
    assert await get(client, LIST, user) == {
        "items": [], "grouped": {}, "limit": 50, "offset": 0, "next_cursor": None
    }  # fmt: skip


async def test_pages_by_offset_and_by_cursor_show_the_same(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    ids = (await add(sql, user_id, *(start + timedelta(seconds=n) for n in range(205))))[::-1]
    assert await walk(client, user, 200) == [ids[:200], ids[200:]]
    for limit, offset in [(1, 0), (200, 0), (10, 200), (5, 205)]:
        page = await get(client, LIST, user, limit=limit, offset=offset)
        assert [item["id"] for item in page["items"]] == ids[offset : offset + limit]
        assert (page["limit"], page["offset"]) == (limit, offset)
        assert (page["next_cursor"] is None) == (offset + limit >= 205)
    assert len((await get(client, LIST, user))["items"]) == 50


async def test_a_full_last_page_promises_no_further_one(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    ids = await add(sql, user_id, *(datetime(2025, 1, day, tzinfo=UTC) for day in (4, 3, 2, 1)))
    assert await walk(client, user, 2) == [ids[:2], ids[2:]]


async def test_equal_times_neither_hide_nor_double_a_conversation(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    moment = datetime(2025, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    ids = await add(sql, user_id, *[moment] * 7)
    pages = await walk(client, user, 2)
    assert [name for page in pages for name in page] == sorted(ids, reverse=True)


async def test_paging_by_cursor_is_steady_while_others_write(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    ids = (await add(sql, user_id, *(datetime(2025, 1, day, tzinfo=UTC) for day in range(1, 10))))[::-1]
    seen, cursor = [], {}
    while True:
        page = await get(client, LIST, user, limit=2, **cursor)
        seen += [item["id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
        await client.post(LIST, headers=user)  # a new one, above every page
        await client.put(f"{LIST}/{ids[0]}", headers=user, json={"title": "moves up"})
    assert seen == ids


@pytest.mark.parametrize(
    ("query", "loc"),
    [
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "-1"}, "limit"),
        ({"limit": "ten"}, "limit"),
        ({"limit": ""}, "limit"),
        ({"limit": "9" * 5000}, "limit"),
        ({"offset": "-1"}, "offset"),
        ({"offset": "1e400"}, "offset"),
        ({"offset": "99999999999999999999"}, "offset"),
        ({"cursor": "nonsense"}, "cursor"),
        ({"cursor": "é🦜"}, "cursor"),
        ({"cursor": "\0"}, "cursor"),
        ({"cursor": "x" * 201}, "cursor"),
        ({"cursor": cursor("2025-01-01", "")}, "cursor"),
        ({"cursor": cursor("9999-12-31T23:59:59-23:59", uuid4())}, "cursor"),  # beyond the last date
    ],
)
async def test_a_place_in_the_list_that_is_none_is_refused(
    client: Client, user: Headers, query: Headers, loc: str
) -> None:
    response = await client.get(LIST, headers=user, params=query)
    assert response.status == 422, await response.text()
    assert [problem["loc"] for problem in (await response.json())["detail"]] == [["query", loc]]


async def test_a_cursor_excludes_an_offset(client: Client, user: Headers, user_id: UUID, sql: Sql) -> None:
    await add(sql, user_id, *(datetime(2025, 1, day, tzinfo=UTC) for day in (2, 1)))
    cursor = (await get(client, LIST, user, limit=1))["next_cursor"]
    response = await client.get(LIST, headers=user, params={"cursor": cursor, "offset": "1"})
    assert response.status == 422


async def test_neither_a_star_nor_a_new_title_moves_a_conversation(
    client: Client, user: Headers, user_id: UUID, sql: Sql
) -> None:
    newer, older = await add(sql, user_id, *(datetime(2025, 1, day, tzinfo=UTC) for day in (2, 1)))
    response = await client.put(f"{LIST}/{older}", headers=user, json={"is_favorited": True})
    assert response.status == 200
    body = await response.json()
    assert body.keys() == CONVERSATION
    assert body["is_favorited"] is True
    assert await walk(client, user, 50) == [[newer, older]]

    response = await client.put(f"{LIST}/{older}", headers=user, json={"title": "A", "is_favorited": False})
    assert {"title": "A", "is_favorited": False}.items() <= (await response.json()).items()
    assert await walk(client, user, 50) == [[newer, older]]


async def test_deleting_takes_the_messages_along_and_stops_the_model(
    client: Client, user: Headers, conversation: str, model: ModelServer, sql: Sql
) -> None:
    async with client.post(f"{conversation}/messages", headers=user, json={"content": "hi"}) as stream:
        call = await model.call()
        call.say("one")
        await read_events(stream, 2)
        response = await client.delete(conversation, headers=user)
        assert response.status == 204
        assert await response.read() == b""
        async with asyncio.timeout(5):
            await call.closed.wait()
        assert (await read_events(stream))[-1].data["message_id"] is None
    assert await sql.fetchval("select count(*) from messages") == 0
    assert await sql.fetchval("select count(*) from generations") == 0
    for again in ("DELETE", "GET"):
        assert (await client.request(again, conversation, headers=user)).status == 404


EVERYTHING = [
    ("GET", "", None),
    ("PUT", "", {"title": "mine now"}),
    ("DELETE", "", None),
    ("POST", "/messages", {"content": "hi"}),
    ("POST", "/regenerate", {}),
    ("POST", "/continue", {}),
    ("POST", "/fork", {"message_id": "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"}),
    ("DELETE", "/messages/01a2f3c4-7a8b-7c90-8d1e-2f3041526374", None),
    ("GET", "/stream", None),
    ("POST", "/stop", None),
]


@pytest.mark.parametrize(("method", "below", "body"), EVERYTHING)
async def test_someone_elses_conversation_is_as_one_that_is_not_there(
    client: Client, user: Headers, conversation: str, auth: AuthService, method: str, below: str, body: object
) -> None:
    before = await get(client, conversation, user)
    real = conversation.rpartition("/")[2]
    misplaced = real.replace("-", "")[:31] + "----" + real[-1]  # Python would parse it as the real id
    answers = []
    for name, headers in [
        (real, auth.sign_in()),
        (real, auth.sign_in(is_admin=True)),
        (str(uuid4()), user),
        ("0", user),
        ("%00", user),
        ("%F0%9F%A6%9C", user),
        ("'%20or%20true--", user),
        ("x" * 36, user),
        (misplaced, user),
        (real.replace("-", ""), user),
    ]:
        response = await client.request(method, f"{LIST}/{name}{below}", headers=headers, json=body)
        answers.append((response.status, await response.json()))
    assert answers == [
        (404, {"detail": "There is no such conversation.", "code": "conversation_not_found"})
    ] * len(answers)
    assert await get(client, conversation, user) == before


async def test_an_id_in_capitals_is_the_same_conversation(
    client: Client, user: Headers, conversation: str
) -> None:
    path, _, name = conversation.rpartition("/")
    assert (await get(client, f"{path}/{name.upper()}", user))["id"] == name


async def test_lists_show_each_user_only_what_is_theirs(
    client: Client, user: Headers, conversation: str, auth: AuthService
) -> None:
    other = auth.sign_in()
    theirs = (await (await client.post(LIST, headers=other)).json())["id"]
    assert await walk(client, other, 50) == [[theirs]]
    assert await walk(client, user, 50) == [[conversation.rpartition("/")[2]]]


async def test_a_user_whom_the_shared_database_does_not_know_is_asked_to_sign_in(
    client: Client, user: Headers, sql: Sql
) -> None:
    await sql.execute("create table users (id uuid primary key)")
    await sql.execute(
        "alter table conversations add constraint conversations_user_id_fkey"
        " foreign key (user_id) references users on delete cascade"
    )
    response = await client.post(LIST, headers=user)
    assert response.status == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert (await response.json())["code"] == "unknown_user"
