"""docs/operations/standby.md: its commands set a standby up, see its lag and read reports there."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psycopg
import pytest

from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from tests.support.processes import ROOT, free_port
from tests.support.queries import Chat
from tests.support.standby import catch_up


async def run(block: str, **variables: str) -> str:
    """Run a block of the page. Returns what it prints."""
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-e", "-c", block],
        capture_output=True, text=True, timeout=60, check=False,
        env={
            **os.environ,
            "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT), **variables,
        },
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL can use as another user, too, as it has to where tests run as root."""
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


async def test_its_commands_set_a_standby_up_and_read_reports_there(checkout: Path, folder: Path) -> None:
    page = (checkout / "docs" / "operations" / "standby.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    commands = [block for block in blocks if not block.startswith("DATABASE_URL=postgresql:")]  # a setting
    set_up, make_synchronous, lag, report = commands
    fast = {"fsync": "off"}
    with Postgres(folder / "primary", settings=fast, tcp_port=free_port()) as primary:
        apply_migrations(primary.dsn())
        await run(set_up, PRIMARY=primary.dsn(), PGDATA=str(folder / "standby"))
        with Postgres(folder / "standby", settings=fast, tcp_port=free_port()) as standby:
            servers = {"PRIMARY": primary.dsn(), "STANDBY": standby.dsn()}
            await run(make_synchronous, **servers)
            connection = await asyncpg.connect(primary.dsn())
            chat = await Chat().open(connection)
            await chat.finish(connection, await chat.begin(connection))
            await connection.close()
            catch_up(primary.dsn(), standby.dsn())
            said = await run(lag, **servers)
            assert re.search(r"^ok +standby_lag chat_standby is .* \(streaming, quorum\)$", said, re.M)
            assert re.search(r"^ok +standby_lag this standby is [\d.]+ s behind$", said, re.M)
            assert f"queries fit {standby.dsn()}" in said

            make_role, _, read = report.rpartition("\npsql")
            for _ in range(2):  # a role that is there already stays as it is
                await run(make_role, **servers)
            catch_up(primary.dsn(), standby.dsn())
            assert f" {chat.id} |        2 | " in await run(f"psql{read}", **servers)
            assert refused_views(standby.dsn().replace("postgres@", "chat_reports@")) == ["limits"]


def refused_views(url: str) -> list[str]:
    """The reports that can't be read there."""
    refused = []
    with psycopg.connect(url, autocommit=True) as session:
        views = session.execute(
            "select table_name from information_schema.views where table_schema = 'chat_report'"
        ).fetchall()
        assert len(views) > 3
        for (view,) in views:
            try:
                session.execute(f"select * from chat_report.{view}")
            except psycopg.errors.FeatureNotSupported:
                refused.append(view)
    return refused
