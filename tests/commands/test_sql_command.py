"""`chat-api sql`, as a DBA runs it."""

from __future__ import annotations

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.cli import main
from chat_api.commands.session import connected
from chat_api.commands.sql.catalog import read_catalog
from chat_api.commands.sql.samples import draw
from chat_api.commands.sql.schema import EXPECTED, as_text, read_schema
from chat_api.dev.postgres.installation import binaries
from chat_api.folders import migration_ids
from chat_api.migrate.apply import rollback_migrations
from chat_api.postgres.queries import load_queries
from tests.migrate import earlier
from tests.support.queries import Chat, Connection

QUERIES = sorted(load_queries())
NOWHERE = "postgresql://u:hunter2@127.0.0.1:1/none"
TABLES = ("conversations", "messages", "inactive_messages", "generations", "journal", "workers")
NOBODY = "00000000-0000-0000-0000-000000000000"


@pytest.fixture
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated, empty database; the environment's DATABASE_URL names it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


Run = Callable[..., tuple[int, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `chat-api sql …`. Returns its exit status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["sql", *arguments])
        written = capsys.readouterr()
        assert not (written.out and written.err)
        return status, written.out + written.err

    return run


@pytest.fixture
async def chat(sql: Connection) -> Chat:
    """A conversation with two versions of an answer, and a running one with events in the journal."""
    chat = await Chat().open(sql)
    for kind in ("send", "regenerate"):
        await chat.finish(sql, await chat.begin(sql, kind=kind))
    running = await chat.begin(sql)
    await chat.speak(sql, (running, 0, [{"token": "a"}, {"token": "b"}]))
    return chat


async def contents(sql: Connection) -> list[Any]:
    """The contents of the tables, with each row's physical place."""
    return [
        await sql.fetch(f"select ctid, xmax, t::text from {table} as t order by ctid") for table in TABLES
    ]


# list and show


def test_list_names_every_query_its_place_its_caller_and_what_it_does(
    run: Run, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    status, text = run("list")
    assert status == 0
    lines = text.splitlines()
    assert sorted(line.split()[0] for line in lines[::2]) == QUERIES
    for head, description in zip(lines[::2], lines[1::2], strict=True):
        name, place, callers, often = re.fullmatch(r"(\S+) +(\S+) +(.+?): (.+)", head).groups()  # type: ignore[union-attr]
        path, line = place.split(":")
        at_place = (checkout / path).read_text().splitlines()[int(line) - 1]
        assert at_place.startswith(f"-- name: {name.partition('.')[2]}("), name
        assert callers != "nobody"
        assert often == read_catalog()[name].usage.how_often
        assert re.fullmatch(r"    [A-Z][^.]+\.", description), name


def test_list_reads_for_programs_too(run: Run) -> None:
    status, text = run("list", "--json")
    assert status == 0
    entries = {entry["name"]: entry for entry in json.loads(text)}
    assert sorted(entries) == QUERIES
    stop = entries["generations.stop"]
    assert stop["parameters"] == ["conversation_id", "user_id", "generation_id"]
    assert stop["returns"] == "one row or none"
    assert (stop["when"], stop["how_often"], stop["indexes"]) == (
        "the stop button, or a message that takes the answer's place",
        "by hand",
        "uq_generations_running",
    )
    assert Path(stop["file"]).is_file()


def test_who_calls_a_query_is_who_hands_its_name_to_the_database(checkout: Path) -> None:
    package = checkout / "chat_api"
    calls: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case (
                    ast.Call(
                        func=ast.Attribute(attr="row" | "rows" | "stream"), args=[ast.Constant(str(name))]
                    )
                    | ast.Subscript(value=ast.Attribute(attr="_queries"), slice=ast.Constant(str(name)))
                ):
                    module = ".".join(path.relative_to(package).with_suffix("").parts)
                    calls.setdefault(name, set()).add(module)
    assert {name: set(query.callers) for name, query in read_catalog().items()} == calls


def test_show_has_the_query_to_the_letter(run: Run, checkout: Path) -> None:
    for name in QUERIES:
        status, text = run("show", name)
        assert status == 0
        text_of_file = read_catalog()[name].text
        assert text.startswith(text_of_file + "\n"), name
        assert text_of_file in (checkout / "sql" / f"{name.partition('.')[0]}.sql").read_text()
        assert text_of_file.endswith(";"), name
        assert text_of_file.count("-- name: ") == 1, name
        _, as_json = run("show", name, "--json")
        shown = json.loads(as_json)
        assert sorted(shown["parameters"]) == sorted(load_queries()[name].parameters)
        assert shown["comment"].startswith(shown["description"])
        assert shown["sql"] in text_of_file


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "chat_api", "sql", "list"],
            stdout=writing, stderr=subprocess.PIPE, text=True, timeout=30, check=False,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def psql(database_url: str, script: str, **variables: str | None) -> subprocess.CompletedProcess[str]:
    """Run the real psql, with values in quotes, as in sql/README.md."""
    quoted = {name: "null" if value is None else f"'{value}'" for name, value in variables.items()}
    given = [word for name, value in quoted.items() for word in ("-v", f"{name}={value}")]
    return subprocess.run(
        [binaries(None) / "psql", "-X", "-v", "ON_ERROR_STOP=1", *given, database_url],
        input=script, capture_output=True, text=True, timeout=30, check=False,
        env={**os.environ, "PSQLRC": os.devnull},
    )  # fmt: skip


@pytest.mark.usefixtures("chat")
def test_what_show_prints_runs_in_psql_with_each_value_in_quotes(run: Run, configured: str) -> None:
    for name, query in read_catalog().items():
        with connected(configured) as connection:
            samples = draw(connection, query, {})
        values = {parameter: sample.value for parameter, sample in samples.values.items()}
        _, script = run("show", name)
        done = psql(configured, f"begin;\n{script}\nrollback;", **values)
        assert (done.returncode, done.stderr) == (0, ""), name
        assert "ROLLBACK" in done.stdout


# check


def test_a_migrated_database_is_well(run: Run, configured: str) -> None:
    status, text = run("check")
    assert status == 0
    assert text.startswith(f"{len(QUERIES)} queries fit postgresql://")
    status, text = run("check", "--json")
    assert status == 0
    found = json.loads(text)
    assert (found["ok"], found["queries"], found["findings"]) == (True, len(QUERIES), [])


async def test_an_adopted_database_is_well(run: Run, configured: str, sql: Connection) -> None:
    from chat_api.migrate.apply import apply_migrations

    await sql.execute("drop schema public cascade; create schema public")
    earlier.make(configured, is_favorited=False)
    apply_migrations(configured)
    assert run("check")[0] == 0


async def test_what_a_dba_added_is_no_drift(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("create index mine on messages (role); alter table messages add column mine integer")
    await sql.execute("create table theirs (id integer primary key)")
    assert run("check")[0] == 0


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        (
            "drop index idx_conversations_user_updated",
            (
                "index idx_conversations_user_updated is missing; needed by conversations.page,"
                " conversations.create, conversations.fork, responses.open, retention.clear, users.count,"
                " users.stop_answers, users.delete, users.export, users.page\n"
                "    CREATE INDEX CONCURRENTLY idx_conversations_user_updated"
                " ON conversations USING btree (user_id, updated_at DESC, id DESC)"
            ),
        ),
        (
            (
                "drop index idx_generations_unfinished_worker;"
                " create index idx_generations_unfinished_worker on generations (id)"
            ),
            (
                "index idx_generations_unfinished_worker is CREATE INDEX idx_generations_unfinished_worker"
                " ON generations USING btree (id); the migrations make it"
                " CREATE INDEX idx_generations_unfinished_worker ON generations USING btree (worker_id)"
                " WHERE finished_at IS NULL AND worker_id IS NOT NULL; needed by journal.tick"
            ),
        ),
        (
            "update pg_index set indisvalid = false where indexrelid = 'uq_generations_running'::regclass",
            (
                "index uq_generations_running is invalid: its build was aborted; needed by conversations.get,"
                " conversations.update, generations.start, generations.stop,"
                " maintenance.interrupt_orphans, messages.delete, queue.add, queue.next,"
                " queue.due, responses.add, retention.sweep, retention.clear, retention.due,"
                " users.stop_answers\n"
                "    REINDEX INDEX CONCURRENTLY uq_generations_running"
            ),
        ),
        (
            (
                "create index idx_local_titles on conversations (title);"
                " update pg_index set indisvalid = false where indexrelid = 'idx_local_titles'::regclass"
            ),
            (
                "index idx_local_titles is invalid: its build was aborted\n"
                "    REINDEX INDEX CONCURRENTLY idx_local_titles"
            ),
        ),
        (
            (
                "create index conversations_pkey_ccnew1 on conversations (id);"
                " update pg_index set indisvalid = false"
                " where indexrelid = 'conversations_pkey_ccnew1'::regclass"
            ),
            (
                "index conversations_pkey_ccnew1 is invalid: its build was aborted\n"
                "    DROP INDEX CONCURRENTLY conversations_pkey_ccnew1"
            ),
        ),
        (
            "alter table messages drop constraint messages_pkey",
            (
                "index messages_pkey is missing; needed by conversations.get, conversations.update,"
                " conversations.fork, conversations.untitled, generations.start, generations.finish,"
                " generations.bring_in, messages.delete, responses.get, responses.items, responses.message"
            ),
        ),
        (
            "alter table conversations alter column title type text",
            (
                "column conversations.title is text default 'New conversation'::character varying; the"
                " migrations make it character varying(500) default 'New conversation'::character varying"
            ),
        ),
        (
            "alter table conversations alter column id drop default",
            (
                "column conversations.id is uuid not null;"
                " the migrations make it uuid not null default chat_uuid7()"
            ),
        ),
        (
            "alter table generations drop constraint ck_generations_kind",
            "constraint generations.ck_generations_kind is missing",
        ),
        ("drop table workers cascade", "table workers is missing"),
        (
            "alter table messages drop column token_count",
            "query messages.exchange column m.token_count does not exist (sql/messages.sql:123)",
        ),
        (
            "drop function chat_uuid7 cascade",
            "query journal.disown function chat_uuid7() does not exist (sql/journal.sql:117)",
        ),
    ],
    ids=lambda value: re.sub(r"\W+", "-", value)[:60],
)
async def test_what_drifted_is_named(
    run: Run,
    configured: str,
    sql: Connection,
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
    lines: str,
) -> None:
    monkeypatch.chdir(checkout)
    await sql.execute(change)
    status, text = run("check")
    assert status == 1
    assert f"\n{lines}\n" in f"\n{text}"
    status, text = run("check", "--json")
    assert status == 1
    found = json.loads(text)
    assert not found["ok"]
    first = lines.partition("\n")[0]
    assert first in [f"{each['kind']} {each['name']} {each['problem']}" for each in found["findings"]]


async def test_the_place_that_a_complaint_names_is_where_the_file_says_so(
    run: Run, configured: str, sql: Connection, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(checkout)
    columns: dict[str, list[str]] = {}
    for row in await sql.fetch(
        "select table_name as table, column_name as name from information_schema.columns"
        " where table_schema = 'public' and table_name !~ 'yoyo'"
    ):
        columns.setdefault(row["table"], []).append(row["name"])
    files = {path.name: path.read_text().splitlines() for path in (checkout / "sql").glob("*.sql")}
    places = 0
    # One column of each table at once: a check prepares every query, so one for each column takes long.
    for round_ in zip_longest(*([(table, name) for name in names] for table, names in columns.items())):
        gone = list(filter(None, round_))
        for table, column in gone:
            await sql.execute(f"alter table {table} rename column {column} to gone")
        _, text = run("check")
        for table, column in gone:
            await sql.execute(f"alter table {table} rename column gone to {column}")
        for column, path, line in re.findall(
            r'column "?(?:\w+\.)?(\w+)"? does not exist \((\S+):(\d+)\)', text
        ):
            places += 1
            assert column in dict(gone).values()
            assert column in files[Path(path).name][int(line) - 1]
    assert places > 50
    assert run("check")[0] == 0


async def test_a_remedy_is_a_remedy(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("drop index idx_generations_unfinished_worker, uq_generations_running")
    await sql.execute("create index uq_generations_running on generations (conversation_id)")
    await sql.execute(
        "update pg_index set indisvalid = false"
        " where indexrelid = 'idx_messages_conversation_position'::regclass"
    )
    found = json.loads(run("check", "--json")[1])["findings"]
    assert len(found) == 4  # and `start` finds no index for its `on conflict`
    for each in found:
        for statement in each["remedy"].split("; ") if each["remedy"] else []:
            await sql.execute(statement)
    assert run("check")[0] == 0


async def test_pending_migrations_are_named(run: Run, configured: str) -> None:
    newest = migration_ids()[-1]
    rollback_migrations(configured)
    status, text = run("check")
    assert status == 1
    assert text.splitlines()[:2] == [f"migration {newest} is pending", "    chat-api migrate"]


async def test_a_database_that_was_never_migrated_says_so(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("drop schema public cascade; create schema public")
    status, text = run("check")
    assert status == 1
    assert all(f"migration {each} is pending" in text for each in migration_ids())
    assert "table journal is missing" in text
    assert "column journal" not in text


async def test_a_role_without_the_rights_is_told_of_each_query(
    run: Run, configured: str, sql: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{uuid4().hex}"
    await sql.execute(f"create role {role} login; grant select on all tables in schema public to {role}")
    try:
        monkeypatch.setenv("DATABASE_URL", re.sub(r"//[^@/]*@?", f"//{role}@", configured, count=1))
        status, text = run("check")
        assert status == 1
        assert "query journal.prune permission denied for table journal" in text
        assert "query conversations.page" not in text
    finally:
        await sql.execute(f"drop owned by {role}; drop role {role}")


@pytest.mark.parametrize("table", ["workers", "_yoyo_migration"])
async def test_a_locked_table_is_not_waited_for_for_long(
    run: Run, configured: str, sql: Connection, monkeypatch: pytest.MonkeyPatch, table: str
) -> None:
    monkeypatch.setattr("chat_api.commands.sql.check.LOCK_TIMEOUT", "20ms")
    async with sql.transaction():
        await sql.execute(f"lock table {table} in access exclusive mode")
        status, text = run("check")
    assert status == 1
    assert text.startswith("chat-api: cannot work with the database: it waited too long for a lock")


async def test_check_changes_nothing(run: Run, configured: str, sql: Connection, chat: Chat) -> None:
    before = await contents(sql)
    assert run("check")[0] == 0
    assert await contents(sql) == before


def test_what_the_migrations_make_is_written_down(database_url: str) -> None:
    with connected(database_url) as connection:
        assert as_text(read_schema(connection)) == EXPECTED.read_text(), "make schema writes it anew"


# explain


@pytest.mark.parametrize("name", QUERIES)
async def test_every_query_is_explained_on_an_empty_database(run: Run, configured: str, name: str) -> None:
    status, text = run("explain", name)
    assert status == 0, text
    assert "Execution Time" in text
    drawn = {"id", "conversation_id", "conversation_ids", "user_id", "generation_id", "ids", "worker_id"}
    wants_data = not drawn.isdisjoint(load_queries()[name].parameters)
    assert ("The database holds no conversation: ids are made up" in text) == wants_data


@pytest.mark.usefixtures("chat")
@pytest.mark.parametrize("options", [(), ("--generic",)])
@pytest.mark.parametrize("name", QUERIES)
async def test_every_query_is_explained_on_real_rows_and_changes_none(
    run: Run, configured: str, sql: Connection, name: str, options: tuple[str, ...]
) -> None:
    before = [[(row["ctid"], row["t"]) for row in table] for table in await contents(sql)]
    status, text = run("explain", name, *options)
    assert status == 0, text
    assert text.startswith(f"-- {name}, executed and rolled back\n")
    assert "Buffers: shared hit" in text or name == "maintenance.limit_statements"  # it reads no table
    assert "made up" not in text
    status, text = run("explain", name, "--json", *options)
    assert status == 0
    explained = json.loads(text)
    assert set(explained["parameters"]) == set(load_queries()[name].parameters)
    assert explained["note"] is None
    assert explained["plan"][0]["Plan"]["Actual Loops"] == 1
    assert [[(row["ctid"], row["t"]) for row in table] for table in await contents(sql)] == before


async def test_the_samples_are_of_one_piece(run: Run, configured: str, sql: Connection, chat: Chat) -> None:
    await Chat().open(sql)
    for name in ("conversations.get", "generations.attach", "generations.stop", "generations.start"):
        plan = json.loads(run("explain", name, "--json")[1])
        assert {sample["source"] for sample in plan["parameters"].values()} >= {"drawn from the data"}
        assert plan["parameters"]["user_id"]["value"] == str(chat.user_id)
        assert plan["plan"][0]["Plan"]["Actual Rows"] == 1, name


async def test_what_changes_the_tree_is_explained_with_its_messages(
    run: Run, configured: str, sql: Connection, chat: Chat
) -> None:
    other_version = await sql.fetchval("select id from inactive_messages")
    last = await sql.fetchval("select id from messages order by position desc limit 1")
    for name, parameter, message in (
        ("conversations.update", "active_message_id", other_version),
        ("conversations.fork", "message_id", last),
        ("messages.delete", "message_id", last),
    ):
        plan = json.loads(run("explain", name, "--json")[1])
        assert plan["parameters"][parameter] == {"value": str(message), "source": "drawn from the data"}
        assert plan["parameters"]["user_id"]["value"] == str(chat.user_id)
        assert plan["plan"][0]["Plan"]["Actual Rows"] == 1, name
    await sql.execute("delete from inactive_messages")  # as where nothing was ever said again
    plan = json.loads(run("explain", "conversations.update", "--json")[1])
    assert plan["parameters"]["active_message_id"] == {"value": None, "source": "usual value"}
    assert plan["note"] is None


async def test_statements_that_end_something_find_what_runs(
    run: Run, configured: str, sql: Connection, chat: Chat
) -> None:
    for name in ("generations.finish", "journal.tick", "journal.disown"):
        status, text = run("explain", name)
        assert status == 0
        assert re.search(r"(Insert on journal|Update on generations).*actual", text), name
    await sql.execute("update generations set status = 'completed', finished_at = now()")
    assert "No answer is running" in run("explain", "generations.finish")[1]


async def test_explaining_notifies_nobody(run: Run, configured: str, sql: Connection, chat: Chat) -> None:
    heard: list[str] = []
    await sql.add_listener("chat_journal", lambda *notification: heard.append(notification[3]))
    assert run("explain", "journal.tick")[0] == 0
    other = await asyncpg.connect(configured)
    await other.execute("select pg_notify('chat_journal', 'last')")
    await other.close()
    async with asyncio.timeout(5):
        while "last" not in heard:
            await sql.fetchval("select 1")
    assert heard == ["last"]


async def test_a_given_value_counts(run: Run, configured: str, sql: Connection, chat: Chat) -> None:
    other = await Chat(id=UUID(int=5)).open(sql)
    status, text = run(
        "explain", "conversations.get", "--param", f"id={other.id}", "--param", f"user_id={other.user_id}"
    )
    assert status == 0
    assert f"--   id = '{other.id}' (given)" in text
    assert re.search(r"on conversations .*rows=1", text)
    status, text = run("explain", "conversations.page", "--param", "before_id=null", "--param", "max_rows=2")
    assert status == 0
    assert "--   before_id = null (given)" in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["show", "generation.stop"], "there is no query 'generation.stop'; did you mean generations.stop?"),
        (["explain", "stopp"], "there is no query 'stopp'; did you mean generations.stop?"),
        (["show", "pages"], "there is no query 'pages'; did you mean conversations.page or users.page?"),
        (["explain", "xyz.ü"], "there is no query 'xyz.ü'; `chat-api sql list` shows all"),
        (
            ["explain", "generations.stop", "--param", "user_id"],
            "'user_id' isn't name=value for a parameter of generations.stop",
        ),
        (
            ["explain", "generations.stop", "--param", "notification=many"],
            (
                "'notification=many' isn't name=value for a parameter of generations.stop (conversation_id, "
                "user_id, generation_id)"
            ),
        ),
        (
            ["explain", "generations.stop", "--param", "user_id=me"],
            'generations.stop: invalid input syntax for type uuid: "me"',
        ),
        (["explain", "generations.stop", "--param", "user_id=\x00"], "generations.stop: PostgreSQL text"),
    ],
)  # fmt: skip
def test_a_wrong_name_or_value_ends_with_two_and_a_sentence(
    run: Run, configured: str, arguments: list[str], sentence: str
) -> None:
    status, text = run(*arguments)
    assert status == 2
    assert text.startswith("chat-api: ")
    assert sentence in text
    assert text.count("\n") == 1


@pytest.mark.parametrize("arguments", [["check"], ["explain", "conversations.page"]])
def test_without_a_database_it_fails_with_a_sentence(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    status, text = run(*arguments)
    assert status == 1
    assert text.startswith("chat-api: cannot connect to the database at postgresql://u@127.0.0.1:1/none")
    assert "hunter2" not in text


@pytest.mark.parametrize("arguments", [["list"], ["show", "generations.stop"]])
def test_to_read_the_queries_no_database_and_no_setting_is_needed(
    run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://nonsense")
    assert run(*arguments)[0] == 0


async def test_explaining_gives_up_in_time(run: Run, configured: str, sql: Connection, chat: Chat) -> None:
    await sql.execute(
        "create function slow() returns trigger language plpgsql as"
        " $$begin perform pg_sleep(20); return null; end$$;"
        "create trigger slow before update on generations for each row execute function slow()"
    )
    status, text = run("explain", "generations.stop", "--timeout", "1")
    assert status == 1
    assert text.startswith("chat-api: generations.stop took longer than 1 s and was cancelled")


async def test_a_row_that_the_service_writes_is_not_waited_for_for_long(
    run: Run, configured: str, sql: Connection, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.commands.sql.explain.LOCK_SECONDS", 1)
    async with sql.transaction():
        await sql.execute("select from generations for update")
        status, text = run("explain", "generations.stop")
    assert status == 1
    assert "waited 1 s for a row or table that another transaction holds" in text


async def test_values_that_the_data_refuses_are_told(run: Run, configured: str, chat: Chat) -> None:
    status, text = run("explain", "generations.finish", "--param", "status=done")
    assert status == 1
    assert text == (
        'chat-api: generations.finish: new row for relation "generations" violates check constraint'
        ' "ck_generations_status"; give it other values with --param\n'
    )


async def test_explaining_without_the_table_points_to_check(
    run: Run, configured: str, sql: Connection
) -> None:
    await sql.execute("drop table journal cascade")
    status, text = run("explain", "journal.prune")
    assert status == 1
    assert text == (
        'chat-api: journal.prune: relation "journal" does not exist; the database lacks what this release'
        " needs: run `chat-api migrate`, and `chat-api sql check` shows everything that is wrong\n"
    )


def test_every_parameter_of_every_query_has_its_sample(configured: str) -> None:
    with connected(configured) as connection:
        for query in read_catalog().values():
            assert set(draw(connection, query, {}).values) == set(query.parameters)
