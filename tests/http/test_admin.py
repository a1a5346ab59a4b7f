"""GET /api/admin/users: the platform's users, where this service may read them."""

from __future__ import annotations

from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.postgres import database
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService

Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PATH = "/api/admin/users"
NOBODY = {"users": 0, "conversations": 0, "messages": 0}
USERS = """
create table users (
    id uuid primary key default gen_random_uuid(),
    email varchar(255) unique not null,
    name varchar(255),
    avatar_url text,
    provider varchar(50) not null default 'google',
    provider_id varchar(255),
    created_at timestamptz default now(),
    updated_at timestamptz default now(),
    last_login_at timestamptz default now()
)
"""


@pytest.fixture
def admin(auth: AuthService) -> dict[str, str]:
    """The headers of an administrator."""
    return auth.sign_in(is_admin=True)


async def listed(client: Client, admin: dict[str, str]) -> dict[str, Any]:
    response = await client.get(PATH, headers=admin)
    assert response.status == 200, await response.text()
    assert response.headers.getall("Cache-Control") == ["no-store"]
    body: dict[str, Any] = await response.json()
    return body


async def refusal(client: Client, headers: dict[str, str]) -> tuple[int, str]:
    response = await client.get(PATH, headers=headers)
    assert response.headers.getall("Cache-Control") == ["no-store"]
    return response.status, (await response.json())["code"]


async def fill(sql: Sql, user_id: UUID, conversations: int, messages: int) -> None:
    """Add conversations to a user, with so many messages each."""
    await sql.execute(
        "with made as ("
        "insert into conversations (user_id) select $1 from generate_series(1, $2) returning id)"
        " insert into messages (conversation_id, role, content)"
        " select made.id, 'user', 'hi' from made, generate_series(1, $3)",
        user_id,
        conversations,
        messages,
    )


async def test_each_user_is_told_with_what_is_stored_of_them(
    client: Client, admin: dict[str, str], sql: Sql
) -> None:
    await sql.execute(USERS)
    one, other, silent = uuid4(), uuid4(), uuid4()
    await sql.executemany(
        "insert into users (id, email, name, created_at, last_login_at)"
        " values ($1, $2, $3, $4, $5::text::timestamptz)",
        [
            (one, "one@chat.example", "Ünö 🥟 \"'\\", None, "2026-01-02 03:04:05.6+01"),
            (other, "other@chat.example", None, None, None),
            (silent, "silent@chat.example", "", None, "2026-02-02 00:00+00"),
        ],
    )
    await sql.execute("update users set created_at = '2025-12-31 23:00+00' where id = $1", one)
    await fill(sql, one, 2, 3)
    # One of them has another version.
    await sql.execute(
        "insert into inactive_messages"
        " select (jsonb_populate_record(null::inactive_messages, to_jsonb(m)"
        " || '{\"parent_position\": 0}')).* from messages as m limit 1"
    )
    await sql.execute("update inactive_messages set id = gen_random_uuid()")
    await fill(sql, other, 1, 0)
    await fill(sql, uuid4(), 1, 1)  # somebody who isn't in the table
    body = await listed(client, admin)
    assert list(body) == ["items", "totals"]
    assert [item["email"].partition("@")[0] for item in body["items"]] == ["silent", "one", "other"]
    assert body["items"][1] == {
        "id": str(one),
        "email": "one@chat.example",
        "name": "Ünö 🥟 \"'\\",
        "provider": "google",
        "created_at": "2025-12-31T23:00:00+00:00",
        "last_login_at": "2026-01-02T02:04:05.6+00:00",
        "conversation_count": 2,
        "message_count": 7,
    }
    assert (body["items"][2]["conversation_count"], body["items"][2]["message_count"]) == (1, 0)
    assert (body["items"][2]["last_login_at"], body["items"][2]["name"]) == (None, None)
    assert (body["items"][0]["conversation_count"], body["items"][0]["message_count"]) == (0, 0)
    assert body["totals"] == {"users": 3, "conversations": 3, "messages": 7}


async def test_nobody_is_a_list_too(client: Client, admin: dict[str, str], sql: Sql) -> None:
    await sql.execute(USERS)
    assert await listed(client, admin) == {"items": [], "totals": NOBODY}


@pytest.mark.parametrize("count", [999, 1000, 1001, 10_000])
async def test_a_long_list_is_whole_and_in_order(
    client: Client, admin: dict[str, str], sql: Sql, count: int
) -> None:
    await sql.execute(USERS)
    # Many share a time, some have none: what comes next is still decided.
    await sql.execute(
        "insert into users (email, last_login_at)"
        " select n || '@chat.example',"
        " case when n % 10 > 0 then timestamptz '2026-01-01' + n % 7 * interval '1 h' end"
        " from generate_series(1, $1::int) as n",
        count,
    )
    await sql.execute("insert into conversations (user_id) select id from users")
    body = await listed(client, admin)
    assert len({item["id"] for item in body["items"]}) == len(body["items"]) == count
    times = [item["last_login_at"] or "" for item in body["items"]]
    assert times == sorted(times, reverse=True)
    assert body["totals"] == {"users": count, "conversations": count, "messages": 0}


async def test_only_administrators_are_told(client: Client, user: dict[str, str], sql: Sql) -> None:
    assert await refusal(client, user) == (403, "forbidden")
    await sql.execute(USERS)
    assert await refusal(client, user) == (403, "forbidden")
    assert await refusal(client, {}) == (401, "unauthorized")


@pytest.mark.parametrize(
    "statement",
    [
        "select",
        "create table users (id bigint primary key, email text)",
        "create table users (email text)",
        "create table users (id uuid); alter table users drop column id",
        "create schema elsewhere; create table elsewhere.users (id uuid)",
    ],
    ids=["none", "of another kind", "without ids", "without ids any more", "elsewhere"],
)
async def test_without_the_platforms_users_it_isnt_supported(
    client: Client, admin: dict[str, str], sql: Sql, statement: str
) -> None:
    await sql.execute(statement)
    assert await refusal(client, admin) == (501, "users_not_readable")


@pytest.mark.parametrize(
    "statement",
    [
        "create table users (id uuid)",
        "create view users as select gen_random_uuid() as id, 1 as email, 'x' as last_login_at where false",
        'create table users (id uuid, "NAME" text, provider text[], created_at date, last_login_at text)',
    ],
)
async def test_what_the_table_does_not_have_is_null(
    client: Client, admin: dict[str, str], sql: Sql, statement: str
) -> None:
    await sql.execute(statement)
    if "view" not in statement:
        await sql.execute("insert into users (id) values (gen_random_uuid())")
        (item,) = (await listed(client, admin))["items"]
        assert {key for key, value in item.items() if value is not None} == {
            "id",
            "conversation_count",
            "message_count",
        }
    else:
        assert await listed(client, admin) == {"items": [], "totals": NOBODY}


async def test_columns_of_other_types_are_read_as_far_as_they_can_be(
    client: Client, admin: dict[str, str], sql: Sql
) -> None:
    await sql.execute(
        "create table users (id uuid, email char(20), name jsonb, created_at date, last_login_at timestamp)"
    )
    await sql.execute(
        "insert into users values (gen_random_uuid(), 'a@b', '{\"a\": 1}', '2026-01-02', '2026-01-03 04:05')"
    )
    (item,) = (await listed(client, admin))["items"]
    assert (item["email"], item["name"], item["provider"]) == ("a@b", '{"a": 1}', None)
    assert item["created_at"] == "2026-01-02T00:00:00+00:00"
    assert item["last_login_at"] == "2026-01-03T04:05:00+00:00"


async def test_while_the_database_is_away_it_says_so(
    start: Start, settings: Settings, admin: dict[str, str]
) -> None:
    away = settings.model_copy(update={"database_url": "postgresql://127.0.0.1:1/none"})
    assert await refusal(await start(away), admin) == (503, "database_unavailable")


async def test_a_list_that_cannot_be_continued_breaks_off(
    client: Client, admin: dict[str, str], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await sql.execute(USERS)
    await sql.execute("insert into users (email) select n || '@x' from generate_series(1, 1500) as n")
    row = database.Database.row

    async def until_dropped(self: database.Database, name: str, **parameters: Any) -> Any:
        if name == "users.page" and parameters["before_id"] is not None:
            await sql.execute("drop table users")
        return await row(self, name, **parameters)

    monkeypatch.setattr(database.Database, "row", until_dropped)
    response = await client.get(PATH, headers=admin)
    assert response.status == 200
    with pytest.raises(Exception, match=r"(?i)payload|disconnected|closed"):
        await response.read()
