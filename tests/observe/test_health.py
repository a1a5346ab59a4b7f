"""Liveness and readiness, as a load balancer checks them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.migrate.apply import apply_migrations
from chat_api.routes.health import READY_SECONDS
from chat_api.settings import Settings
from tests.conftest import FAST, Client, Start
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.wire import DatabaseWire

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
    """A separate PostgreSQL server for this test, to stop and start."""
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
    assert (await client.get("/api/models", headers=user)).status == 200  # not the database's fault

    own_postgres.start()
    assert (await client.get("/api/ready")).status == 200
    for method, path, body in DATA_ENDPOINTS:
        response = await client.request(
            method, LIST + path.replace("{id}", made["id"]), headers=user, json=body
        )
        assert response.status in (200, 201, 204, 404), (method, path, await response.text())
        await response.read()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_read_only_database_makes_unready_and_a_writable_one_ready_at_once(
    client: Client, sql: asyncpg.Connection[asyncpg.Record], kept: bool
) -> None:
    """Whether or not the sessions that are kept began before the change."""
    name = await sql.fetchval("select current_database()")
    if kept:
        assert (await client.get("/api/ready")).status == 200
    await sql.execute(f"alter database {name} set default_transaction_read_only = on")
    if kept:
        await sql.execute(
            "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )
    for _ in range(2):
        response = await client.get("/api/ready")
        assert response.status == 503
        assert "takes no writes" in (await response.json())["checks"]["database"]
    await sql.execute(f"alter database {name} reset default_transaction_read_only")
    assert (await client.get("/api/ready")).status == 200


async def test_a_database_that_hangs_makes_unready_within_a_probes_time(
    database_url: str, start: Start, settings: Settings
) -> None:
    async with DatabaseWire(database_url) as wire:
        client: Client = await start(settings.model_copy(update={"database_url": wire.url}))
        assert (await client.get("/api/ready")).status == 200
        wire.hang()
        began = time.monotonic()
        answers = await asyncio.gather(*(client.get("/api/ready") for _ in range(20)))
        assert time.monotonic() - began < READY_SECONDS + 3  # twenty at once, on a busy machine
        assert {answer.status for answer in answers} == {503}
        assert "within" in (await answers[0].json())["checks"]["database"]
        wire.resume()
        assert (await client.get("/api/ready")).status == 200
