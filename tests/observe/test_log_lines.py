"""Log lines: what they contain, and what they never reveal."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from chat_api.settings import Settings
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.service import Service, environment

Headers = dict[str, str]
LIST = "/api/conversations"


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The server as a process, which logs as in production, but at DEBUG."""
    async with Service(environment(settings)) as running:
        await running.ready()
        yield running


TRACE = {"X-Trace-Id": "the-trace"}
SECRET = "klaatu-barada"  # part of every text that must not be logged


async def exchange(service: Service, headers: Headers, model: ModelServer) -> None:
    """Send everything that contains a text, including failures."""

    async def ask(method: str, path: str, body: Any = None, **more: Any) -> bytes:
        async with service.http.request(method, path, headers=headers | TRACE, json=body, **more) as response:
            return await response.read()

    await ask("POST", LIST, {"title": f"{SECRET}\0", "model_tag": SECRET})
    await ask("POST", LIST, {"title": SECRET})
    async with service.http.get(LIST, headers=headers | TRACE) as response:
        path = f"{LIST}/{(await response.json())['items'][0]['id']}"
    await ask("GET", LIST, params={"cursor": SECRET})
    say = {"content": f"{SECRET}?"}

    async def send(script: Any) -> None:
        sent = asyncio.create_task(ask("POST", f"{path}/messages", say))
        script(await model.call())
        await sent

    await send(lambda call: call.finish(SECRET, SECRET))
    await send(lambda call: call.send({"error": SECRET}))
    await send(lambda call: call.send_bytes(f"data: {SECRET}\n\n".encode()))
    await send(lambda call: call.send_bytes(f'data: ["{SECRET}"]\n\n'.encode()))
    await send(lambda call: call.send({"token": [SECRET]}))
    await send(lambda call: (call.say(SECRET), call.cut()))
    await send(lambda call: (call.say(SECRET), call.close()))
    for status in (400, 403, 404, 422, 500, 503):
        model.refuse = (status, f'{{"detail":[{{"input":"{SECRET}"}}]}}')
        await ask("POST", f"{path}/messages", say)
        await model.call()
    model.models = (200, [SECRET])
    model.swap = (500, {"detail": SECRET})
    await ask("GET", "/api/models")
    await ask("POST", "/api/models/swap", {"model_tag": SECRET})
    await ask("PUT", path, {"title": SECRET * 100})
    await ask("GET", f"{path}/stream", params={"after": SECRET})
    await ask("DELETE", path)


async def test_no_log_line_tells_a_token_or_a_text(
    service: Service, auth: AuthService, model: ModelServer, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    headers = auth.sign_in(is_admin=True)
    await exchange(service, headers, model)
    # The database's own message contains the whole row.
    await sql.execute(f"alter table messages add constraint no_text check (content not like '{SECRET}%')")
    await sql.execute(f"alter table conversations add constraint no_title check (title not like '{SECRET}%')")
    async with service.http.post(LIST, headers=headers, json={}) as response:
        path = f"{LIST}/{(await response.json())['id']}"
    for below, body in [("", {"title": SECRET}), ("/messages", {"content": SECRET})]:
        method = "POST" if below else "PUT"
        async with service.http.request(method, path + below, headers=headers, json=body) as response:
            assert response.status == 500
            assert SECRET not in await response.text()
    # A token with a byte that isn't allowed in a header.
    reader, writer = await asyncio.open_unix_connection(service.socket)
    writer.write(f"GET {LIST} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {SECRET}\x01\r\n\r\n".encode())
    assert (await reader.readline()).startswith(b"HTTP/1.0 400")
    writer.close()
    await service.end()

    assert service.status == 0
    events = [line["event"] for line in service.lines]
    assert {"request", "generation_ended", "inference_refused", "inference_broken", "request_failed"} <= {
        *events
    }
    hidden = [SECRET, headers["Authorization"].partition(" ")[2], auth.internal_key]
    assert [line for line in service.lines if any(word in str(line) for word in hidden)] == []


async def test_every_line_of_a_request_carries_its_ids(
    service: Service, auth: AuthService, model: ModelServer
) -> None:
    headers = auth.sign_in(is_admin=True)
    await exchange(service, headers, model)
    async with service.http.get(LIST, headers=TRACE | {"X-Trace-Id": "another"}) as response:
        assert response.status == 401
    await service.end()

    ours = [line for line in service.lines if line["logger"].startswith("chat_api.")]
    of_the_request = [line for line in ours if line.get("trace_id") == "the-trace"]
    assert [line for line in of_the_request if "user_id" not in line] == []
    assert len({line["user_id"] for line in of_the_request}) == 1
    assert all({"event", "level", "timestamp", "logger"} <= line.keys() for line in service.lines)
    assert {line.get("service") for line in service.lines} == {"chat-api"}
    anonymous = [line for line in ours if "trace_id" not in line]
    assert {line["event"] for line in anonymous} == {"listening", "draining"}
    ended = [line for line in of_the_request if line["event"] == "generation_ended"]
    assert len(ended) == 13
    assert all(re.fullmatch("[0-9a-f-]{36}", line["generation_id"]) for line in ended)
    refused = next(line for line in service.lines if line.get("trace_id") == "another")
    assert (refused["status"], refused["method"], refused["path"]) == (401, "GET", LIST)
    assert "user_id" not in refused


async def test_a_setting_that_has_two_names_and_two_values_is_told_once(settings: Settings) -> None:
    twice = {"AUTH_CACHE_SECONDS": "7", "AUTH_CACHE_TTL_SECONDS": "8"}
    equal = {"AUTH_CACHE_SIZE": "9", "AUTH_CACHE_MAX_SIZE": "9"}
    async with Service(environment(settings, **twice, **equal)) as service:
        await service.ready()
        await service.end()
        told = [line for line in service.lines if line["event"] == "setting_ignored"]
    assert [(line["level"], line["setting"], line["reason"]) for line in told] == [
        ("warning", "AUTH_CACHE_TTL_SECONDS", "AUTH_CACHE_SECONDS says something else, and counts")
    ]


async def test_a_path_cannot_forge_a_log_line(service: Service, user: Headers) -> None:
    forged = "/api/a%0a%1b[2J%22,%22level%22:%22error"
    async with service.http.get(forged, headers=user) as response:
        assert response.status == 404
    await service.end()
    line = next(line for line in service.lines if line["event"] == "request" and line["status"] == 404)
    assert line["path"].isprintable()
    assert line["level"] == "info"
