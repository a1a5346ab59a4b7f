"""docs/operations/reports.md: its statements and commands work, and its examples look like their output."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from chat_api.commands.sql.health import checks
from chat_api.dev.postgres.installation import binaries
from chat_api.settings.database_url import parse_dsn
from tests.docs.page import names, table
from tests.privileges.conftest import url_of
from tests.support.queries import Chat, Connection


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """The name of the page's role in this test."""
    name = f"chat_reports_{uuid4().hex[:8]}"
    yield name
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"drop owned by {name}")
        admin.execute(f"drop role {name}")


@pytest.fixture
def text(checkout: Path, database_url: str, role: str) -> str:
    """The page, with this test's names."""
    page = (checkout / "docs" / "operations" / "reports.md").read_text()
    database = parse_dsn(database_url).database
    return page.replace("on database chat ", f"on database {database} ").replace("chat_reports", role)


async def test_its_commands_work_in_their_order_and_its_examples_look_like_their_output(
    text: str, sql: Connection, database_url: str, owner_url: str, role: str, tmp_path: Path
) -> None:
    chat = await Chat().open(sql)
    limits = [{"name": "sends_per_user", "subject": str(chat.user_id), "every": "60 s", "period": "60 s"}]
    await sql.execute(
        "insert into budgets (scope, period, unit, amount) values ('each', 'day', 'tokens', 999)"
    )
    lost = await chat.begin(sql, limits=json.dumps(limits))
    await chat.finish(sql, lost, status="failed", finish_reason="error", error_code="inference_unavailable")
    await chat.speak(sql, (await chat.begin(sql), 0, [{}]))
    blocks = re.findall(r"```(sql|sh)\n(.*?)```(?:\n\n```\n(.*?)```)?", text, re.DOTALL)
    assert [kind for kind, _, _ in blocks].count("sql") == 1
    environment = {
        **os.environ,
        "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PSQLRC": os.devnull,
        "OWNER_URL": owner_url,
        "READER_URL": url_of(role, database_url),
        "DATABASE_URL": url_of(role, database_url),
    }
    reports = 0
    for kind, block, example in blocks:
        if kind == "sql":
            for statement in block.split(";")[:-1]:
                await sql.execute(statement)
            continue
        done = await asyncio.to_thread(
            subprocess.run, ["sh", "-e", "-c", block], env=environment, cwd=tmp_path, timeout=60, check=False,
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), block
        if "chat_report." in block:
            reports += 1
            head, _, *rows = done.stdout.splitlines()
            assert not rows[0].startswith("(0 rows"), block
            assert head.split() == example.splitlines()[0].split(), block
    assert reports == 7
    assert (tmp_path / "dictionary.md").read_text().startswith("# Data dictionary\n")
    assert (tmp_path / "diagram.mmd").read_text().startswith("erDiagram\n")
    assert json.loads((tmp_path / "dictionary.json").read_text())


async def test_every_view_has_an_example(text: str, sql: Connection, role: str) -> None:
    await sql.execute(f"create role {role}")
    views = await sql.fetch("select relname from pg_class where relnamespace = 'chat_report'::regnamespace")
    shown = set(re.findall(r"from chat_report\.(\w+)", text))
    assert {row["relname"] for row in views} == shown


def test_every_check_of_health_is_explained() -> None:
    explained = [name for row in table("reports.md", "Health") for name in names(row[0])]
    assert set(explained) == checks().keys() - {"index_density_exact"}
