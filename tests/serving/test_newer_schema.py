"""`serve` on a database that a later release has migrated: refused, but only at the start."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from tests.conftest import FAST
from tests.support.processes import Service, open_conversation, until

MIGRATED = "insert into _yoyo_migration values ('hash', '9999.from-the-future', now())"
SINGLE, SEVERAL = [], ["--workers", "2"]

either = pytest.mark.parametrize("options", [SINGLE, SEVERAL], ids=["one process", "workers"])


async def refused(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    """Check that it has ended with 1, and said why."""
    assert await service.ended() == 1
    complaint = [line for line in capfd.readouterr().err.splitlines() if line.startswith("chat-api: ")]
    assert len(complaint) == 1
    assert complaint[0].startswith(
        "chat-api: the database is newer than this release: a later one applied 9999.from-the-future; "
        "use that release, or roll them back with it (its `chat-api migrate rollback`); "
    )
    assert complaint[0].endswith("add --allow-newer-schema")
    await service.__aexit__()


@either
async def test_it_does_not_start(
    settings: Settings, sql: Any, options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    await sql.execute(MIGRATED)
    service = Service(settings, *options)
    await service.launch()
    await refused(service, capfd)


@either
async def test_the_flag_starts_it_and_it_is_ready(
    settings: Settings, sql: Any, options: list[str], user: dict[str, str]
) -> None:
    await sql.execute(MIGRATED)
    async with Service(settings, "--allow-newer-schema", *options) as service:
        async with service.session.get("/api/ready") as response:
            assert (response.status, (await response.json())["checks"]["migrations"]) == (200, "ok")
        await open_conversation(service.session, user)


async def test_what_runs_goes_on_and_replaces_its_workers(
    settings: Settings, sql: Any, user: dict[str, str]
) -> None:
    """During a rolling upgrade, neither a crash nor a SIGHUP may cost the old release a worker."""
    async with Service(settings, *SEVERAL) as service:
        await sql.execute(MIGRATED)
        before = await service.workers()
        os.kill(before[0], signal.SIGKILL)

        async def whole() -> bool:
            pids = await service.workers()
            return len(pids) == 2 and before[0] not in pids

        await until(whole)
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        await service.notified("READY=1")
        assert not set(await service.workers()) & set(before)
        async with service.session.get("/api/ready") as response:
            assert response.status == 200
        await open_conversation(service.session, user)


@either
async def test_a_database_that_was_away_at_the_start_is_looked_at_when_it_is_there(
    tmp_path: Path, settings: Settings, options: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    database = Postgres(tmp_path / "data", settings=FAST)
    with database:
        apply_migrations(database.dsn())
        connection = await asyncpg.connect(database.dsn())
        await connection.execute(MIGRATED)
        await connection.close()
    away = settings.model_copy(update={"database_url": database.dsn()})
    async with Service(away, *options) as service:
        async with service.session.get("/api/ready") as response:
            assert response.status == 503
        capfd.readouterr()
        with database:
            await refused(service, capfd)
