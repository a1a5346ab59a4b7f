"""The commands of docs/operations/privileges.md work, from an empty cluster to the wall and back."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from chat_api.dev.postgres.installation import binaries
from chat_api.postgres.queries import load_queries
from chat_api.settings.database_url import parse_dsn
from tests.http.test_admin import USERS
from tests.privileges.conftest import url_of

NAMES = ("chat_owner", "chat_service_2", "chat_service", "old_service")


@pytest.fixture
def names(postgres_dsn: str) -> Iterator[dict[str, str]]:
    """The guide's names, each replaced by a name for this test."""
    mark = uuid4().hex[:8]
    renamed = {name: f"r{mark}{name}" for name in NAMES}
    yield {**renamed, "database chat": f"database d{mark}"}
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        admin.execute(f"drop database if exists d{mark} with (force)")
        for role in renamed.values():
            admin.execute(f"drop role if exists {role}")


def test_its_statements_and_commands_work_in_their_order(
    checkout: Path, postgres_dsn: str, names: dict[str, str]
) -> None:
    text = (checkout / "docs" / "operations" / "privileges.md").read_text()
    for name, own in names.items():
        text = re.sub(rf"\b{name}\b", own, text)
    blocks = re.findall(r"```(sql|sh)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) > 8
    database = names["database chat"].removeprefix("database ")
    inside = replace(parse_dsn(postgres_dsn), database=database).libpq()
    environment = {
        **os.environ,
        "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PSQLRC": os.devnull,
        "OWNER_URL": url_of(names["chat_owner"], inside),
        "SERVICE_URL": url_of(names["chat_service"], inside),
    }
    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        for role in ("chat_service_2", "old_service"):
            admin.execute(f"create role {names[role]} login")
        for statement in blocks.pop(0)[1].split(";"):
            admin.execute(statement.encode())
    with psycopg.connect(environment["OWNER_URL"], autocommit=True) as owner:
        owner.execute(USERS)
    printed = ""
    for kind, block in blocks:
        command = ["sh", "-ec", block] if kind == "sh" else ["psql", "-X", inside, "-v", "ON_ERROR_STOP=1"]
        done = subprocess.run(
            command, input=block if kind == "sql" else None, cwd=checkout, env=environment,
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (done.returncode, "ERROR" in done.stderr) == (0, False), (block, done.stderr)
        printed += done.stdout
    assert f"{len(load_queries())} queries fit" in printed
    assert f"{len(load_queries())} queries fit" in text
    assert (printed.count(" | t\n"), printed.count(" | f\n")) == (7, 7)
    wall = re.findall(r"^ (\w+) +\| t$", printed, re.MULTILINE)
    assert re.findall(r"^ (\w+) +\| t$", text, re.MULTILINE) == wall
    policies = text.partition("The policies let through:")[2].partition("\nA statement that")[0]
    assert set(re.findall(r"`(\w+)`", policies)) == set(wall)


def test_its_table_names_every_table_that_the_service_may_touch(checkout: Path, owner_url: str) -> None:
    text = (checkout / "docs" / "operations" / "privileges.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)`", text, re.MULTILINE))
    with psycopg.connect(owner_url) as session:
        tables = session.execute("select object from service_rights where privilege <> 'execute'").fetchall()
    assert {name for (name,) in tables} - documented == set()


def test_its_links_lead_somewhere(checkout: Path) -> None:
    page = checkout / "docs" / "operations" / "privileges.md"
    text = page.read_text()
    anchors = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^#+ (.+)$", text, re.M)
    }
    for link in re.findall(r"\]\(([^)]+)\)", text):
        path, _, anchor = link.partition("#")
        assert (page.parent / path).exists() if path else anchor in anchors, link
