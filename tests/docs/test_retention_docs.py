"""docs/operations/retention.md: its commands, pasted into a shell, do what it says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from chat_api.dev.postgres.installation import binaries
from tests.support.queries import Chat, Connection, tick

CONVERSATION = "00000000-0000-4000-8000-000000000001"


@pytest.fixture
def page(checkout: Path) -> Path:
    """The page."""
    return checkout / "docs" / "operations" / "retention.md"


def blocks_of(page: Path) -> list[str]:
    """The page's commands."""
    return re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)


async def run(page: Path, database_url: str, folder: Path, user_id: object, *, only: str = "") -> str:
    """Run the page's commands, or those of one block and what they need, and return their output."""
    blocks = blocks_of(page)
    if only:
        blocks = ["\n".join(blocks[1].splitlines()[:5]) + "\n", *(block for block in blocks if only in block)]
    path = f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = await asyncio.to_thread(
        subprocess.run,
        ["sh", "-e", "-c", "".join(blocks)],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
        env={
            **os.environ, "PATH": path, "PSQLRC": os.devnull,
            "DATABASE_URL": database_url, "USER_ID": str(user_id),
            "CONVERSATION_ID": CONVERSATION,
        },
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


async def age(sql: Connection, chat: Chat, days: int) -> None:
    """Make a conversation that old."""
    past = f"now() - interval '{days} days'"
    await sql.execute(f"update conversations set updated_at = {past} where id = $1", chat.id)
    await sql.execute(
        f"update generations set finished_at = {past},"
        f" id = cast(left(chat_uuid7_at({past})::text, 18) || substr(id::text, 19) as uuid)"
        " where conversation_id = $1",
        chat.id,
    )


async def talked(sql: Connection, days: int = 0) -> Chat:
    """A question and its answer, of that age."""
    chat = await Chat().open(sql)
    begun = await chat.begin(sql)
    await chat.speak(sql, (begun, 0, [{}]))
    await chat.finish(sql, begun)
    if days:
        await age(sql, chat, days)
    return chat


async def test_the_commands_for_cron_delete_what_they_say(
    page: Path, sql: Connection, database_url: str, tmp_path: Path
) -> None:
    for _ in range(3):
        await talked(sql, 366)
    late, young = await talked(sql, 31), await talked(sql)
    await run(page, database_url, tmp_path, uuid4(), only="retention.sweep")
    assert {row["id"] for row in await sql.fetch("select id from conversations")} == {late.id, young.id}
    rows = await sql.fetch("select conversation_id from generations")
    assert [row["conversation_id"] for row in rows] == [young.id]
    assert await sql.fetchval("select count(*) from messages") == 4


async def test_a_user_is_exported_and_deleted_by_psql(
    page: Path, sql: Connection, database_url: str, tmp_path: Path
) -> None:
    chat, other = await talked(sql), await talked(sql)
    await run(page, database_url, tmp_path, chat.user_id, only="users.export")
    lines = (tmp_path / "export.jsonl").read_text().splitlines()
    assert len(lines) == 5
    assert {row["id"] for row in await sql.fetch("select id from conversations")} == {other.id}
    assert await sql.fetchval("select count(*) from journal") == 1


async def test_all_of_them_run_one_after_the_other(
    page: Path, sql: Connection, database_url: str, tmp_path: Path
) -> None:
    chat = await talked(sql)
    await talked(sql, 400)
    printed = await run(page, database_url, tmp_path, chat.user_id)
    assert "after 365 days: 1 conversation with 2 messages would be deleted" in printed
    assert f"exported 1 conversation, 2 messages and 1 answer record of {chat.user_id}" in printed
    assert f"deleted 1 conversation, 2 messages and 1 answer record of {chat.user_id}" in printed
    assert f"set: conversation {CONVERSATION} since " in printed
    assert f"lifted: conversation {CONVERSATION} since " in printed
    assert await sql.fetchval("select count(*) from conversations") == 0


@pytest.mark.parametrize("only", ["retention.sweep", "users.delete"])
def test_without_a_database_they_come_to_an_end(page: Path, tmp_path: Path, only: str) -> None:
    """Cron gets a failure, and no loop runs for ever."""
    (block,) = (block for block in blocks_of(page) if only in block)
    ask = 'ask() { psql "$DATABASE_URL" -XAtq -F \' \' "$@"; }\n'
    done = subprocess.run(
        ["sh", "-c", block if "ask()" in block else ask + block],
        capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path,
        env={
            **os.environ, "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "DATABASE_URL": f"postgresql:///none?host={tmp_path}", "USER_ID": str(uuid4()),
        },
    )  # fmt: skip
    assert "connection to server" in done.stderr
    assert only == "users.delete" or done.returncode == 2


def test_every_link_and_script_that_it_names_is_there(page: Path, checkout: Path) -> None:
    text = page.read_text()
    links = re.findall(r"\]\(([^)#]+)\)", text)
    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []
    folder = checkout / "deploy" / "postgresql" / "partition-messages"
    assert {path.name for path in folder.iterdir()} == set(
        re.findall(r"^\| `([\w-]+\.sql)`", text, re.MULTILINE)
    )


async def test_the_tables_are_set_as_it_says(sql: Connection) -> None:
    rows = await sql.fetch(
        "select relname, reloptions from pg_class where reloptions is not null and relkind = 'r'"
    )
    options = {row["relname"]: dict(each.split("=") for each in row["reloptions"]) for row in rows}
    assert options["workers"]["fillfactor"] == "50"
    assert options["workers"]["autovacuum_vacuum_threshold"] == "1000"
    assert options["journal"]["autovacuum_vacuum_cost_delay"] == "0"
    assert options["journal"]["autovacuum_vacuum_insert_threshold"] == "-1"
    of = "autovacuum_vacuum_scale_factor"
    assert {table: options[table][of] for table in ("journal", "generations", "conversations")} == {
        "journal": "0",
        "generations": "0",
        "conversations": "0.05",
    }
    counts = ("autovacuum_vacuum_threshold", "autovacuum_analyze_threshold")
    assert [options["generations"][each] for each in counts] == ["10000", "100000"]
    assert [options["journal"][each] for each in counts] == ["20000", "200000"]
    assert options["messages"]["autovacuum_freeze_min_age"] == "0"
    assert {table for table in options if "fillfactor" in options[table]} == {
        "allowances",
        "spending",
        "workers",
    }


async def test_a_lease_is_renewed_in_its_page_and_seldomer_than_it_ticks(sql: Connection) -> None:
    worker = uuid4()
    for _ in range(50):
        await tick(sql, worker, seconds=15.0)
    await sql.execute("select pg_stat_force_next_flush()")
    row = await sql.fetchrow(
        "select n_tup_upd as updated, n_tup_hot_upd as hot from pg_stat_user_tables where relname = 'workers'"
    )
    assert row is not None
    assert (row["updated"] < 10, row["hot"]) == (True, row["updated"])
