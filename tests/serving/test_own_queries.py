"""`serve` with SQL_DIR: own queries win, and one that can't be used stops a start, but not what runs."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from chat_api.commands.sql.own import copy
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from tests.conftest import FAST
from tests.support.processes import Service, open_conversation, until
from tests.support.service_log import has_line, lines, logged
from tests.support.spoiled import edit, line_of

PACKAGED, OWN = "New conversation", "A talk without a name"
MEND = "correct that, or take the query out of SQL_DIR to use the packaged one"
SINGLE, SEVERAL = [], ["--workers", "2"]

either = pytest.mark.parametrize("options", [SINGLE, SEVERAL], ids=["one process", "workers"])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of own queries: one, which gives all conversations one title."""
    folder = tmp_path / "own"
    folder.mkdir()
    copy("conversations.page", str(folder))
    file = folder / "conversations.sql"
    edit(file, f"coalesce(title, '{PACKAGED}')", f"'{OWN}'")
    return file


def text_of(file: Path) -> str:
    """What the file has."""
    return file.read_text()


def change(file: Path, text: str) -> None:
    """Give the file another text."""
    file.write_text(text)


@asynccontextmanager
async def launched(settings: Settings, file: Path, *options: str) -> AsyncIterator[tuple[Service, Path]]:
    """The service with these own queries, perhaps not ready yet, and the file of its log."""
    update = {"sql_dir": str(file.parent), "log_level": "INFO", "worker_lease": 2.0}
    log = file.with_name("log")
    with log.open("wb") as written:
        service = Service(
            settings.model_copy(update=update), *options, stderr=written.fileno(), LOG_FORMAT="json"
        )
        await service.launch()
        try:
            yield service, log
        finally:
            await service.__aexit__()


async def titles(service: Service, user: dict[str, str]) -> set[str]:
    """The titles in the user's list, asked of several workers."""
    found = set()
    for _ in range(6):
        async with service.session.get("/api/conversations", headers=user) as response:
            assert response.status == 200, await response.text()
            listed = await response.json()
        found |= {each["title"] for each in listed["items"]}
    return found


@either
async def test_an_own_query_wins(
    settings: Settings, user: dict[str, str], file: Path, options: list[str]
) -> None:
    async with launched(settings, file, *options) as (service, log):
        await service.notified("READY=1")
        await open_conversation(service.session, user)
        assert await titles(service, user) == {OWN}
        assert lines(log, "own_queries")[0]["queries"] == ["conversations.page"]
        assert lines(log, "own_query_outdated") == []


def misspell(file: Path) -> str:
    """Name a column that isn't there. Returns what is said of it."""
    edit(file, "is_favorited,", "is_favoured,")
    line = line_of(file, "is_favoured")
    return f'{file}:{line}: conversations.page column "is_favoured" does not exist'


def break_syntax(file: Path) -> str:
    """Write something that PostgreSQL can't read."""
    edit(file, "order by updated_at desc, id desc", "order by updated_at order id")
    return f'{file}:{line_of(file, "at order id")}: conversations.page syntax error at or near "order"'


def return_less(file: Path) -> str:
    """Leave a column out that the service reads."""
    edit(file, "    c.updated_at,\n", "")
    return (
        f"{file}:{line_of(file, '-- name')}: conversations.page returns day (text) as column 2, "
        "and the packaged one updated_at (timestamptz)"
    )


def take_less(file: Path) -> str:
    """Leave a parameter out, which no database is needed to see."""
    edit(file, " offset :skip", "")
    edit(file, ", skip)", ")")
    return (
        f"{file}:1: conversations.page must take (before_id, before_updated_at, max_rows, skip, user_id) as "
        "the packaged one does, not (before_id, before_updated_at, max_rows, user_id)"
    )


BREAKS = [misspell, break_syntax, return_less, take_less]
breaks = pytest.mark.parametrize("spoil", BREAKS, ids=lambda spoil: spoil.__name__)


@breaks
@pytest.mark.parametrize(
    "options", [SINGLE, SEVERAL, ["--allow-newer-schema"]], ids=["one process", "workers", "newer allowed"]
)
async def test_one_that_does_not_fit_stops_the_start_and_is_named_with_its_line(
    settings: Settings, file: Path, options: list[str], spoil: Callable[[Path], str]
) -> None:
    problem = spoil(file)
    async with launched(settings, file, *options) as (service, log):
        assert await service.ended() == 2
        told = [line for line in log.read_text().splitlines() if not line.startswith("{")]
    assert told[0] == f"chat-api: SQL_DIR: {problem}; {MEND}"
    assert all(line.startswith("chat-api: SQL_DIR: ") for line in told)
    assert len(told) == len(set(told))


@breaks
async def test_one_process_keeps_the_queries_of_before(
    settings: Settings, user: dict[str, str], file: Path, spoil: Callable[[Path], str]
) -> None:
    good = text_of(file)
    async with launched(settings, file) as (service, log):
        await service.notified("READY=1")
        await open_conversation(service.session, user)
        problem = spoil(file)
        service.send(signal.SIGHUP)
        line = await logged(log, "own_queries_refused")
        assert line["level"] == "error"
        assert line["reason"].startswith(f"SQL_DIR: {problem}; {MEND}")
        assert await titles(service, user) == {OWN}
        change(file, good.replace(OWN, "Another"))
        service.send(signal.SIGHUP)
        await logged(log, "own_queries", 2)
        assert await titles(service, user) == {"Another"}
        change(file, "")
        service.send(signal.SIGHUP)
        await logged(log, "own_queries", 3)
        assert await titles(service, user) == {PACKAGED}


@breaks
async def test_workers_stay_with_the_queries_of_before(
    settings: Settings, user: dict[str, str], file: Path, spoil: Callable[[Path], str]
) -> None:
    async with launched(settings, file, *SEVERAL) as (service, log):
        await service.notified("READY=1")
        await open_conversation(service.session, user)
        before = await service.workers()
        problem = spoil(file)
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        await service.notified("READY=1")
        await logged(log, "restart_given_up")

        async def told() -> bool:  # the worker says so as its last word, after the supervisor gave it up
            return has_line(log, f"chat-api: SQL_DIR: {problem}; {MEND}")

        await until(told)

        async def same() -> bool:
            return await service.workers() == before

        await until(same)
        assert await titles(service, user) == {OWN}


async def test_workers_are_replaced_by_ones_with_the_new_queries(
    settings: Settings, user: dict[str, str], file: Path
) -> None:
    async with launched(settings, file, *SEVERAL) as (service, log):
        await service.notified("READY=1")
        await open_conversation(service.session, user)
        edit(file, OWN, "Another")
        service.send(signal.SIGHUP)
        await logged(log, "restarted")
        assert await titles(service, user) == {"Another"}


async def test_one_that_fails_later_is_named_and_not_the_migrations(
    settings: Settings, user: dict[str, str], file: Path, sql: Any
) -> None:
    await sql.execute("alter table conversations add column mood text")
    edit(file, OWN, "' || mood || '")
    async with launched(settings, file) as (service, log):
        await service.notified("READY=1")
        await sql.execute("alter table conversations drop column mood")
        async with service.session.get("/api/conversations", headers=user) as response:
            assert (response.status, (await response.json())["code"]) == (503, "query_broken")
        line = await logged(log, "own_query_failed")
        assert (line["query"], line["place"]) == ("conversations.page", f"{file}:{line_of(file, 'mood')}")
        assert "migrate" not in str(line)
        assert MEND in line["do"]


@either
async def test_a_database_that_is_away_stops_no_start_and_is_asked_when_it_is_there(
    settings: Settings, file: Path, options: list[str], tmp_path: Path
) -> None:
    database = Postgres(tmp_path / "data", settings=FAST)
    with database:
        apply_migrations(database.dsn())
    away = settings.model_copy(update={"database_url": database.dsn()})
    problem = misspell(file)
    async with launched(away, file, *options) as (service, log):
        await service.notified("READY=1")
        async with service.session.get("/api/ready") as response:
            assert response.status == 503
        assert lines(log, "own_queries_unchecked")[0]["queries"] == ["conversations.page"]
        with database:
            assert await service.ended() == 2
        assert has_line(log, f"chat-api: SQL_DIR: {problem}; {MEND}")


async def test_a_database_that_is_not_migrated_says_nothing_about_own_queries(
    settings: Settings, file: Path, sql: Any
) -> None:
    await sql.execute("alter table conversations rename column is_favorited to is_starred")
    await sql.execute("delete from _yoyo_migration where migration_id = $1", migration_ids()[-1])
    async with launched(settings, file) as (service, log):
        await service.notified("READY=1")
        assert lines(log, "own_queries") != []
    with pytest.raises(asyncpg.UndefinedColumnError):
        await sql.fetch("select is_favorited from conversations")
