"""docs/operations/moving.md: its commands move a used service to another server and back, losing nothing."""

from __future__ import annotations

import asyncio
import itertools
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import psycopg
import pytest

from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import ROOT, Service, free_port, open_conversation
from tests.support.programs import missing
from tests.support.reader import text_of

DEBIANS = Path("/usr/lib/postgresql/15/bin")
LOGICAL = {"fsync": "off", "wal_level": "logical"}


@dataclass
class Move:
    """Both servers, and the page's commands in their order."""

    old: str
    new: str
    own_migrations: Path
    blocks: list[str]

    async def run(self, *numbers: int) -> str:
        """Run these blocks. Returns what they print."""
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-e", "-c", "".join(self.blocks[number] for number in (TABLES, *numbers))],
            capture_output=True, text=True, timeout=60, check=False,
            env={
                **os.environ,
                "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PYTHONPATH": str(ROOT), "OLD": self.old, "NEW": self.new,
                "NEW_OWNER": as_role(self.new, "chat_owner"), "MIGRATIONS_DIR": str(self.own_migrations),
            },
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


def as_role(url: str, role: str) -> str:
    """A URL of this database for another role."""
    return url.replace("postgres@", f"{role}@")


TABLES, PREPARE, COPY, FOLLOW, SWITCH, COMPARE, TURN_AROUND, GO_BACK, AGAIN = range(9)


@pytest.fixture(params=[None, DEBIANS], ids=["18 to 18", "15 to 18"])
def move(checkout: Path, request: pytest.FixtureRequest) -> Iterator[Move]:
    """Two servers: one with roles and a migrated database that has own columns, and one with nothing."""
    if request.param and not (request.param / "postgres").exists():
        missing("Debian's PostgreSQL 15 is not installed: make packages")
    page = (checkout / "docs" / "operations" / "moving.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 9
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may have to run as another user
        with (
            Postgres(folder / "old", settings=LOGICAL, tcp_port=free_port(), programs=request.param) as old,
            Postgres(folder / "new", settings=LOGICAL, tcp_port=free_port()) as new,
        ):
            own = folder / "own-migrations"
            own.mkdir()
            for number, column in enumerate(("cabinet", "shelf"), start=1):
                (own / f"local-000{number}.add-{column}.sql").write_text(
                    f"alter table conversations add column if not exists {column} text default 'in \u0a16';"
                )
            with psycopg.connect(old.dsn(), autocommit=True) as admin:
                for role in ("chat_owner", "chat_service", "chat_reports"):
                    admin.execute(f"create role {role} login")
                admin.execute("create database chat owner chat_owner")
            owner = as_role(old.dsn("chat"), "chat_owner")
            apply_migrations(owner, "chat_service")
            with psycopg.connect(owner, autocommit=True) as session:
                # On the new side, the other one comes first.
                session.execute("alter table conversations add column shelf text default 'in \u0a16'")
                session.execute("select chat_grant_reader('chat_reports')")
            apply_migrations(owner, "chat_service", local=str(own))
            yield Move(old.dsn("chat"), new.dsn("chat"), own, blocks)


async def fetch(url: str, query: str, *values: object) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


async def said(url: str, path: str) -> list[tuple[object, ...]]:
    """What a conversation holds, in its order."""
    query = "select content, finish_reason from messages where conversation_id = $1 order by position"
    return await fetch(url, query, UUID(path.rpartition("/")[2]))


async def answered(service: Service, model: ModelServer, path: str, user: dict[str, str], key: str) -> None:
    """A question, and its whole answer."""
    reader = Persistent(itertools.repeat(service.session), path, user, key)
    asked = asyncio.create_task(reader.ask(key))
    call = await model.call()
    call.say(f"{key} ")
    call.finish("it is")
    assert text_of(await asked) == f"{key} it is"


async def drain(service: Service) -> None:
    service.send(signal.SIGTERM)
    assert await service.ended() == 0


# The number of rows in usage, which triggers write; and what a budget's sums say that was used.
USED = """select (select count(*) from usage) as runs, chat_spent(cast(row(
    scope, user_id, model_tag, period, unit, currency, amount) as chat_budget)) as spent from budgets"""


async def test_its_commands_move_a_used_service_there_and_back(
    move: Move, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    await fetch(
        move.old,
        "insert into budgets (scope, period, unit, amount) values ('everybody', 'day', 'answers', 99)",
    )
    service_url = as_role(move.old, "chat_service")
    settings = settings.model_copy(update={"database_url": service_url, "drain_seconds": 3.0})
    async with Service(settings) as service:
        path, short, long = [await open_conversation(service.session, user) for _ in range(3)]
        await answered(service, model, path, user, "first")
        await move.run(PREPARE)
        await move.run(COPY)
        await answered(service, model, path, user, "second")
        assert "chat_move" in await move.run(FOLLOW)
        readers = [Persistent(itertools.repeat(service.session), each, user) for each in (short, long)]
        asked, calls = [], []
        for reader in readers:
            asked.append(asyncio.create_task(reader.ask("k")))
            calls.append(await model.call())
            calls[-1].say("begun")
            await reader.has(2)
        service.send(signal.SIGTERM)
        calls[0].finish(" and done")
        ended = [(await each)[-1].data["finish_reason"] for each in asked]
        assert ended == ["stop", "interrupted"]
        assert readers[1].seen[-2].data["error"] == "draining"
        assert await service.ended() == 0

    owners = "select distinct tableowner from pg_tables where schemaname = 'public'"
    assert await fetch(move.new, owners) == [("chat_owner",)]
    assert await fetch(move.new, "select chat_readers()") == [("chat_reports",)]
    await move.run(SWITCH)
    assert await move.run(COMPARE) == ""
    await fetch(move.new, "update budgets set amount = 98")
    assert re.findall(r"^\w+", await move.run(COMPARE), re.M) == ["budgets", "budgets"]
    await fetch(move.new, "update budgets set amount = 99")
    before = [await said(move.old, each) for each in (path, short, long)]
    assert [await said(move.new, each) for each in (path, short, long)] == before
    assert before[1:] == [
        [("hi", None), ("begun and done", "stop")],
        [("hi", None), ("begun", "interrupted")],
    ]
    assert await fetch(move.new, USED) == await fetch(move.old, USED)
    await move.run(TURN_AROUND)

    moved = settings.model_copy(update={"database_url": as_role(move.new, "chat_service")})
    async with Service(moved) as service:
        for each in (path, long):
            await answered(service, model, each, user, "third")
        await drain(service)
    assert await said(move.new, path) == [*before[0], ("third", None), ("third it is", "stop")]
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        await fetch(move.old, "delete from conversations")

    await move.run(GO_BACK)
    assert await move.run(COMPARE) == ""
    async with Service(settings) as service:
        await answered(service, model, path, user, "fourth")
        await drain(service)
    assert [content for content, _ in await said(move.old, path)] == [
        "first", "first it is", "second", "second it is", "third", "third it is", "fourth", "fourth it is",
    ]  # fmt: skip
    assert await fetch(move.old, USED) == [(7, 7)]
    assert await fetch(move.old, "select slot_name from pg_replication_slots") == []

    await move.run(AGAIN)
    await move.run(COPY)
    await move.run(FOLLOW)
    await move.run(SWITCH)
    assert await move.run(COMPARE) == ""
    assert await fetch(move.new, "select count(*) from spending") == [(0,)]
