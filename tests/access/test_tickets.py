"""A ticket attaches to one stream, once, on whichever worker, and does nothing else."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from chat_api.settings import Settings
from chat_api.upkeep import cleaning
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import until
from tests.support.keys import key_of
from tests.support.model_server import ModelServer
from tests.support.queries import Connection
from tests.support.reader import read_events, text_of

FORGED = "sct_" + "0" * 40


async def ticket_of(client: Client, user: dict[str, str]) -> str:
    async with client.post("/api/tickets", headers=user) as response:
        assert response.status == 201
        assert response.headers["Cache-Control"] == "no-store"
        body = await response.json()
    assert body["seconds"] == 30
    assert re.fullmatch("sct_[0-9a-f]{40}", body["ticket"])
    return str(body["ticket"])


async def attach(client: Client, conversation: str, ticket: str, **given: Any) -> aiohttp.ClientResponse:
    return await client.get(f"{conversation}/stream", params={"ticket": ticket}, **given)


async def refusal(response: aiohttp.ClientResponse) -> tuple[int, str]:
    return response.status, (await response.json())["code"]


async def test_a_ticket_attaches_once(
    client: Client, user: dict[str, str], conversation: str, model: ModelServer, sql: Connection
) -> None:
    sent = await client.post(f"{conversation}/messages", json={"content": "Hi"}, headers=user)
    call = await model.call()
    ticket = await ticket_of(client, user)
    assert ticket not in str(await sql.fetch("select digest::text from tickets"))
    attached = await attach(client, conversation, ticket)
    assert (attached.status, attached.content_type) == (200, "text/event-stream")
    call.finish("so far")
    assert text_of(await read_events(attached)) == text_of(await read_events(sent)) == "so far"
    again = await attach(client, conversation, ticket)
    assert await refusal(again) == (401, "invalid_ticket")
    assert again.headers["WWW-Authenticate"] == "Bearer"
    assert await sql.fetchval("select count(*) from tickets") == 0


async def test_of_many_at_once_on_two_workers_one_gets_in(
    client: Client, start: Start, settings: Settings, user: dict[str, str], conversation: str
) -> None:
    other = await start(settings)
    for _ in range(5):
        ticket = await ticket_of(client, user)
        tries = [attach(each, conversation, ticket) for _ in range(10) for each in (client, other)]
        statuses = [response.status for response in await asyncio.gather(*tries)]
        assert sorted(statuses) == [204] + [401] * 19


async def test_a_ticket_is_good_for_half_a_minute(
    client: Client, user: dict[str, str], conversation: str, sql: Connection
) -> None:
    ticket = await ticket_of(client, user)
    left = await sql.fetchval("select extract(epoch from expires_at - now())::float8 from tickets")
    assert 15 < left <= 30
    await sql.execute("update tickets set expires_at = now() - interval '1 ms'")
    assert await refusal(await attach(client, conversation, ticket)) == (401, "invalid_ticket")


@pytest.mark.parametrize("ticket", ["", "x", FORGED, FORGED + "0", "sct_" + "\u0660" * 40, "sck_" + "0" * 40])
async def test_what_is_no_ticket_is_told_so(client: Client, conversation: str, ticket: str) -> None:
    assert await refusal(await attach(client, conversation, ticket)) == (401, "invalid_ticket")


async def test_a_ticket_is_its_users_and_no_wider(
    client: Client, user: dict[str, str], auth: AuthService, conversation: str, model: ModelServer
) -> None:
    sent = await client.post(f"{conversation}/messages", json={"content": "Hi"}, headers=user)
    call = await model.call()
    stranger = await ticket_of(client, auth.sign_in(is_admin=True))
    assert await refusal(await attach(client, conversation, stranger)) == (404, "conversation_not_found")
    ticket = await ticket_of(client, user)
    for method, path in (
        ("GET", "/api/conversations"),
        ("GET", conversation),
        ("DELETE", conversation),
        ("POST", f"{conversation}/messages"),
        ("POST", f"{conversation}/stop"),
        ("POST", "/api/tickets"),
    ):
        async with client.request(method, path, params={"ticket": ticket}) as response:
            assert await refusal(response) == (401, "unauthorized")
    for headers in ({"Authorization": f"Bearer {ticket}"}, {"Authorization": "Bearer unknown"}):
        refused = await attach(client, conversation, ticket, headers=headers)
        assert await refusal(refused) == (401, "invalid_token"), "a token counts first"
    attached = await attach(client, conversation, ticket)
    call.finish("so far")
    assert text_of(await read_events(attached)) == text_of(await read_events(sent)) == "so far"


async def test_a_token_in_place_of_a_ticket_signs_nobody_in(
    client: Client, user: dict[str, str], conversation: str
) -> None:
    token = user["Authorization"].removeprefix("Bearer ")
    assert await refusal(await attach(client, conversation, token)) == (401, "invalid_ticket")


async def test_a_stream_by_ticket_ends_by_the_token_that_it_was_made_with(
    start: Start, settings: Settings, auth: AuthService, model: ModelServer, sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"expired_streams": "cut"}))
    expires_at = await sql.fetchval("select extract(epoch from now())::float8") + 3600
    user = auth.sign_in(exp=expires_at)
    made = await (await client.post("/api/conversations", headers=user)).json()
    conversation = f"/api/conversations/{made['id']}"
    ticket = await ticket_of(client, user)
    assert await sql.fetchval("select token_expires_at from tickets") == expires_at
    await client.post(f"{conversation}/messages", json={"content": "Hi"}, headers=user)
    await model.call()
    await sql.execute("update tickets set token_expires_at = extract(epoch from now()) + 1")
    events = await read_events(await attach(client, conversation, ticket))
    assert events[-1].data["error"] == "invalid_token"


async def test_a_key_that_reads_gets_a_ticket_and_others_dont(
    start: Start, settings: Settings, sql: Connection
) -> None:
    client = await start(settings.model_copy(update={"auth": "keys"}))
    await ticket_of(client, await key_of(sql, scopes=["read"]))
    async with client.post("/api/tickets", headers=await key_of(sql, scopes=["chat", "admin"])) as response:
        assert await refusal(response) == (403, "scope_missing")


async def test_guessed_tickets_count_as_failed_sign_ins(
    start: Start, settings: Settings, conversation: str
) -> None:
    client = await start(settings.model_copy(update={"sign_in_failures_per_address": "3/hour"}))
    where = {"X-Forwarded-For": "203.0.113.7"}
    for status in (401, 401, 401, 429):
        assert (await attach(client, conversation, FORGED, headers=where)).status == status


async def test_tickets_that_nobody_used_are_swept(
    start: Start, settings: Settings, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "TICKETS_SECONDS", 0)
    insert = (
        "insert into tickets (digest, user_id, expires_at, token_expires_at)"
        " values (sha256(convert_to($1, 'UTF8')), $2, now() + $3::interval, 'infinity')"
    )
    fresh = uuid4()
    await sql.execute(insert, "old", uuid4(), -timedelta(seconds=1))
    await sql.execute(insert, "fresh", fresh, timedelta(seconds=600))
    await start(settings.model_copy(update={"worker_lease": 1}))
    await until(lambda: sql.fetchval("select array_agg(user_id) = $1 from tickets", [fresh]))


async def test_a_ticket_is_in_no_log_line(
    client: Client, user: dict[str, str], conversation: str, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = await ticket_of(client, user)
    for _ in range(2):
        await attach(client, conversation, ticket)
    said = "".join(capsys.readouterr())
    assert f"{conversation}/stream" in said
    assert ticket not in said


async def test_it_is_in_the_description(client: Client) -> None:
    async with client.get("/api/openapi.json") as response:
        paths = (await response.json())["paths"]
    stream = paths["/api/conversations/{id}/stream"]["get"]
    assert "ticket" in {each["name"] for each in stream["parameters"]}
    assert "invalid_ticket" in stream["responses"]["401"]["description"]
