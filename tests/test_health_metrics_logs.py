"""What operators see: liveness, readiness, figures, log lines; and what they never see."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from tests.conftest import FAST, Client, Start
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.service import Service, environment

Headers = dict[str, str]
LIST = "/api/conversations"
DATA_ENDPOINTS = [
    ("GET", "", None),
    ("POST", "", {}),
    ("GET", "/{id}", None),
    ("PUT", "/{id}", {"title": "a"}),
    ("DELETE", "/{id}", None),
    ("POST", "/{id}/messages", {"content": "a"}),
    ("POST", "/{id}/regenerate", {}),
    ("GET", "/{id}/stream", None),
    ("POST", "/{id}/stop", None),
]


async def test_health_touches_nothing(start: Start, settings: Settings) -> None:
    nowhere = {
        "database_url": "postgresql://127.0.0.1:1/none",
        "auth_service_url": "http://127.0.0.1:1",
        "inference_service_url": "http://127.0.0.1:1",
    }
    client: Client = await start(settings.model_copy(update=nowhere))
    response = await client.get("/api/health")
    assert response.status == 200
    assert await response.json() == {"status": "ok", "ready": True, "service": "chat-api"}


async def test_a_migrated_database_that_answers_makes_ready(client: Client) -> None:
    response = await client.get("/api/ready")
    assert response.status == 200
    assert await response.json() == {
        "ready": True,
        "checks": {"database": "ok", "migrations": "ok", "worker": "ok"},
    }


async def test_a_migration_that_is_missing_makes_unready_and_says_what_to_do(
    client: Client, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute("delete from _yoyo_migration where migration_id = $1", migration_ids()[-1])
    response = await client.get("/api/ready")
    assert response.status == 503
    assert response.headers["Retry-After"]
    body = await response.json()
    assert body["ready"] is False
    assert body["checks"]["migrations"] == "1 to apply: run chat-api migrate"


async def test_an_empty_database_makes_unready_and_says_what_to_do(
    postgres: Postgres, start: Start, settings: Settings, user: Headers
) -> None:
    admin = await asyncpg.connect(postgres.dsn())
    await admin.execute("create database empty")
    try:
        client: Client = await start(settings.model_copy(update={"database_url": postgres.dsn("empty")}))
        response = await client.get("/api/ready")
        assert response.status == 503
        checks = (await response.json())["checks"]
        assert checks["database"] == "ok"
        assert checks["migrations"] == f"{len(migration_ids())} to apply: run chat-api migrate"

        refusal = await client.get(LIST, headers=user)
        assert refusal.status == 503
        assert refusal.headers["Retry-After"]
        assert (await refusal.json())["code"] == "database_not_migrated"

        await asyncio.to_thread(apply_migrations, postgres.dsn("empty"))
        assert (await client.get("/api/ready")).status == 200
        assert (await client.get(LIST, headers=user)).status == 200
    finally:
        await admin.execute("drop database empty with (force)")
        await admin.close()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[Postgres]:
    """A server of this test's own, to stop and start."""
    with Postgres(tmp_path / "data", settings=FAST) as server:
        apply_migrations(server.dsn())
        yield server


async def test_a_database_that_goes_away_and_comes_back(
    own_postgres: Postgres, start: Start, settings: Settings, user: Headers, model: ModelServer
) -> None:
    model.say = ["fine"]
    update = {"database_url": own_postgres.dsn(), "worker_lease": 1}
    client: Client = await start(settings.model_copy(update=update))
    made = await (await client.post(LIST, headers=user)).json()
    send = f"{LIST}/{made['id']}/messages"
    assert text_of(await read_events(await client.post(send, headers=user, json={"content": "a"}))) == "fine"

    own_postgres.stop()
    for method, path, body in DATA_ENDPOINTS:
        response = await client.request(
            method, LIST + path.replace("{id}", made["id"]), headers=user, json=body
        )
        assert response.status == 503, (method, path, await response.text())
        assert response.headers["Retry-After"]
        answer = await response.json()
        assert answer["code"] == "database_unavailable"
        assert str(own_postgres.data_dir) not in str(answer)
        assert "postgres" not in str(answer)
    ready = await client.get("/api/ready")
    assert ready.status == 503
    assert (await ready.json())["checks"]["database"] != "ok"
    assert (await client.get("/api/health")).status == 200
    assert (await client.get("/metrics")).status == 200
    assert (await client.get("/api/models", headers=user)).status == 200  # no matter of the database's

    own_postgres.start()
    assert (await client.get("/api/ready")).status == 200
    for method, path, body in DATA_ENDPOINTS:
        response = await client.request(
            method, LIST + path.replace("{id}", made["id"]), headers=user, json=body
        )
        assert response.status in (200, 201, 204, 404), (method, path, await response.text())
        await response.read()


async def figures(client: Client) -> dict[str, float]:
    """Every sample by `name{label,…}`."""
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }


async def test_the_figures_of_an_exchange(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    async with client.post(f"{conversation}/messages", headers=user, json={"content": "a"}) as stream:
        call = await model.call()
        call.say("one", "two")
        await read_events(stream, 3)
        assert (await figures(client))["chat_live_generations{}"] == 1
        call.finish("three")
        await read_events(stream)
    model.refuse = (500, "broken")
    stream = await client.post(f"{conversation}/messages", headers=user, json={"content": "b"})
    await read_events(stream)
    await client.get(LIST, headers={"Authorization": "Bearer unknown"})
    await client.get(LIST)
    await client.get("/nowhere/a", headers=user)
    await client.get("/nowhere/b", headers=user)

    seen = await figures(client)
    expected = {
        "chat_live_generations{}": 0,
        "chat_generations_total{stop,completed}": 1,
        "chat_generations_total{inference_rejected,failed}": 1,
        "chat_tokens_total{}": 3,
        "chat_time_to_first_token_seconds_count{}": 1,
        "chat_time_per_token_seconds_count{}": 1,
        "chat_generation_duration_seconds_count{}": 2,
        "chat_errors_total{unauthorized}": 1,
        "chat_errors_total{invalid_token}": 1,
        "chat_errors_total{not_found}": 2,
        "chat_requests_total{POST,/api/conversations,201}": 1,
        "chat_requests_total{POST,/api/conversations/{id}/messages,200}": 2,
        "chat_requests_total{GET,/api/conversations,401}": 2,
        "chat_requests_total{GET,unknown,404}": 2,
        "chat_auth_calls_total{valid}": 1,
        "chat_auth_calls_total{refused}": 1,
        "chat_auth_lookups_total{service}": 2,
        "chat_auth_lookups_total{cache}": 4,
        "chat_request_duration_seconds_count{/api/conversations}": 3,
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert "chat_request_duration_seconds_count{/api/conversations/{id}/messages}" not in seen, (
        "a stream's length"
    )
    # The lease may be renewed at this very moment.
    assert seen["chat_database_connections{busy}"] in (0, 1)
    assert seen["chat_database_connections{idle}"] + seen["chat_database_connections{busy}"] >= 1


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """The server as a process, which logs as it does in production, down to DEBUG."""
    async with Service(environment(settings)) as running:
        await running.ready()
        yield running


TRACE = {"X-Trace-Id": "the-trace"}
SECRET = "klaatu-barada"  # in every text that is nobody's business


async def exchange(service: Service, headers: Headers, model: ModelServer) -> None:
    """Everything that has a text in it, failures included."""

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
    # The database's own words hold the whole row.
    await sql.execute(f"alter table messages add constraint no_text check (content not like '{SECRET}%')")
    await sql.execute(f"alter table conversations add constraint no_title check (title not like '{SECRET}%')")
    async with service.http.post(LIST, headers=headers, json={}) as response:
        path = f"{LIST}/{(await response.json())['id']}"
    for below, body in [("", {"title": SECRET}), ("/messages", {"content": SECRET})]:
        method = "POST" if below else "PUT"
        async with service.http.request(method, path + below, headers=headers, json=body) as response:
            assert response.status == 500
            assert SECRET not in await response.text()
    # A token with a byte that no header may have.
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
    anonymous = [line for line in ours if "trace_id" not in line]
    assert {line["event"] for line in anonymous} == {"listening", "draining"}
    ended = [line for line in of_the_request if line["event"] == "generation_ended"]
    assert len(ended) == 13
    assert all(re.fullmatch("[0-9a-f-]{36}", line["generation_id"]) for line in ended)
    refused = next(line for line in service.lines if line.get("trace_id") == "another")
    assert (refused["status"], refused["method"], refused["path"]) == (401, "GET", LIST)
    assert "user_id" not in refused


async def test_a_path_cannot_forge_a_log_line(service: Service, user: Headers) -> None:
    forged = "/api/a%0a%1b[2J%22,%22level%22:%22error"
    async with service.http.get(forged, headers=user) as response:
        assert response.status == 404
    await service.end()
    line = next(line for line in service.lines if line["event"] == "request" and line["status"] == 404)
    assert line["path"].isprintable()
    assert line["level"] == "info"
