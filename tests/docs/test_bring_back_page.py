"""docs/operations/upgrades-and-backups.md, "Bring back one conversation": its commands do what it says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from chat_api.commands.sql.schema import expected_schema
from chat_api.dev.postgres.installation import binaries
from chat_api.settings.database_url import parse_dsn
from tests.commands.test_user_command import forked, talked
from tests.support.queries import Connection
from tests.support.queries import run as query

EXPORT = 'chat-api user export "$USER_ID" --conversation "$CONVERSATION_ID"'
HEADING = "\n## Bring back one conversation\n"


@pytest.fixture
def commands(checkout: Path) -> list[str]:
    """The section's blocks of commands: find it, and bring it back."""
    page = (checkout / "docs" / "operations" / "upgrades-and-backups.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page.partition(HEADING)[2].partition("\n## ")[0], re.DOTALL)
    assert len(blocks) == 2
    return blocks


@pytest.fixture
async def aside(sql: Connection) -> AsyncIterator[str]:
    """A name for the database in which the backup is restored. Afterwards there is none of that name."""
    name = f"aside_{uuid4().hex}"
    yield name
    await sql.execute(f"drop database if exists {name} with (force)")


class Shell:
    """Runs commands as the page's reader does."""

    def __init__(self, folder: Path, database_url: str, aside: str) -> None:
        self.folder = folder
        self.dsn = parse_dsn(database_url)
        self.aside = aside

    async def run(self, block: str, **variables: object) -> str:
        """Run them. Returns what they print."""
        url = re.escape("postgresql://…/chat_aside")
        block = re.sub(url, f"'{replace(self.dsn, database=self.aside).libpq()}'", block)
        done = await asyncio.to_thread(
            subprocess.run,
            ["sh", "-e", "-c", block.replace("chat_aside", self.aside)],
            capture_output=True, text=True, timeout=120, check=False, cwd=self.folder,
            env={
                **os.environ,
                "PATH": f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}",
                "PSQLRC": os.devnull,
                "DATABASE_URL": self.dsn.libpq(),
                "ASIDE": replace(self.dsn, database=self.aside).libpq(),
                **{name: str(value) for name, value in variables.items()},
            },
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout


async def test_a_conversation_comes_back_from_a_backup_and_all_else_stays(
    commands: list[str], sql: Connection, database_url: str, tmp_path: Path, aside: str
) -> None:
    find, bring_back = commands
    lost = await forked(sql, uuid4())
    kept = await talked(sql, lost.user_id, "stays")
    await sql.execute("update conversations set title = 'ਸਮੋਸਾ' where id = $1", lost.id)
    shell = Shell(tmp_path, database_url, aside)
    shown, of_lost = await lost.texts(sql), {"USER_ID": lost.user_id, "CONVERSATION_ID": lost.id}
    of_kept = {**of_lost, "CONVERSATION_ID": kept.id}
    before = await shell.run(EXPORT, **of_lost)
    await shell.run('pg_dump --format=custom --exclude-table-data=workers --file=chat.dump "$DATABASE_URL"')
    await sql.execute("delete from conversations where id = $1", lost.id)
    await kept.finish(sql, await kept.begin(sql, content="since"), content="since!")
    since = await shell.run(EXPORT, **of_kept)

    assert f"{lost.id} | ਸਮੋਸਾ" in await shell.run(find, **of_lost)
    is_open = await sql.fetchval(
        "select bool_or(grantee = 0 and privilege_type = 'CONNECT')"
        " from pg_database cross join lateral aclexplode(coalesce(datacl, acldefault('d', datdba)))"
        " where datname = $1",
        aside,
    )
    assert is_open is False, "nobody else may connect"
    said = await shell.run(bring_back, **of_lost)
    assert re.search(
        rf"^imported 1 conversation, \d+ messages and \d+ answer records of {lost.user_id}, "
        r"and 0 rows of usage$",
        said,
        re.M,
    )
    assert await lost.texts(sql) == shown
    assert await shell.run(EXPORT, **of_lost) == before
    assert await shell.run(EXPORT, **of_kept) == since
    assert not await sql.fetchval("select exists (select from pg_database where datname = $1)", aside)


async def test_what_retention_deleted_is_due_again_unless_it_is_held(
    commands: list[str], sql: Connection, database_url: str, tmp_path: Path, aside: str
) -> None:
    chat = await talked(sql, uuid4(), "old")
    await sql.execute("update conversations set updated_at = now() - interval '400 days'")
    shell = Shell(tmp_path, database_url, aside)
    await shell.run('pg_dump --format=custom --file=chat.dump "$DATABASE_URL"')
    await sql.execute("delete from conversations")
    await sql.execute("insert into legal_hold (conversation_id, reason) values ($1, 'wanted back')", chat.id)
    await shell.run("".join(commands), USER_ID=chat.user_id, CONVERSATION_ID=chat.id)

    async def due() -> int:
        (row,) = await query(
            sql, "retention.due", days=365, favourites=False, generation_days=0, first_block=0, blocks=1000
        )
        number: int = row["conversations"]
        return number

    assert await due() == 0
    await sql.execute("delete from legal_hold")
    assert await due() == 1
    await sql.execute("update conversations set is_favorited = true")
    assert await due() == 0


def test_the_page_says_of_every_table_whether_a_dump_has_it(checkout: Path) -> None:
    page = (checkout / "docs" / "operations" / "upgrades-and-backups.md").read_text()
    contents = page.partition("\nThe dump contains:\n")[2].partition("\nTest your backups")[0]
    named = {name for bold in re.findall(r"\*\*(.+?)\*\*", contents) for name in bold.split(", ")}
    tables = {name.partition(".")[0] for kind, name in expected_schema() if kind == "column"}
    assert tables - named == set()


def test_its_contents_lead_to_every_section(checkout: Path) -> None:
    page = (checkout / "docs" / "operations" / "upgrades-and-backups.md").read_text()
    contents, _, rest = page.partition("\n## ")
    titles = re.findall(r"^## (.+)$", f"## {rest}", re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
    assert len(anchors) > 8
    assert anchors - set(re.findall(r"\]\(#([\w-]+)\)", contents)) == set()
