"""`chat-api sql` as the service's role: each missing right is reported with the statement that grants it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from chat_api.cli import main
from chat_api.dev.postgres.installation import binaries
from chat_api.postgres.queries import load_queries
from tests.privileges.conftest import OWNER, SERVICE, Script
from tests.support.queries import Chat, Connection


@pytest.fixture(autouse=True)
def _configured(service_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", service_url)


def test_with_its_rights_all_is_well(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "check"]) == 0, capsys.readouterr().out


async def test_a_right_that_is_missing_is_told_once_with_the_statement_that_grants_it(
    sql: Connection, owner: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await sql.execute(f"revoke all on journal, _yoyo_migration from {SERVICE}")
    assert main(["sql", "check"]) == 1
    *lines, remedy = capsys.readouterr().out.splitlines()
    assert "query journal.prune permission denied for table journal" in lines
    assert "query maintenance.applied_migrations permission denied for table _yoyo_migration" in lines
    assert all(line.startswith("query ") for line in lines), lines
    assert remedy == f"    select chat_grant('{SERVICE}') -- as {OWNER}"
    await owner.execute(remedy)
    assert main(["sql", "check"]) == 0


@pytest.mark.usefixtures("wall")
def test_with_messages_partitioned_and_behind_the_wall_it_lacks_nothing(
    script: Script, capsys: pytest.CaptureFixture[str]
) -> None:
    for step in ("1-prepare", "2-copy", "3-swap", "swap-back", "3-swap", "4-finish"):
        script(f"partition-messages/{step}.sql")
        assert main(["sql", "check"]) == 0, (step, capsys.readouterr().out)


@pytest.mark.parametrize("name", ["row-security.sql", "partition-messages/1-prepare.sql"])
def test_a_script_for_the_owner_tells_anybody_else_whose_it_is(
    checkout: Path, service_url: str, name: str
) -> None:
    done = subprocess.run(
        [binaries(None) / "psql", "-X", "-q", service_url, "-f", checkout / "deploy" / "postgresql" / name],
        capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PSQLRC": os.devnull},
    )  # fmt: skip
    assert done.returncode == 3
    assert f", {OWNER}, and you are {SERVICE}" in done.stderr


async def test_a_schema_that_is_closed_to_it_is_not_taken_for_an_empty_one(
    sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    await sql.execute(
        f"alter schema public owner to chat_owner;revoke usage on schema public from public, {SERVICE}"
    )
    assert main(["sql", "check", "--json"]) == 1
    (found,) = json.loads(capsys.readouterr().out)["findings"]
    assert (found["kind"], found["name"]) == ("schema", "public")
    assert found["problem"] == f"is closed to {SERVICE}, which can't see its tables"
    assert found["remedy"] == f"grant usage on schema public to {SERVICE} -- as {OWNER}"
    await sql.execute(found["remedy"])
    assert main(["sql", "check"]) == 0


@pytest.mark.usefixtures("wall")
async def test_behind_the_wall_explain_still_draws_its_parameters_from_the_data(
    sql: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql))
    running = await chat.begin(sql)
    await chat.speak(sql, (running, 0, [{}]))
    for name in load_queries():
        assert main(["sql", "explain", name]) == 0, capsys.readouterr()
        printed = capsys.readouterr().out
        assert "holds no conversation" not in printed
    assert main(["sql", "explain", "conversations.get"]) == 0
    assert str(chat.id) in capsys.readouterr().out
    assert main(["sql", "check"]) == 0
