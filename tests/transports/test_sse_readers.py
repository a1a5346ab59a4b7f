"""Readers whose stream ends early: their token expires, they read nothing, or the worker ends."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse, web
from aiohttp.test_utils import TestClient
from aiohttp_sse import EventSourceResponse

from chat_api import errors
from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from chat_api.transports import sse
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import open_conversation, until
from tests.support.reader import read_events, read_lines, text_of

Client = TestClient[web.Request, web.Application]
Start = Callable[[Settings], Awaitable[Client]]


async def ask(client: Client, path: str, user: dict[str, str]) -> ClientResponse:
    return await client.post(f"{path}/messages", json={"content": "hi"}, headers=user)


async def attach(client: Client, path: str, user: dict[str, str], last_id: str) -> ClientResponse:
    return await client.get(f"{path}/stream", headers={**user, "Last-Event-ID": last_id})


@pytest.mark.parametrize("http", ["HTTP/1.1", "HTTP/1.0"])
async def test_a_stream_that_is_to_be_cut_ends_by_the_tokens_expiry_and_goes_on_with_a_new_one(
    start: Start, settings: Settings, auth: AuthService, model: ModelServer, http: str
) -> None:
    client = await start(settings.model_copy(update={"expired_streams": "cut"}))
    user_id, expires_at = uuid4(), time.time() + 1.5
    user = auth.sign_in(user_id)
    path = await open_conversation(client, user)
    short = auth.sign_in(user_id, exp=expires_at)
    reader, writer = await asyncio.open_connection(client.host, client.port)
    body = b'{"content":"hi"}'
    lines = [
        f"POST {path}/messages {http}",
        "Host: localhost",
        f"Authorization: {short['Authorization']}",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        "Connection: close",
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode() + body)
    call = await model.call()
    call.say("so ")
    async with asyncio.timeout(5):
        raw = await reader.read()  # to the end of the response
    writer.close()
    assert expires_at - 0.5 < time.time() < expires_at + 0.5
    assert raw.endswith(b"0\r\n\r\n") is (http == "HTTP/1.1"), "the response is whole"
    whole = asyncio.StreamReader()
    whole.feed_data(raw)
    whole.feed_eof()
    *seen, last = await read_lines(whole)
    assert [event.seq for event in seen] == [0, 1]
    # Without an id of its own, so that the reader comes back with the last one that it had.
    assert last.id == seen[-1].id
    assert last.data == {"error": "invalid_token", "detail": errors.InvalidToken.sentence}
    call.finish("far")
    seen += await read_events(await attach(client, path, user, seen[-1].id))
    assert [event.seq for event in seen] == [0, 1, 2, 3]
    assert text_of(seen) == "so far"


async def test_a_stream_that_began_with_a_good_token_goes_on_to_its_answers_end(
    client: Client, auth: AuthService, model: ModelServer
) -> None:
    short = auth.sign_in(exp=time.time() + 0.5)
    path = await open_conversation(client, short)
    asked = await ask(client, path, short)
    call = await model.call()
    call.say("so ")
    attached = await attach(client, path, short, (await read_events(asked, 2))[-1].id)

    async def expired() -> bool:
        return (await client.get(path, headers=short)).status == 401

    await until(expired)
    assert (await attach(client, path, short, "")).status == 401
    call.finish("far")
    for stream in (asked, attached):
        rest = await read_events(stream)
        assert (text_of(rest), rest[-1].data["finish_reason"]) == ("far", "stop")


@pytest.mark.parametrize(("seconds", "least"), [(3600, 3570), (10, 9), (0, 0)])
def test_readers_whose_tokens_end_together_leave_one_by_one(seconds: float, least: float) -> None:
    allowed = [sse.allowed_seconds(seconds) or 0.0 for _ in range(100)]
    assert least <= min(allowed) <= max(allowed) <= seconds
    assert seconds == 0 or len(set(allowed)) == 100


def test_a_token_without_end_lets_read_to_the_end() -> None:
    assert sse.allowed_seconds(float("inf")) is None


@pytest.mark.parametrize("kernel_helps", [True, False])  # only Linux does, and only on TCP
async def test_a_reader_that_reads_nothing_is_cut_and_costs_no_other_one_anything(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    monkeypatch: pytest.MonkeyPatch,
    kernel_helps: bool,
) -> None:
    if kernel_helps:  # it is the shorter time-out
        monkeypatch.setattr(
            sse,
            "EventSourceResponse",
            lambda **options: EventSourceResponse(**{**options, "send_timeout": 0.5}),
        )
    else:
        monkeypatch.setattr("aiohttp_sse._TCP_USER_TIMEOUT", None)
    client = await start(
        settings.model_copy(
            update={
                "slow_reader_timeout": 30 if kernel_helps else 0.5,
                "max_answer_characters": 10_000_000,
            }
        )
    )
    path = await open_conversation(client, user)
    stream = await ask(client, path, user)
    call = await model.call()

    loop = asyncio.get_running_loop()
    with socket.socket() as stuck:
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stuck.setblocking(False)
        await loop.sock_connect(stuck, (client.host, client.port))
        request = f"GET {path}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {user['Authorization']}\r\n\r\n"
        await loop.sock_sendall(stuck, request.encode())
        assert b"200 OK" in await loop.sock_recv(stuck, 200)

        # More than the kernel holds for a reader that takes nothing.
        reading = asyncio.create_task(read_events(stream))
        for _ in range(200):
            call.say("x" * 30_000)
            await asyncio.sleep(0)

        async def cut() -> bool:
            return len(client.server.handler.connections) == 1

        await until(cut)
        call.finish("!")
        everything = await reading
    assert [event.seq for event in everything] == list(range(203))
    figures = await (await client.get("/metrics")).text()
    assert 'chat_readers_cut_total{transport="sse"} 1.0' in figures.splitlines()
    late = await attach(client, path, user, everything[150].id)
    assert await read_events(late) == everything[151:]


async def test_readers_of_another_workers_answer_are_sent_away_when_theirs_ends(
    client: Client, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    other = await start(settings)
    path = await open_conversation(client, user)
    local = await ask(client, path, user)
    call = await model.call()
    call.say("so ")
    remote = await attach(other, path, user, (await read_events(local, 2))[0].id)
    seen = await read_events(remote, 1)
    closing = asyncio.create_task(other.server.close())
    assert await read_events(remote) == []  # it ends normally, without `done`
    await closing
    call.finish("far")
    seen += await read_events(await attach(client, path, user, seen[-1].id))
    assert [event.seq for event in seen] == [1, 2, 3]
    await read_events(local)


async def test_an_answer_in_one_piece_that_runs_elsewhere_is_refused_with_a_retry_when_the_worker_ends(
    client: Client, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    other = await start(settings)
    path = await open_conversation(client, user)
    keyed: dict[str, Any] = {
        "json": {"content": "hi", "stream": False},
        "headers": {**user, "Idempotency-Key": "k"},
    }
    first = asyncio.create_task(client.post(f"{path}/messages", **keyed))
    call = await model.call()
    second = asyncio.create_task(other.post(f"{path}/messages", **keyed))
    follower = other.app[GENERATIONS]._relay._follower
    async with asyncio.timeout(5):
        while not follower._logs:  # noqa: ASYNC110 - until it waits; nothing outside shows that
            await asyncio.sleep(0.01)
    closing = asyncio.create_task(other.server.close())
    refused = await second
    assert (refused.status, (await refused.json())["code"]) == (503, "draining")
    await closing
    call.finish("once")
    again = await client.post(f"{path}/messages", **keyed)
    assert await again.json() == await (await first).json()
