"""pg_dump and pg_restore, as in docs/operations/upgrades-and-backups.md."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from chat_api.cli import main
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from chat_api.settings.database_url import parse_dsn
from tests.conftest import FAST, Start
from tests.support.chat import Chat, Client, Sql, until
from tests.support.model_server import ModelServer
from tests.support.processes import ROOT
from tests.support.programs import missing
from tests.support.queries import Chat as Rows
from tests.support.reader import read_events, text_of

DEBIANS = Path("/usr/lib/postgresql/15/bin")
TABLES = ("conversations", "messages", "generations", "workers", "journal", "_yoyo_migration")
PAGE = ROOT / "docs" / "operations" / "upgrades-and-backups.md"
# The text that the page's commands remove from table definitions; in a message it must stay.
OPTION = "\n ALTER COLUMN id SET (pg_attver=1);\n"
SAID = "ਸਮੋਸਾ 🥟 ' \\ \n\u2028"


async def tool(program: Path, *arguments: str | Path, **where: Any) -> tuple[int, str]:
    """Run a program for at most a minute: its exit status and output, which must be empty if it succeeds."""
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, **where
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def dump(url: str, file: Path, *options: str, programs: Path | None = None) -> None:
    dumped = await tool(
        (programs or binaries(None)) / "pg_dump",
        "--format=custom", *options, f"--file={file}", parse_dsn(url).libpq(),
    )  # fmt: skip
    assert dumped == (0, "")


async def restore(file: Path, url: str, *options: str) -> tuple[int, str]:
    return await tool(
        binaries(None) / "pg_restore",
        "--exit-on-error", *options, f"--dbname={parse_dsn(url).libpq()}", file,
    )  # fmt: skip


async def move(file: Path, url: str) -> tuple[int, str]:
    """Restore as the page does for a dump from an older PostgreSQL."""
    (block,) = re.findall(
        "^```sh\n(.*?)^```$", section("Move to a newer PostgreSQL"), re.DOTALL | re.MULTILINE
    )
    variables = {
        "PATH": f"{binaries(None)}:{os.environ['PATH']}",
        "RESTORED": parse_dsn(url).libpq(),
    }
    return await tool(Path("sh"), "-ec", block, cwd=file.parent, env=os.environ | variables)


def section(title: str) -> str:
    """The page's text below a heading."""
    return PAGE.read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]


async def contents(url: str) -> dict[str, list[str]]:
    """Every row of every table."""
    connection = await asyncpg.connect(url)
    try:
        return {
            table: [
                row[0]
                for row in await connection.fetch(f"select cast(t as text) from {table} as t order by 1")
            ]
            for table in TABLES
        }
    finally:
        await connection.close()


@pytest.fixture
def new_database(postgres: Postgres) -> Iterator[Callable[[], str]]:
    """Make empty databases, which are dropped when the test ends."""
    names: list[str] = []

    def make() -> str:
        names.append(f"restored_{uuid4().hex}")
        admin.execute(f"create database {names[-1]}")
        return postgres.dsn(names[-1])

    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        yield make
        for name in names:
            admin.execute(f"drop database {name} with (force)")


def fits(url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Check that `migrate status` and `sql check` find nothing wrong."""
    monkeypatch.setenv("DATABASE_URL", url)
    assert main(["migrate", "status"]) == 0, capsys.readouterr()
    capsys.readouterr()
    assert main(["sql", "check"]) == 0, capsys.readouterr().out


async def test_a_restored_database_is_as_the_dumped_one_and_the_service_goes_on_with_it(
    chat: Chat,
    user: dict[str, str],
    model: ModelServer,
    start: Start,
    settings: Settings,
    tmp_path: Path,
    new_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    post = {"json": {"content": SAID}, "headers": {**user, "Idempotency-Key": "k"}}
    model.say = [SAID, "!"]
    async with chat.client.post(f"{chat.path}/messages", **post) as response:
        seen = await read_events(response)
    await dump(settings.database_url, tmp_path / "chat.dump")
    before, restored = await contents(settings.database_url), new_database()
    assert await restore(tmp_path / "chat.dump", restored, "--no-owner", "--no-privileges", "--jobs=2") == (
        0,
        "",
    )
    found = await contents(restored)
    assert {**found, "workers": []} == {**before, "workers": []}  # which renews its lease
    assert found["journal"]
    fits(restored, monkeypatch, capsys)
    service = await start(settings.model_copy(update={"database_url": restored}))
    async with service.post(f"{chat.path}/messages", **post) as response:
        assert await read_events(response) == seen, "a retry finds its answer"
    assert text_of(await Chat(service, chat.path, user).exchange(model)) == f"{SAID}!"


@pytest.mark.parametrize("options", [["--exclude-table-data=workers"], []], ids=["as advised", "everything"])
async def test_answers_that_were_running_during_the_dump_are_kept_as_far_as_they_had_come(
    client: Client,
    user: dict[str, str],
    model: ModelServer,
    start: Start,
    settings: Settings,
    sql: Sql,
    tmp_path: Path,
    new_database: Callable[[], str],
    options: list[str],
) -> None:
    settings = settings.model_copy(update={"worker_lease": 2.0})
    living = await start(settings)
    chats = [await _open(living, user) for _ in range(8)]
    begun = [await chat.begin(model) for chat in chats]
    over = asyncio.Event()

    async def talk() -> str:
        said = ""
        while not over.is_set():
            said += f"{len(said)} "
            for _, call, _ in begun:
                call.say(f"{said.split()[-1]} ")
            await asyncio.sleep(0.02)
        return said

    talking = asyncio.create_task(talk())

    async def written() -> bool:
        return bool(
            await sql.fetchval("select count(distinct generation_id) = 8 from journal where next_seq > 5")
        )

    await until(written)
    await dump(settings.database_url, tmp_path / "chat.dump", *options)
    over.set()
    said = await talking
    for stream, call, _ in begun:
        call.finish()
        assert text_of(await read_events(stream)) == said, "nobody noticed the dump"

    restored = new_database()
    assert await restore(tmp_path / "chat.dump", restored, "--no-owner", "--no-privileges") == (0, "")
    service = await start(settings.model_copy(update={"database_url": restored}))
    for chat in chats:
        copy = Chat(service, chat.path, user)

        async def ended(copy: Chat = copy) -> bool:
            return len(await copy.messages()) == 2

        await until(ended)
        (_, (role, content, reason)) = await copy.messages()
        assert (role, reason) == ("assistant", "interrupted")
        assert said.startswith(content)
        assert len(content.split()) > 3
    assert text_of(await copy.exchange(model, "on")) == "on"


async def _open(client: Client, user: dict[str, str]) -> Chat:
    response = await client.post("/api/conversations", headers=user)
    return Chat(client, f"/api/conversations/{(await response.json())['id']}", user)


@pytest.fixture
def debians(tmp_path: Path) -> Iterator[Postgres]:
    """Debian's PostgreSQL 15, with an owner for the database."""
    if not (DEBIANS / "postgres").exists():
        missing("Debian's PostgreSQL 15 is not installed: make packages")
    with Postgres(tmp_path / "debians", settings=FAST, programs=DEBIANS) as server:
        with psycopg.connect(server.dsn(), autocommit=True) as admin:
            admin.execute("create role owner_on_15 login")
            admin.execute("create database chat owner owner_on_15")
        yield server


@pytest.mark.parametrize("programs", [DEBIANS, None], ids=["pg_dump 15", "pg_dump 18"])
async def test_a_dump_of_postgresql_15_goes_into_18_and_to_another_owner(
    debians: Postgres,
    programs: Path | None,
    tmp_path: Path,
    new_database: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    url = replace(parse_dsn(debians.dsn("chat")), user="owner_on_15").libpq()
    apply_migrations(url)
    connection: Any = await asyncpg.connect(url)
    rows = await Rows().open(connection, SAID)
    generation = await rows.begin(connection, content=SAID)
    await rows.speak(connection, (generation, 0, [{"token": SAID}]))
    await rows.finish(connection, generation, content=f"{SAID}{OPTION}")
    assert await connection.fetchval("select current_setting('server_version_num')::int / 10000") == 15
    await connection.close()
    await dump(url, tmp_path / "chat.dump", programs=programs)
    status, complaint = await restore(tmp_path / "chat.dump", new_database())
    assert status != 0
    assert 'role "owner_on_15" does not exist' in complaint
    restored = new_database()
    assert await move(tmp_path / "chat.dump", restored) == (0, "")
    assert await contents(restored) == await contents(url)
    fits(restored, monkeypatch, capsys)
