"""Rules for every statement of sql/."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import asyncpg
import orjson
from pydantic import BaseModel

from chat_api.bodies import Conversation, Generation, ListedConversation, Message
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.postgres.database import CONSTRAINTS
from chat_api.postgres.queries import load_queries
from tests.conftest import FAST
from tests.migrate import earlier
from tests.support.queries import Chat, Connection, call_with_anything, one, opened, shown

QUERIES = sorted(load_queries())


async def test_every_query_runs_against_the_migrated_schema(sql: Connection) -> None:
    for name in QUERIES:
        await call_with_anything(sql, name)


def statements(checkout: Path) -> Iterator[tuple[str, str, str, str]]:
    """The (name, parameters, head, statement) of each query, read as a DBA reads them."""
    for path in sorted((checkout / "sql").glob("*.sql")):
        for block in re.split(r"^-- name: ", path.read_text(), flags=re.MULTILINE)[1:]:
            first, _, rest = block.partition("\n")
            head, statement = re.fullmatch(r"((?:-- [^\n]*\n)*)(.*)", rest, re.DOTALL).groups()  # type: ignore[union-attr]
            name, _, declared = first.partition("(")
            yield f"{path.stem}.{name}", declared.partition(")")[0], head, statement


def test_every_query_has_its_sentence_and_carries_its_name(checkout: Path) -> None:
    seen = list(statements(checkout))
    assert sorted(name for name, _, _, _ in seen) == QUERIES
    for name, _, head, statement in seen:
        assert re.match(r"-- [A-Z]", head), name
        assert head.rstrip().endswith("."), name
        assert statement.partition("\n")[0].endswith(f" -- {name}"), name
        assert statement.rstrip().endswith(";"), name
        assert not re.search(r"(\b(select|returning)|[.,])\s*\*", statement), name  # columns by name
        assert load_queries()[name].text.partition("\n")[0].endswith(f" -- {name}")


def test_parameters_are_declared_and_bound_in_the_order_in_which_they_appear(checkout: Path) -> None:
    for name, declared, _, statement in statements(checkout):
        used = list(dict.fromkeys(re.findall(r"(?<![:\w]):([a-z_]+)", statement)))
        assert tuple(used) == load_queries()[name].parameters, name
        assert sorted(declared.split(", ") if declared else []) == sorted(used), name


def run_commands_of_the_readme(checkout: Path, database_url: str) -> str:
    """Run the README's commands, and return their output."""
    blocks = re.findall(r"```sh\n(.*?)```", (checkout / "sql" / "README.md").read_text(), re.DOTALL)
    path = f"{binaries(None)}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    printed = subprocess.run(
        ["sh", "-e", "-c", "".join(blocks)],
        check=True,
        capture_output=True,
        text=True,
        cwd=checkout,
        env={**os.environ, "PATH": path, "DATABASE_URL": database_url, "PSQLRC": os.devnull},
    )
    assert "ERROR" not in printed.stderr
    return printed.stdout


async def test_the_readmes_commands_work_and_show_every_name_in_pg_stat_statements(
    tmp_path: Path, checkout: Path
) -> None:
    settings = {**FAST, "shared_preload_libraries": "pg_stat_statements"}
    with Postgres(tmp_path / "data", settings=settings) as server:
        apply_migrations(server.dsn())
        run_commands_of_the_readme(checkout, server.dsn())  # one command creates the extension
        connection = await asyncpg.connect(server.dsn())
        for name in QUERIES:
            await call_with_anything(connection, name)
        await connection.close()
        printed = run_commands_of_the_readme(checkout, server.dsn())
    # What costs most, after the README's other commands: one line for each query, with nine figures.
    costs = re.findall(r"^ (\w+\.\w+) +\|(?: +[\d.]+ \|){7} +\d+$", printed, re.MULTILINE)
    assert sorted(costs) == sorted(QUERIES)
    begun = re.search(r"^ usage.add_title .*\| +(\d+)$", printed, re.MULTILINE)
    assert begun is not None
    assert int(begun[1]) > 100  # bytes of WAL: it stored a row
    assert "Index Scan using" in printed or "Seq Scan" in printed


async def test_what_queries_return_is_what_callers_are_promised(sql: Connection) -> None:
    chat = Chat()
    made = {"user_id": chat.user_id, "title": "T", "model_tag": "default", "max_conversations": 0}
    created = await one(sql, "conversations.create", **made)
    assert created is not None
    chat.id = UUID(orjson.loads(created["conversation"])["id"])
    finished = await chat.begin(sql)
    assert await chat.finish(sql, finished) is not None
    running = await chat.begin(sql)
    changed = await chat.update(sql, is_favorited=True)
    got = await opened(sql, chat.id, chat.user_id)
    paged = await one(
        sql,
        "conversations.page",
        user_id=chat.user_id,
        before_updated_at=None,
        before_id=None,
        max_rows=2,
        skip=0,
    )
    exchange = await one(sql, "messages.exchange", generation_id=finished)
    assert changed is not None
    assert got is not None
    assert paged is not None
    assert exchange is not None
    for row in (created, changed, got):
        fits(Conversation, row["conversation"])
    fits(ListedConversation, paged["conversation"])
    for message in shown(got):
        fits(Message, orjson.dumps(message))
    fits(Message, exchange["question"])
    fits(Message, exchange["answer"])
    assert set(got.keys()) - {
        "conversation",
        "messages",
        "last_position",
        "end_position",
        "is_all",
        "has_more",
        "queued",
    } == {
        *(set(Generation.model_fields) - {"id", "conversation_id", "last_event_id"}),  # its type is known
        "generation_id",
        "last_seq",  # of last_event_id
        "unanswered_id",
        "unanswered_error",
        "unanswered_reason",
    }
    assert got["generation_id"] == running


def fits(model: type[BaseModel], text: str | bytes) -> None:
    """Check that the JSON has exactly the model's fields, in their order, each of its type."""
    found = orjson.loads(text)
    assert list(found) == list(model.model_fields)
    model.model_validate_json(text, strict=True)
    assert all(re.search(r"[+-]\d\d:\d\d$", found[key]) for key in found if key.endswith("_at"))


async def test_nulls_of_an_earlier_service_read_as_defaults(sql: Connection) -> None:
    chat = await Chat().open(sql, title=None)
    await sql.execute("update conversations set model_tag = null")
    await chat.say(sql, "assistant", "what?")
    await chat.say(sql, "system", "be kind", at=1)
    got = await opened(sql, chat.id, chat.user_id)
    assert got is not None
    fits(Conversation, got["conversation"])
    conversation, messages = orjson.loads(got["conversation"]), shown(got)
    assert (conversation["title"], conversation["model_tag"]) == ("New conversation", "default")
    for message, reason in zip(messages, ["stop", None], strict=True):
        fits(Message, orjson.dumps(message))
        assert (message["token_count"], message["model_tag"], message["inference_time_ms"]) == (0, "", 0)
        assert message["finish_reason"] == reason


async def test_every_constraint_that_is_told_to_callers_exists(sql: Connection, database_url: str) -> None:
    await sql.execute("drop schema public cascade; create schema public")
    earlier.make(database_url, is_favorited=True, rows=False)  # with a foreign key to users
    apply_migrations(database_url)
    names = {
        row["name"]
        for row in await sql.fetch(
            "select conname as name from pg_constraint union select indexname from pg_indexes"
        )
    }
    assert set(CONSTRAINTS) - names == set()


def calls(checkout: Path) -> Iterator[tuple[str, set[str] | None]]:
    """The (query, keyword arguments) of each call of `Database.row` and `.rows`.

    The arguments are None if a dict is passed on, and for the database's own statements.
    """
    for path in (checkout / "chat_api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="row" | "rows" | "stream"), args=[ast.Constant(str(name))]
                ):
                    words = {keyword.arg for keyword in node.keywords}
                    yield name, None if None in words else {word for word in words if word}
                case ast.Subscript(value=ast.Attribute(attr="_queries"), slice=ast.Constant(str(name))):
                    yield name, None


def test_every_query_has_a_caller_and_every_caller_a_query(checkout: Path) -> None:
    assert {name for name, _ in calls(checkout)} == set(QUERIES)


def test_every_caller_gives_the_parameters_that_the_query_names(checkout: Path) -> None:
    for name, given in calls(checkout):
        assert given is None or given == set(load_queries()[name].parameters), name


def test_no_statement_is_written_or_built_in_python(checkout: Path) -> None:
    statement = re.compile(
        r"\b(select\s.+\sfrom|insert\s+into|update\s+\w+\s+set|delete\s+from|with\s+\w+\s+as\s*\()",
        re.IGNORECASE | re.DOTALL,
    )
    found = []
    for path in (checkout / "chat_api").rglob("*.py"):
        # Migrations talk to the server before there is a schema, and so does the launcher of `dev`.
        if path.relative_to(checkout / "chat_api").parts[0] in ("migrate", "dev"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Constant(str(text)) if statement.search(text):
                    found.append(f"{path.name}:{node.lineno}: {text}")
    assert found == []


WALLED = re.compile(
    r"\b(conversations|(inactive_|queued_)?messages|generations|journal|chat_spent|(?<!:)usage)\b"
)


def test_every_query_says_for_whom_it_works(checkout: Path) -> None:
    """Otherwise it would see nothing behind the second wall (deploy/postgresql), or claim too much."""
    for name, _, _, statement in statements(checkout):
        said = re.findall(r"\(select (chat_for_\w+)\(", statement)
        if WALLED.search(re.sub("--.*|'.*?'", "", statement)):
            # The queries of users.sql, and this one, are about all conversations of one user at once.
            of_many = name.startswith("users.") or name == "usage.forget"
            taken = "user_id" in load_queries()[name].parameters and not of_many
            assert said == ["chat_for_user" if taken else "chat_for_everyone"], name
        else:
            assert said == [], name


async def test_the_readme_shows_every_query_and_index(sql: Connection, checkout: Path) -> None:
    text = (checkout / "sql" / "README.md").read_text()
    assert sorted(re.findall(r"^\| `(\w+\.\w+)` \|", text, re.MULTILINE)) == QUERIES
    names = {row["relname"] for row in await sql.fetch("select relname from pg_class")}
    assert set(re.findall(r"`((?:idx|uq)_\w+|\w+_pkey)`", text)) - names == set()
    (quoted,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert quoted in (checkout / "sql" / "generations.sql").read_text()
