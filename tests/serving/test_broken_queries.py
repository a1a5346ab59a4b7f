"""`serve` with a packaged query that somebody edited in place, or that the database refuses."""

from __future__ import annotations

import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.migrate.apply import apply_migrations
from chat_api.postgres.queries import Query
from chat_api.postgres.query_check import find_refused
from chat_api.settings import Settings
from tests.conftest import FAST
from tests.migrate.releases import CODE
from tests.support.processes import ROOT, Service, open_conversation, until
from tests.support.service_log import has_line, lines, logged
from tests.support.spoiled import edit, line_of

SINGLE, SEVERAL = [], ["--workers", "2"]
RESTORE = (
    "correct that, or put the release's file back; if nobody edited it, `chat-api sql check` tells how the "
    "database differs"
)

either = pytest.mark.parametrize("options", [SINGLE, SEVERAL], ids=["one process", "workers"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the code, with queries to edit."""
    for part in CODE:
        shutil.copytree(ROOT / part, tmp_path / part)
    return tmp_path


@asynccontextmanager
async def launched(settings: Settings, tree: Path, *options: str) -> AsyncIterator[tuple[Service, Path]]:
    """The service of this tree, perhaps not ready yet, and the file of its log."""
    log = tree / "log"
    with log.open("wb") as written:
        service = Service(
            settings.model_copy(update={"log_level": "INFO", "worker_lease": 2.0}),
            *options,
            tree=tree,
            stderr=written.fileno(),
            LOG_FORMAT="json",
        )
        await service.launch()
        try:
            yield service, log
        finally:
            await service.__aexit__()


def misspell(tree: Path) -> str:
    """Name a column that isn't there. Returns what is said of it."""
    file = tree / "sql/conversations.sql"
    edit(file, "        is_favorited = w.is_favorited,", "        is_favoured = w.is_favorited,")
    line = line_of(file, "is_favoured")
    return (
        f'sql/conversations.sql:{line}: conversations.update column "is_favoured" of relation '
        f'"conversations" does not exist; {RESTORE}'
    )


def break_syntax(tree: Path) -> str:
    """Write something that PostgreSQL can't read. Returns what is said of it."""
    file = tree / "sql/conversations.sql"
    edit(file, "limit :max_rows offset :skip", "limit :max_rows skip :skip")
    line = line_of(file, "skip :skip")
    return f'sql/conversations.sql:{line}: conversations.page syntax error at or near "skip"; {RESTORE}'


async def listed(service: Service, user: dict[str, str]) -> int:
    """The status of the list of conversations."""
    async with service.session.get("/api/conversations", headers=user) as response:
        return response.status


@pytest.mark.parametrize("spoil", [misspell, break_syntax], ids=lambda spoil: spoil.__name__)
@pytest.mark.parametrize(
    "options", [SINGLE, SEVERAL, ["--allow-newer-schema"]], ids=["one process", "workers", "newer allowed"]
)
async def test_it_stops_the_start_and_is_named_with_its_line(
    settings: Settings, tree: Path, options: list[str], spoil: Callable[[Path], str]
) -> None:
    problem = spoil(tree)
    async with launched(settings, tree, *options) as (service, log):
        assert await service.ended() == 2
        told = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    assert told == [f"chat-api: {problem}"]


async def test_each_one_is_named(settings: Settings, tree: Path) -> None:
    problems = {misspell(tree), break_syntax(tree)}
    async with launched(settings, tree) as (service, log):
        assert await service.ended() == 2
        assert {line for line in log.read_text().splitlines() if not line.startswith("{")} == {
            f"chat-api: {problem}" for problem in problems
        }


async def test_workers_stay_until_it_is_corrected(
    settings: Settings, user: dict[str, str], tree: Path
) -> None:
    good = (tree / "sql/conversations.sql").read_text()
    async with launched(settings, tree, *SEVERAL) as (service, log):
        await service.notified("READY=1")
        await open_conversation(service.session, user)
        before = await service.workers()
        problem = break_syntax(tree)
        service.send(signal.SIGHUP)
        await logged(log, "restart_given_up")
        assert has_line(log, f"chat-api: {problem}")

        async def same() -> bool:
            return await service.workers() == before

        await until(same)
        assert [await listed(service, user) for _ in range(6)] == [200] * 6
        (tree / "sql/conversations.sql").write_text(good)
        service.send(signal.SIGHUP)
        await logged(log, "restarted")
        assert not set(await service.workers()) & set(before)
        assert await listed(service, user) == 200


@either
async def test_a_database_that_is_away_is_asked_when_it_is_there(
    settings: Settings, tree: Path, options: list[str], tmp_path: Path
) -> None:
    database = Postgres(tmp_path / "data", settings=FAST)
    with database:
        apply_migrations(database.dsn())
    problem = misspell(tree)
    away = settings.model_copy(update={"database_url": database.dsn()})
    async with launched(away, tree, *options) as (service, log):
        await service.notified("READY=1")
        async with service.session.get("/api/ready") as response:
            assert response.status == 503
        with database:
            assert await service.ended() == 2
        assert has_line(log, f"chat-api: {problem}")


async def test_a_locked_table_stops_no_start_and_is_looked_at_afterwards(
    settings: Settings, tree: Path, sql: Any
) -> None:
    problem = misspell(tree)
    locking = sql.transaction()
    await locking.start()
    await sql.execute("lock table conversations in access exclusive mode")
    async with launched(settings, tree) as (service, log):
        await service.notified("READY=1")
        await locking.rollback()
        assert await service.ended() == 2
        assert has_line(log, f"chat-api: {problem}")


async def test_a_database_that_is_not_migrated_blames_no_query(settings: Settings, sql: Any) -> None:
    await sql.execute("alter table conversations rename column is_favorited to is_starred")
    await sql.execute("delete from _yoyo_migration where migration_id = $1", migration_ids()[-1])
    async with (
        Service(settings) as service,
        service.session.get("/api/ready") as response,
    ):
        checks = (await response.json())["checks"]
        assert (response.status, checks["migrations"]) == (503, "1 to apply: run chat-api migrate")


async def test_a_migrated_database_that_lost_a_column_is_found(
    settings: Settings, tree: Path, sql: Any
) -> None:
    await sql.execute("alter table conversations rename column is_favorited to is_starred")
    async with launched(settings, tree) as (service, log):
        assert await service.ended() == 2
        assert "`chat-api sql check` tells how the database differs" in log.read_text()
        assert lines(log, "listening") == []


async def test_a_right_that_is_missing_says_nothing_about_the_query(sql: Any) -> None:
    await sql.execute("create schema hidden create table t (a int)")
    await sql.execute("create role stranger")
    try:
        await sql.execute("set role stranger")
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await sql.prepare("select a from hidden.t")
        queries = {
            "a.hidden": Query("select a from hidden.t", ()),
            "a.broken": Query("select nothing", ()),
            "a.fine": Query("select 1", ()),
        }
        assert [misfit.name for misfit in await find_refused(sql, queries)] == ["a.broken"]
    finally:
        await sql.execute("reset role")
        await sql.execute("drop role stranger")
