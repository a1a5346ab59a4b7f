"""A conversation's messages by pages, and one that is too long for a single piece."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.bodies import OpenConversation
from chat_api.routes.history import PIECE_BYTES
from tests.conftest import Client
from tests.support.auth_service import AuthService

Headers = dict[str, str]
Sql: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Fill = Callable[..., Any]


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def user(auth: AuthService, user_id: UUID) -> Headers:
    return auth.sign_in(user_id)


@pytest.fixture
def fill(sql: Sql, user_id: UUID) -> Fill:
    """Store a conversation of so many messages, numbered from 0, each with so many bytes of text beside."""

    async def filled(count: int, size: int = 0) -> str:
        conversation_id = await sql.fetchval(
            "insert into conversations (user_id) values ($1) returning id", user_id
        )
        await sql.execute(
            "insert into messages (conversation_id, role, content)"
            " select $1, case mod(n, 2) when 0 then 'user' else 'assistant' end, n || ' ' || repeat('é', $3)"
            " from generate_series(0, $2 - 1) as n",
            conversation_id,
            count,
            size // 2,
        )
        return f"/api/conversations/{conversation_id}"

    return filled


def numbers(body: dict[str, Any]) -> list[int]:
    return [int(message["content"].partition(" ")[0]) for message in body["messages"]]


async def read(client: Client, path: str, user: Headers, **params: Any) -> dict[str, Any]:
    async with client.get(path, headers=user, params=params) as response:
        assert response.status == 200, await response.text()
        body: dict[str, Any] = await response.json()
    OpenConversation.model_validate(body)
    return body


@pytest.mark.parametrize(("count", "size"), [(1001, 0), (10, 100_000), (3, PIECE_BYTES), (500, 0), (0, 0)])
async def test_without_a_limit_every_message_comes_once_and_in_order(
    client: Client, user: Headers, fill: Fill, count: int, size: int
) -> None:
    body = await read(client, await fill(count, size), user)
    assert numbers(body) == list(range(count))
    assert all(message["content"].endswith("é" * (size // 2)) for message in body["messages"])
    assert list(body)[-5:] == ["messages", "has_more", "generation", "queued", "unanswered"]
    assert body["has_more"] is False


async def test_pages_lead_from_the_newest_message_to_the_first(
    client: Client, user: Headers, fill: Fill
) -> None:
    path = await fill(25)
    seen: list[int] = []
    params: dict[str, Any] = {"limit": 10}
    while True:
        body = await read(client, path, user, **params)
        seen = numbers(body) + seen
        assert body["has_more"] is (len(seen) < 25)
        if not body["has_more"]:
            break
        params["before"] = body["messages"][0]["id"]
    assert seen == list(range(25))
    assert numbers(await read(client, path, user, before=params["before"])) == list(range(5))
    first = (await read(client, path, user))["messages"][0]["id"]
    assert (await read(client, path, user, before=first, limit=1))["messages"] == []
    exact = await read(client, path, user, limit=25)
    assert (numbers(exact), exact["has_more"]) == (list(range(25)), False)


async def test_a_large_page_comes_in_pieces_too(client: Client, user: Headers, fill: Fill) -> None:
    body = await read(client, await fill(20, PIECE_BYTES // 2), user, limit=15)
    assert (numbers(body), body["has_more"]) == (list(range(5, 20)), True)


@pytest.mark.parametrize(
    "params", [{"limit": 0}, {"limit": 1001}, {"limit": "x"}, {"before": "x"}, {"before": str(uuid4())}]
)
async def test_a_page_that_cannot_be_is_refused(
    client: Client, user: Headers, fill: Fill, params: dict[str, Any]
) -> None:
    async with client.get(await fill(3), headers=user, params=params) as response:
        assert response.status == 422
        assert (await response.json())["detail"][0]["loc"] == ["query", *params]


async def test_a_message_of_another_conversation_is_no_place(
    client: Client, user: Headers, fill: Fill
) -> None:
    other = (await read(client, await fill(3), user))["messages"][1]["id"]
    async with client.get(await fill(3), headers=user, params={"before": other}) as response:
        assert response.status == 422


async def test_a_deletion_between_two_pieces_ends_the_list_in_order(
    client: Client, user: Headers, fill: Fill, sql: Sql
) -> None:
    """The client reads slowly, so that the service waits with the next pieces."""
    path = await fill(200, PIECE_BYTES // 4)
    async with client.get(path, headers=user) as response:
        await response.content.readexactly(1)
        await sql.execute("delete from conversations")
        rest = await response.read()
    assert rest.endswith(b'],"has_more":false,"generation":null,"queued":[],"unanswered":null}')


async def test_a_database_that_goes_away_between_two_pieces_breaks_the_response(
    client: Client, user: Headers, fill: Fill, sql: Sql
) -> None:
    path = await fill(200, PIECE_BYTES // 4)
    async with client.get(path, headers=user) as response:
        await response.content.readexactly(1)
        await sql.execute("alter table messages rename to gone")
        try:
            with pytest.raises(Exception, match=r"payload|reset|closed|complete"):
                await response.read()
        finally:
            await sql.execute("alter table gone rename to messages")


async def test_a_reader_that_waits_keeps_no_connection_to_the_database(
    client: Client, user: Headers, fill: Fill, sql: Sql
) -> None:
    path = await fill(400, PIECE_BYTES // 4)
    responses = [await client.get(path, headers=user) for _ in range(30)]  # more than the pool has
    async with asyncio.timeout(5):
        async with client.get("/api/conversations", headers=user) as listed:
            assert listed.status == 200
    kept = "select count(*) from pg_stat_activity where state ~ 'in transaction' and pid <> pg_backend_pid()"
    assert await sql.fetchval(kept) == 0
    for response in responses:
        response.close()


async def test_head_has_no_body(client: Client, user: Headers, fill: Fill) -> None:
    """A body would be taken for the beginning of the next response on the connection."""
    path = await fill(10, PIECE_BYTES)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    head = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nAuthorization: {user['Authorization']}\r\n\r\n"
    health = "GET /api/health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    writer.write((head + health).encode())
    received = await reader.read()
    writer.close()
    first, _, rest = received.partition(b"\r\n\r\n")
    assert first.startswith(b"HTTP/1.1 200")
    assert rest.startswith(b"HTTP/1.1 200")
