"""`chat-api sql describe`: the data dictionary is what the database says of itself."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from uuid import uuid4

import psycopg
import pytest

from chat_api.cli import main
from chat_api.commands.sql.schema import expected_schema
from chat_api.migrate.apply import apply_migrations
from tests.migrate import earlier
from tests.support.queries import Connection

Run = Callable[..., tuple[int, str]]
VIEWS = {"live_workers", "running_answers", "failures", "table_health", "conversation_sizes", "limits"}


@pytest.fixture
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated, empty database; the environment's DATABASE_URL names it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `chat-api sql describe …`. Returns its exit status and output."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["sql", "describe", *arguments])
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


def tables(markdown: str) -> dict[str, list[list[str]]]:
    """The rows below each heading, as cells."""
    found: dict[str, list[list[str]]] = {}
    for line in markdown.splitlines():
        if line.startswith("## "):
            found[line.removeprefix("## ")] = []
        elif line.startswith("| `"):
            found[list(found)[-1]].append([cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return found


def test_it_has_every_column_with_its_type_and_its_comment(run: Run, configured: str) -> None:
    status, text = run()
    assert status == 0
    found = tables(text)
    columns = {f"{name}.{row[0].strip('`')}" for name, rows in found.items() for row in rows}
    assert {name for kind, name in expected_schema() if kind == "column"} <= columns
    assert {name.rpartition(".")[2] for name in found} >= VIEWS
    assert "chat_report.failures" in found
    assert found["messages"][1] == [
        "`conversation_id`",
        "uuid, references `conversations`",
        "no",
        "",
        "The conversation that it belongs to, and with which it is deleted.",
    ]
    assert found["messages"][0][1:4] == ["uuid, primary key", "no", "`chat_uuid7()`"]
    assert found["chat_report.failures"][0] == ["`day`", "date", "The day in UTC on which the answers began."]
    assert {len(row) for rows in found.values() for row in rows} == {3, 5}
    assert "\n## journal\n\nSlices of the generations' events" in text
    assert "—" not in text


async def test_what_a_dba_added_is_in_it_too(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("alter table messages add column mine integer, add column yours text default 'a|b'")
    await sql.execute("comment on column messages.yours is 'Either a | b,\nor nothing.'")
    await sql.execute("create table theirs (id integer)")
    await sql.execute("create view chat_report.theirs as select 1 as id")
    await sql.execute("comment on column chat_report.theirs.id is 'Always one.'")
    found = tables(run()[1])
    assert found["chat_report.theirs"] == [["`id`", "integer", "Always one."]]
    assert found["messages"][-2:] == [
        ["`mine`", "integer", "yes", "", "—"],
        ["`yours`", "text", "yes", "`'a\\|b'::text`", "Either a \\| b, or nothing."],
    ]
    assert "theirs" not in found


def test_a_role_without_a_right_on_any_table_reads_it(
    run: Run, configured: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{uuid4().hex}"
    before = run()
    with psycopg.connect(configured, autocommit=True) as admin:
        admin.execute(f"create role {role} login")
        admin.execute("revoke usage on schema public from public")
        try:
            monkeypatch.setenv("DATABASE_URL", re.sub(r"//[^@/]*@?", f"//{role}@", configured, count=1))
            assert run()[1].replace("public.", "") == before[1]
        finally:
            admin.execute(f"drop owned by {role}")
            admin.execute(f"drop role {role}")


async def test_an_adopted_database_reads_the_same_but_for_its_own_tables(
    run: Run, configured: str, sql: Connection
) -> None:
    fresh = tables(run()[1])
    await sql.execute("drop schema public cascade; create schema public; drop schema chat_report")
    earlier.make(configured, is_favorited=False)
    apply_migrations(configured)
    adopted = tables(run()[1])
    assert adopted.keys() == fresh.keys()
    assert {name: {row[0] for row in rows} for name, rows in adopted.items()} == {
        name: {row[0] for row in rows} for name, rows in fresh.items()
    }
    assert "users" not in adopted


def test_programs_get_it_as_json(run: Run, configured: str) -> None:
    status, text = run("--json")
    assert status == 0
    found = {entry["name"]: entry for entry in json.loads(text)}
    assert (found["journal"]["kind"], found["failures"]["kind"]) == ("table", "view")
    assert found["failures"]["schema"] == "chat_report"
    assert found["messages"]["columns"][1] == {
        "name": "conversation_id",
        "type": "uuid",
        "is_required": True,
        "default": None,
        "is_key": False,
        "references": "conversations",
        "comment": "The conversation that it belongs to, and with which it is deleted.",
    }


# What Mermaid's grammar takes in an entity-relationship diagram.
RELATIONSHIP = r"    \w+ \|\|--o\{ \w+ : \w+"
ATTRIBUTE = r"        [A-Za-z_][\w\[\]()-]* [A-Za-z_]\w*(?: (?:PK|FK|PK, FK))?"


async def test_the_diagram_is_one_that_mermaid_draws(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute('alter table messages add column "my own" numeric(10, 2)')
    status, text = run("--mermaid")
    assert status == 0
    first, *lines = text.splitlines()
    assert first == "erDiagram"
    odd = [
        line for line in lines if not re.fullmatch(rf"{RELATIONSHIP}|{ATTRIBUTE}|    \w+ \{{|    \}}", line)
    ]
    assert odd == []
    assert "    conversations ||--o{ generations : conversation_id" in lines
    assert "        uuid generation_id PK" in lines
    assert "        numeric(10_2) my_own" in lines
    assert "running_answers" not in text


async def test_of_a_partitioned_table_it_shows_the_whole_alone(
    run: Run, configured: str, sql: Connection
) -> None:
    await sql.execute(
        "alter table messages rename to before;"
        "create table messages (like before including defaults including comments)"
        " partition by hash (conversation_id);"
        "create table messages_p0 partition of messages for values with (modulus 1, remainder 0)"
    )
    found = tables(run()[1])
    assert "messages" in found
    assert "messages_p0" not in found


async def test_a_database_without_the_service_says_so(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("drop schema public cascade; create schema public; drop schema chat_report cascade")
    status, text = run()
    assert status == 1
    name = await sql.fetchval("select current_database()")
    assert text == (
        f"chat-api: there are no tables of the service in the database {name}: run `chat-api migrate` first, "
        "or let DATABASE_URL name another one\n"
    )


def test_two_forms_at_once_are_refused(run: Run, configured: str) -> None:
    assert run("--json", "--mermaid") == (
        2,
        "chat-api: --json and --mermaid are two forms of the same: give one of them\n",
    )
