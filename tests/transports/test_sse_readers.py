"""Readers of a stream whose time is over: the token ends, they read nothing, the worker ends."""

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

from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from chat_api.transports import sse
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import open_conversation, until
from tests.support.reader import read_events, text_of

Client = TestClient[web.Request, web.Application]
Start = Callable[[Settings], Awaitable[Client]]


async def ask(client: Client, path: str, user: dict[str, str]) -> ClientResponse:
    return await client.post(f"{path}/messages", json={"content": "hi"}, headers=user)


async def attach(client: Client, path: str, user: dict[str, str], last_id: str) -> ClientResponse:
    return await client.get(f"{path}/stream", headers={**user, "Last-Event-ID": last_id})


async def test_a_stream_ends_by_the_tokens_expiry_and_goes_on_with_a_new_one(
    client: Client, auth: AuthService, model: ModelServer
) -> None:
    user_id, expires_at = uuid4(), time.time() + 1.5
    user = auth.sign_in(user_id)
    path = await open_conversation(client, user)
    stream = await ask(client, path, auth.sign_in(user_id, exp=expires_at))
    call = await model.call()
    call.say("so ")
    seen = await read_events(stream)  # to the end of the response
    assert expires_at - 0.5 < time.time() < expires_at + 0.5
    assert [event.seq for event in seen] == [0, 1]
    call.finish("far")
    seen += await read_events(await attach(client, path, user, seen[-1].id))
    assert [event.seq for event in seen] == [0, 1, 2, 3]
    assert text_of(seen) == "so far"


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
    if kernel_helps:  # it is the quicker one
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
    assert await read_events(remote) == []  # it ends in order, without `done`
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
