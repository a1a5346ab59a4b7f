"""What a command says if the database refuses its statement: what is wrong, and what to do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from chat_api.cli import main
from chat_api.settings.database_url import parse_dsn
from tests.support.queries import Connection
from tests.support.standby import replicated

Said = Callable[..., str]
USER = "00000000-0000-4000-8000-000000000001"
READERS = {
    "budget list": "budgets",
    f"user export {USER}": "conversations",
    "retention --days 30": "messages",
    "sql explain conversations.page": "generations",
}
"""Commands that only read, and the table that a role without rights may not read first."""
WRITERS = (
    f"budget set --user {USER} --period day --answers 1",
    f"budget remove {USER}",
    f"user delete {USER} --yes",
    f"hold set --user {USER} --reason r",
    f"hold lift --user {USER}",
    "migrate rollback",
    "sql explain budgets.put",
)


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Said:
    """Run `chat-api …` on a database, which fails. Returns what stderr says, after the program's name."""

    def said(url: str, command: str) -> str:
        monkeypatch.setenv("DATABASE_URL", url)
        assert main(command.split()) == 1
        return capsys.readouterr().err.removeprefix("chat-api: ")

    return said


@pytest.fixture
def stranger(database_url: str) -> Iterator[str]:
    """This database for a role without any right on it."""
    role = f"stranger_{uuid4().hex}"
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(f"create role {role} login")
        yield replace(parse_dsn(database_url), user=role).libpq()
        admin.execute(f"drop owned by {role}")
        admin.execute(f"drop role {role}")


@pytest.mark.parametrize(
    "command", [*READERS, f"user delete {USER} --yes", f"budget remove {USER}", "sql plans --save plans.json"]
)
def test_a_database_that_was_never_migrated_is_named_and_how_to_migrate_it(
    said: Said, new_database: Callable[..., str], command: str
) -> None:
    url = new_database()
    name = parse_dsn(url).database
    assert said(url, command).endswith(
        f": there are no tables of the service in the database {name}: run `chat-api migrate` first, or let "
        "DATABASE_URL name another one\n"
    )


async def test_a_table_that_an_earlier_release_has_not_made_asks_for_a_migration(
    said: Said, sql: Connection, database_url: str
) -> None:
    await sql.execute("drop table budgets cascade")
    assert said(database_url, "budget list") == (
        'cannot work with the database: relation "budgets" does not exist; the database lacks what this '
        "release needs: run `chat-api migrate`, and `chat-api sql check` shows everything that is wrong\n"
    )


@pytest.mark.parametrize("command", READERS)
async def test_a_role_without_the_right_is_told_whose_database_url_has_it(
    said: Said, sql: Connection, stranger: str, command: str
) -> None:
    owner = await sql.fetchval("select current_user")
    role = parse_dsn(stranger).user
    assert said(stranger, command).endswith(
        f": permission denied for table {READERS[command]}; {role} lacks that right: use the DATABASE_URL of "
        f"a role that has it, such as the owner of the tables, {owner}\n"
    )


async def test_a_closed_schema_is_told_with_the_statement_that_opens_it(
    said: Said, sql: Connection, stranger: str
) -> None:
    await sql.execute("revoke usage on schema public from public")
    owner = await sql.fetchval("select current_user")
    role = parse_dsn(stranger).user
    assert said(stranger, "budget list").endswith(
        f": the schema public is closed to {role}, which can't see its tables: "
        f"grant usage on schema public to {role} -- as {owner}\n"
    )


def test_what_writes_asks_for_the_primary_on_a_standby_and_what_reads_works_there(
    said: Said, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with replicated() as pair:
        standby = pair.standby.dsn()
        for command in (*WRITERS, "sql explain limits.prune"):
            assert said(standby, command).endswith(
                "; this is a standby, or was made read-only: let DATABASE_URL name the primary\n"
            ), command
        monkeypatch.setenv("DATABASE_URL", standby)
        for command in (*READERS, "hold list", "sql health", "sql describe"):
            assert main(command.split()) == 0, command
