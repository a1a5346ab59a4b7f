"""docs/operations/own-sql.md: its commands, in their order, do what it says, also over a release."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.settings import Settings
from chat_api.settings.neighbours import NeighbourSettings
from tests.migrate import releases
from tests.support.processes import ROOT, Service

LATER = "9000.add-note"
UPGRADE = "look at these queries"


@pytest.fixture
def page(checkout: Path) -> str:
    """The page."""
    return (checkout / "docs" / "operations" / "own-sql.md").read_text()


@pytest.fixture
def next_release(tmp_path: Path) -> Path:
    """The next release: one more column, which conversations.page now returns."""
    tree = releases.following(
        tmp_path / "next", "99.0.0", add_note="alter table conversations add column if not exists note text;"
    )
    file = tree / "sql" / "conversations.sql"
    text = file.read_text()
    page = text.index("-- name: page(")
    column = text.index("        is_favorited,\n", page)
    file.write_text(f"{text[:column]}        note,\n{text[column:]}")
    return tree


def run(block: str, folder: Path, tree: Path, database_url: str) -> str:
    """Run a block of the page in that folder, with the code of that tree. Returns what it prints."""
    done = subprocess.run(
        ["sh", "-e", "-c", block],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
        env={
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(tree),
            "DATABASE_URL": database_url,
            "SQL_DIR": str(folder / "own-sql"),
            "MIGRATIONS_DIR": str(folder / "own-migrations"),
        },
    )  # fmt: skip
    assert done.returncode == 0, (block, done.stdout, done.stderr)
    return done.stdout


async def listed(settings: Settings, folder: Path, user: dict[str, str], tree: Path) -> list[str]:
    """The titles in a user's list, as a service of that tree with these queries shows it."""
    own = settings.model_copy(update={"sql_dir": str(folder / "own-sql")})
    async with (
        Service(own, "--allow-newer-schema", tree=tree, PYTHONPATH=str(tree)) as service,
        service.session.get("/api/conversations", headers=user) as response,
    ):
        return [item["title"] for item in (await response.json())["items"]]


async def test_its_commands_work_in_their_order_over_a_release(
    page: str,
    tmp_path: Path,
    next_release: Path,
    settings: Settings,
    database_url: str,
    user: dict[str, str],
    sql: Any,
) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    *before, upgrade = blocks
    assert UPGRADE in upgrade
    async with Service(settings) as service:
        for title in ("new", "old", "archived"):
            given = {"title": title}
            async with service.session.post("/api/conversations", json=given, headers=user) as response:
                assert response.status == 201
    await sql.execute("update conversations set created_at = now() - interval '3 years' where title = 'old'")
    printed = [run(block, tmp_path, ROOT, database_url) for block in before]
    change = printed[2]
    assert "+        and created_at > now() - interval '2 years'\n" in change
    assert re.search(r"^conversations\.page +\S*own-sql/conversations\.sql:1 ", change, re.MULTILINE)
    assert "queries fit" in change
    assert "local-0001.add-archived" in printed[3]
    assert "applied local-0002.index-unarchived" in printed[3]
    assert "queries fit" in printed[4]
    await sql.execute("update conversations set is_archived = true where title = 'archived'")
    assert await listed(settings, tmp_path, user, ROOT) == ["new"]

    told = run(upgrade, tmp_path, next_release, database_url)
    assert f"applied {LATER}\n" in told
    assert "query conversations.page has changed in this release since the own one was copied" in told
    assert "-        note,\n" in told
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("select migration_id from _yoyo_migration order by applied_at_utc desc")
        assert [name for (name,) in rows.fetchmany(3)] == [
            LATER,
            "local-0002.index-unarchived",
            "local-0001.add-archived",
        ]
        found = connection.execute(
            "select count(*) from pg_indexes where indexname = 'idx_local_conversations_unarchived'"
        ).fetchone()
        assert found == (1,)
    # The old program with its query, and the new one, both serve until the query is brought up to date.
    for tree in (ROOT, next_release):
        assert await listed(settings, tmp_path, user, tree) == ["new"]
    back = "chat-api migrate rollback; chat-api migrate status || test $? -eq 3"
    status = run(back, tmp_path, next_release, database_url)
    assert [line.split()[0] for line in status.splitlines() if " pending" in line] == [LATER]


def test_the_page_names_both_settings(page: str) -> None:
    for name in ("sql_dir", "migrations_dir"):
        assert name in NeighbourSettings.model_fields
        assert f"| `{name.upper()}` |" in page


COPY = "mkdir -p own-sql own-migrations; rm -f own-sql/*; chat-api sql copy conversations.page"


def test_a_field_inside_the_json_passes_and_a_column_beside_it_does_not(
    tmp_path: Path, database_url: str
) -> None:
    inside = f"""{COPY}
        sed -i 's/^        is_favorited,$/&\\n        true as is_mine,/' own-sql/conversations.sql
        chat-api sql diff conversations.page | grep "^+ *true as is_mine"; chat-api sql check"""
    assert "queries fit" in run(inside, tmp_path, ROOT, database_url)
    beside = f"""{COPY}
        sed -i 's/^    c.updated_at,$/&\\n    true as is_mine,/' own-sql/conversations.sql
        chat-api sql check || test $? -eq 1"""
    assert "conversations.page returns" in run(beside, tmp_path, ROOT, database_url)


def test_a_query_that_a_release_no_longer_has_is_named_and_ends_the_check(
    page: str, tmp_path: Path, database_url: str
) -> None:
    assert "end with 2" in page
    gone = f"""{COPY}
        sed -i 's/conversations.page/conversations.leaf/; s/name: page/name: leaf/' own-sql/*.sql
        chat-api sql check 2>&1 || echo "status $?" """
    said = run(gone, tmp_path, ROOT, database_url)
    assert "own-sql/conversations.sql:1: " in said
    assert "no query conversations.leaf" in said
    assert said.endswith("status 2\n")
