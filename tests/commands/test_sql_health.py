"""`chat-api sql health`: what is wrong is named, with a remedy that is one; what can't be seen is told."""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from chat_api.cli import main
from chat_api.commands.sql.health import checks, examine, own_names
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from tests.conftest import FAST, PROGRAMS
from tests.support.chat import until
from tests.support.queries import Chat, Connection
from tests.support.standby import replicated

Run = Callable[..., tuple[int, str]]
CHECKS = {
    "unused_indexes",
    "duplicate_indexes",
    "half_built_indexes",
    "dead_rows",
    "oldest_transaction",
    "prepared_transactions",
    "replication_slots",
    "index_density",
    "wal_per_answer",
    "standby_lag",
}


@pytest.fixture
def configured(database_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A migrated, empty database; the environment's DATABASE_URL names it."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    return database_url


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `chat-api sql health …`. Returns its exit status and output."""

    def run(*arguments: str) -> tuple[int, str]:
        status = main(["sql", "health", *arguments])
        written = capsys.readouterr()
        return status, written.out + written.err

    return run


async def ask(sql: Connection, name: str, *instead: tuple[str, str]) -> dict[str, list[Any]]:
    """Run a check with other bounds than its own. Returns status, finding and remedy by subject."""
    statement = checks()[name].statement
    for bound, other in instead:
        assert bound in statement
        statement = statement.replace(bound, other)
    for setting, names in own_names("postgres").items():
        await sql.execute("select set_config($1, $2, false)", setting, names)
    rows = await sql.fetch(statement)
    return {row["subject"]: [row["status"], row["finding"], row["remedy"]] for row in rows}


async def cured(sql: Connection, name: str, subject: str, *instead: tuple[str, str]) -> str:
    """A check calls a subject wrong until its remedy was executed. Returns the finding."""
    status, finding, remedy = (await ask(sql, name, *instead))[subject]
    assert status == "wrong"
    for statement in remedy.rpartition(", or ")[2].partition("; if ")[0].split("; "):
        await sql.execute(statement)
    assert subject not in await ask(sql, name, *instead)
    return str(finding)


def signs(database_url: str) -> dict[str, list[str]]:
    """The statuses of each check."""
    found: dict[str, list[str]] = {}
    for sign in examine(database_url):
        found.setdefault(sign.check, []).append(sign.status)
    return found


def test_a_quiet_database_is_well(run: Run, configured: str) -> None:
    status, text = run()
    assert status == 0, text
    assert re.search(r"^ok     duplicate_indexes: none$", text, re.MULTILINE)
    status, text = run("--json")
    assert status == 0
    report = json.loads(text)
    assert report["ok"]
    assert {sign["check"] for sign in report["checks"]} == CHECKS
    assert {sign["status"] for sign in report["checks"]} <= {"ok", "unseen"}


async def test_what_is_wrong_is_told_in_a_line_with_its_remedy(
    run: Run, configured: str, sql: Connection
) -> None:
    await sql.execute("create index twin on messages (conversation_id, position)")
    status, text = run()
    assert status == 1
    line = "wrong  duplicate_indexes twin does the same as idx_messages_conversation_position"
    assert f"\n{line}\n    drop index concurrently twin\n" in text
    status, text = run("--json")
    assert status == 1
    report = json.loads(text)
    assert not report["ok"]
    assert {
        "check": "duplicate_indexes",
        "status": "wrong",
        "subject": "twin",
        "finding": "does the same as idx_messages_conversation_position",
        "remedy": "drop index concurrently twin",
    } in report["checks"]


async def test_it_changes_nothing(run: Run, configured: str, sql: Connection) -> None:
    before = await sql.fetchval("select pg_current_wal_insert_lsn()")
    assert run()[0] == 0
    assert await sql.fetchval("select pg_current_wal_insert_lsn()") - before < 10_000


async def test_an_index_of_the_dbas_that_nobody_reads_is_wrong_after_a_week(sql: Connection) -> None:
    await sql.execute("create index mine on messages (role)")
    await sql.execute("create unique index unique_mine on messages (id, role)")
    await sql.execute("create table theirs (id integer); create index on theirs (id)")
    status, finding, remedy = (await ask(sql, "unused_indexes"))["mine"]
    assert (status, remedy) == ("note", None)
    assert re.fullmatch(
        r"takes 8192 bytes and nothing .* since \d{4}-\d\d-\d\d \d\d:\d\d: too early.*", finding
    )
    later = ("interval '7 days'", "interval '-1 day'")
    assert "nothing has read it since" in await cured(sql, "unused_indexes", "mine", later)
    ((subject, [status, finding, _]),) = (await ask(sql, "unused_indexes", later)).items()
    assert (subject, status) == (None, "ok")
    assert "idx_messages_conversation_position" in finding


async def test_an_index_that_was_read_is_none(sql: Connection) -> None:
    await sql.execute("create index mine on messages (role); set enable_seqscan = off")
    await sql.fetch("select from messages where role = 'user'")
    await sql.execute("select pg_stat_force_next_flush()")
    assert list(await ask(sql, "unused_indexes")) == [None]


@pytest.mark.parametrize(
    ("made", "subject"),
    [
        ("create index twin on messages (conversation_id, position)", "twin"),
        ("create index twin on journal (generation_id, next_seq)", "twin"),  # of a unique one
        ("alter table messages add constraint twin unique (id)", "twin"),
        ("create index a on messages (role); create index b on messages (role)", "b"),
    ],
)  # fmt: skip
async def test_an_index_that_does_what_another_does_is_wrong(
    sql: Connection, made: str, subject: str
) -> None:
    for statement in made.split("; "):
        await sql.execute(statement)
    assert (await cured(sql, "duplicate_indexes", subject)).startswith("does the same as ")


@pytest.mark.parametrize(
    "made",
    [
        "create unique index mine on messages (conversation_id, position)",  # it enforces something
        "create index mine on messages (conversation_id, position desc)",
        "create index mine on messages (conversation_id, position) where role = 'user'",
        "create index mine on messages (conversation_id) include (position)",
        "create index mine on messages (position, conversation_id)",
        "create index mine on messages (lower(role)); create index other on messages (upper(role))",
    ],
)
async def test_one_that_does_more_or_something_else_is_not(sql: Connection, made: str) -> None:
    for statement in made.split("; "):
        await sql.execute(statement)
    assert await ask(sql, "duplicate_indexes") == {None: ["ok", "none", None]}


@pytest.mark.parametrize("name", ["mine", "messages_pkey_ccnew", "messages_pkey_ccold1"])
async def test_what_an_aborted_build_left_is_wrong(sql: Connection, name: str) -> None:
    await sql.execute(f"create index {name} on messages (role)")
    await sql.execute(f"update pg_index set indisvalid = false where indexrelid = '{name}'::regclass")
    await cured(sql, "half_built_indexes", name)


async def test_an_index_that_is_being_built_is_left_alone(
    sql: Connection, first: Connection, second: Connection
) -> None:
    """`create index concurrently` waits for the transactions that were there before it."""
    await first.execute("insert into workers (id, lease_until) values (gen_random_uuid(), now())")
    await second.execute("commit")
    building = asyncio.create_task(second.execute("create index concurrently mine on workers (lease)"))
    await until(lambda: sql.fetchval("select max(index_relid) > 0 from pg_stat_progress_create_index"))
    status, finding, remedy = (await ask(sql, "half_built_indexes"))["mine"]
    assert (status, remedy) == ("note", None)
    assert finding.startswith("is being built at this moment (")
    await first.execute("commit")
    await building
    assert list(await ask(sql, "half_built_indexes")) == [None]


async def bury(sql: Connection, rows: int) -> None:
    """Leave that many dead rows in the table workers."""
    await sql.execute(
        "insert into workers (id, lease_until) select gen_random_uuid(), now() from generate_series(1, $1)",
        rows,
    )
    await sql.execute("delete from workers")
    await sql.execute("select pg_stat_force_next_flush()")


async def test_more_than_twice_the_dead_rows_that_autovacuum_waits_for_is_wrong(sql: Connection) -> None:
    await sql.execute("alter table workers set (autovacuum_vacuum_threshold = 100)")
    await bury(sql, 150)
    assert (await ask(sql, "dead_rows"))[None] == ["ok", "at most 150% of what autovacuum waits for", None]
    await bury(sql, 100)
    finding = await cured(sql, "dead_rows", "workers")
    assert finding == "has 250 dead rows, and autovacuum comes at 100; its last visit: none yet"


async def test_a_table_that_autovacuum_may_not_visit_is_wrong(sql: Connection) -> None:
    await sql.execute("alter table messages set (autovacuum_enabled = off)")
    assert await cured(sql, "dead_rows", "messages") == "has 0 dead rows, and autovacuum is switched off"


@pytest.mark.skipif(PROGRAMS is not None, reason="PostgreSQL 18 has autovacuum_vacuum_max_threshold")
async def test_the_highest_threshold_counts(sql: Connection) -> None:
    await sql.execute("alter table workers set (autovacuum_vacuum_max_threshold = 10)")
    await bury(sql, 21)
    assert "autovacuum comes at 10" in await cured(sql, "dead_rows", "workers")


async def test_an_old_transaction_is_wrong_and_who_has_it_is_told(sql: Connection, database_url: str) -> None:
    [[status, finding, remedy]] = (await ask(sql, "oldest_transaction")).values()
    # Another test's, or autovacuum's, may just be open: they are those of the whole server.
    assert (status, remedy) == ("ok", None)
    assert re.fullmatch(r"none is open|the oldest has lasted 00:00:\d\d", finding)
    other = await asyncpg.connect(database_url, server_settings={"application_name": "forgotten"})
    await other.execute("begin")
    assert (await ask(sql, "oldest_transaction"))[None][0] == "ok"
    now = ("interval '15 minutes'", "interval '0'")
    finding = await cured(sql, "oldest_transaction", f"pid {other.get_server_pid()}", now)
    assert re.fullmatch(
        r"of postgres \(forgotten, \S+\) has a transaction of 00:00:\d\d \(idle in transaction\)", finding
    )
    other.terminate()


async def test_a_prepared_transaction_that_was_forgotten_is_wrong(sql: Connection) -> None:
    await sql.execute("begin; insert into workers (id, lease_until) values (gen_random_uuid(), now())")
    await sql.execute("prepare transaction 'it''s forgotten'")
    assert list(await ask(sql, "prepared_transactions")) == [None]
    now = ("interval '15 minutes'", "interval '0'")
    finding = await cured(sql, "prepared_transactions", "it's forgotten", now)
    assert finding.startswith("was prepared by postgres, ")


async def test_a_slot_that_nobody_reads_is_wrong(sql: Connection) -> None:
    await sql.execute("select pg_create_physical_replication_slot('forgotten', true)")
    await sql.execute("create table more (id integer)")
    assert (await ask(sql, "replication_slots"))[None][0] == "ok"
    finding = await cured(sql, "replication_slots", "forgotten", ("1024 ^ 3", "0"))
    assert re.fullmatch(r"keeps .+ of WAL, is read by nobody, and its WAL is reserved", finding)


@pytest.mark.parametrize("name", ["index_density", "index_density_exact"])
async def test_an_index_that_is_half_empty_is_wrong(sql: Connection, name: str) -> None:
    await sql.execute("create extension pgstattuple")
    await sql.execute(
        "insert into workers (id, lease_until) select gen_random_uuid(), now() from generate_series(1, 20000)"
    )
    await sql.execute("vacuum analyze workers")
    small = ("16 * 1024 * 1024", "100000")
    status, finding, _ = (await ask(sql, name, small))[None]
    assert status == "ok"
    full = re.fullmatch(r"of 16 MB or more: 1, at least (\d\d)% full.*", finding)
    assert full
    assert 60 <= int(full[1]) <= 85  # random keys
    await sql.execute("delete from workers where id::text > '3'")
    await sql.execute("vacuum analyze workers")
    finding = (await ask(sql, name, small))["workers_pkey"][1]
    assert re.search(r"of which (?:about )?1\d% is in use", finding), finding
    await sql.execute((await ask(sql, name, small))["workers_pkey"][2])
    assert "workers_pkey" not in await ask(sql, name, small)


async def test_a_width_that_is_not_known_is_no_guess(sql: Connection, configured: str) -> None:
    """Without the right to read the table, its statistics are hidden."""
    await sql.execute("create index mine on messages (role)")
    await sql.execute("vacuum analyze messages")
    status, _, remedy = (await ask(sql, "index_density", ("16 * 1024 * 1024", "0")))["mine"]
    assert status == "unseen"
    assert "pgstattuple" in remedy


def role_url(database_url: str, role: str) -> str:
    return re.sub(r"//[^@/]*@?", f"//{role}@", database_url, count=1)


@pytest.mark.parametrize("is_monitor", [True, False])
async def test_a_role_without_a_right_on_any_table_is_told_what_it_could_not_see(
    run: Run, configured: str, sql: Connection, monkeypatch: pytest.MonkeyPatch, is_monitor: bool
) -> None:
    role = f"monitor_{uuid4().hex}"
    await sql.execute(f"create role {role} login" + (" in role pg_monitor" if is_monitor else ""))
    owner = await sql.fetchval("select current_user")
    await sql.execute("revoke usage on schema public from public")
    await sql.execute("create index twin on messages (conversation_id, position)")
    try:
        monkeypatch.setenv("DATABASE_URL", role_url(configured, role))
        status, text = run("--json")
        found = {sign["check"]: sign for sign in json.loads(text)["checks"]}
        assert status == 1
        assert found.keys() == CHECKS
        assert found["duplicate_indexes"]["subject"] == "public.twin"
        assert found["duplicate_indexes"]["status"] == "wrong"
        transaction = found["oldest_transaction"]
        assert transaction["status"] == ("ok" if is_monitor else "unseen")
        assert transaction["remedy"] == (
            None if is_monitor else f"ask as the owner of the tables, {owner}, with pg_read_all_stats"
        )
    finally:
        await sql.execute(f"drop owned by {role}; drop role {role}")


async def test_pg_stat_statements_that_is_not_loaded_is_told(configured: str, sql: Connection) -> None:
    assert signs(configured)["wal_per_answer"] == ["unseen"]
    await sql.execute("create extension pg_stat_statements")
    (sign,) = [sign for sign in examine(configured) if sign.check == "wal_per_answer"]
    assert sign.status == "unseen"
    assert "shared_preload_libraries" in sign.finding


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for a server of its own, which may have to run as another user."""
    with tempfile.TemporaryDirectory(prefix="chat-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


async def test_the_wal_of_an_answer_is_counted(folder: Path) -> None:
    settings = {**FAST, "shared_preload_libraries": "pg_stat_statements"}
    with Postgres(folder / "data", settings=settings, programs=PROGRAMS) as server:
        apply_migrations(server.dsn())
        sql = await asyncpg.connect(server.dsn())
        await sql.execute("create extension pg_stat_statements")
        assert signs(server.dsn())["wal_per_answer"] == ["ok"]
        chat = await Chat().open(sql)
        for _ in range(40):
            await chat.finish(sql, await chat.begin(sql))
        (sign,) = [sign for sign in examine(server.dsn()) if sign.check == "wal_per_answer"]
        found = re.match(r"(\d+) bytes an answer \(answers since \d{4}-.*: 40\)", sign.finding)
        assert found, sign
        assert 500 < int(found[1]) < 20_000
        await sql.close()


def test_a_primary_and_its_standby_each_see_their_side() -> None:
    with replicated() as pair:
        with psycopg.connect(pair.primary.dsn(), autocommit=True) as session:
            session.execute("insert into conversations (user_id) select gen_random_uuid()")
            session.execute("create index mine on messages (role)")
        (ours,) = [sign for sign in examine(pair.primary.dsn()) if sign.check == "standby_lag"]
        assert ours.status == "ok"
        assert re.fullmatch(r"is .+ and [\d.]+ s behind \(streaming, sync\)", ours.finding)
        with psycopg.connect(pair.standby.dsn(), autocommit=True) as session:
            while session.execute("select to_regclass('mine') is null").fetchone() == (True,):
                pass  # each check is a round trip
            found = {sign.check: sign for sign in examine(pair.standby.dsn())}
            assert found.keys() == CHECKS
            assert found["standby_lag"].status == "ok"
            assert re.fullmatch(r"is [\d.]+ s behind", found["standby_lag"].finding)
            assert found["dead_rows"].status == "unseen"
            assert found["unused_indexes"].status == "note"
            session.execute("select pg_wal_replay_pause()")
            paused = {sign.check: sign for sign in examine(pair.standby.dsn())}["standby_lag"]
            assert (paused.status, paused.remedy) == ("wrong", "select pg_wal_replay_resume()")
            session.execute("select pg_wal_replay_resume()")
        pair.standby.stop()
        lost = {sign.subject: sign for sign in examine(pair.primary.dsn()) if sign.check == "standby_lag"}
        assert lost["synchronous_standby_names"].status == "wrong"


async def test_a_database_without_the_service_says_so(run: Run, configured: str, sql: Connection) -> None:
    await sql.execute("drop schema public cascade; create schema public")
    assert run() == (
        1,
        "wrong  schema: the tables of the service aren't in this database\n    chat-api migrate\n",
    )
