"""deploy/postgresql/partition-messages, as a DBA runs it: under traffic, forward, back, and completed."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import ANY
from uuid import uuid4

import asyncpg
import psycopg
import pytest
from psycopg import sql as compose

from bench.buffers import fill, touched
from bench.plans import MODES, executed, prepared
from bench.statements import FINISHED, HOT
from chat_api.cli import main
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.migrate.apply import apply_migrations, rollback_migrations
from tests.support.chat import Chat, Client, open_chat, somebody_waits, until
from tests.support.model_server import ModelServer
from tests.support.queries import Chat as Stored
from tests.support.queries import Connection
from tests.support.tree_statements import TREE, grow

Psql = Callable[..., Awaitable[str]]
PIECES = {f"messages_p{number}" for number in range(8)}


def run_script(checkout: Path, database_url: str, name: str, *options: str) -> str:
    """Run a script, which must succeed, and return psql's output. If it gave up on a lock, run it again."""
    while True:
        printed, status = _run(checkout, database_url, name, *options)
        if status and "lock timeout" in printed:
            continue
        assert status == 0, printed
        return printed


def _run(checkout: Path, database_url: str, name: str, *options: str) -> tuple[str, int]:
    done = subprocess.run(
        [binaries(None) / "psql", "-X", *options, "-f", f"{name}.sql", database_url],
        cwd=checkout / "deploy" / "postgresql" / "partition-messages",
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False,
        env={**os.environ, "PSQLRC": os.devnull},
    )  # fmt: skip
    return done.stdout, done.returncode


@pytest.fixture
def psql(checkout: Path, database_url: str) -> Psql:
    """Run a script of the folder without blocking the event loop."""

    async def run(name: str, *options: str) -> str:
        return await asyncio.to_thread(run_script, checkout, database_url, name, *options)

    return run


async def contents(sql: Connection, table: str) -> list[str]:
    """Every row of a table, as text."""
    rows = await sql.fetch(f"select m::text as row from {table} as m order by id")
    return [row["row"] for row in rows]


async def kind(sql: Connection) -> str:
    """r: one table, p: partitioned."""
    found: bytes = await sql.fetchval("select relkind from pg_class where oid = 'messages'::regclass")
    return found.decode()


async def fill_history(sql: Connection, conversations: int = 20, messages: int = 20) -> None:
    """A database with a history."""
    await sql.execute(
        "with c as (insert into conversations (user_id) select chat_uuid7() from generate_series(1, $1)"
        " returning id), m as (select c.id, n from c cross join generate_series(1, $2) as n)"
        " insert into messages (conversation_id, role, content, created_at)"
        " select id, 'user', 'word 🥟', now() - make_interval(mins => n) from m",
        conversations,
        messages,
    )


class Traffic:
    """Users who continually send, edit, regenerate, switch, take back, read and delete, and lose nothing."""

    def __init__(self, client: Client, users: list[dict[str, str]]) -> None:
        self._client = client
        self._users = users
        self._ended = asyncio.Event()
        self.rounds = 0

    async def __aenter__(self) -> Traffic:
        self._tasks = [asyncio.create_task(self._talk(user)) for user in self._users]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ended.set()
        await asyncio.gather(*self._tasks)

    async def _talk(self, user: dict[str, str]) -> None:
        kept = await open_chat(self._client, user)
        turns = 0
        while not self._ended.is_set():
            chat = await open_chat(self._client, user)
            for each in (chat, kept):
                await said(await each.send("question", stream=False))
            turns += 1
            for each in (chat, kept):
                await said(await each.regenerate(stream=False))
            assert [content for _, content, _ in await chat.messages()] == ["question", "an answer"]
            assert len(await kept.messages()) == 2 * turns
            await self._change_paths(chat)
            response = await self._client.delete(chat.path, headers=user)
            assert response.status == 204, await response.text()
            self.rounds += 1

    async def _change_paths(self, chat: Chat) -> None:
        """A conversation with two versions of its answer gets one of its question: rows move to and fro."""
        before = (await chat.get())["messages"]
        first, second = before[1]["siblings"]["ids"]
        assert second == before[1]["id"]
        await chat.show(first)
        await said(await chat.send("edited", parent_id=None, stream=False))
        assert [content for _, content, _ in await chat.messages()] == ["edited", "an answer"]
        await chat.show(second)
        assert (await chat.get())["messages"] == [
            {**before[0], "siblings": {"index": 0, "ids": ANY}}, before[1]
        ]  # fmt: skip
        response = await chat.take_back(second)
        assert response.status == 204, await response.text()
        assert [message["id"] for message in (await chat.get())["messages"]] == [before[0]["id"], first]

    async def more(self, rounds: int = 4) -> None:
        """Wait until this many more rounds are complete."""
        wanted = self.rounds + rounds
        async with asyncio.timeout(20):
            while self.rounds < wanted:
                for task in self._tasks:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.01)


async def said(response: Any) -> None:
    """An answer in one piece."""
    assert response.status == 200, await response.text()
    assert (await response.json())["message"]["finish_reason"] == "stop"


@pytest.fixture
async def traffic(client: Client, auth: Any, model: ModelServer) -> AsyncIterator[Traffic]:
    """Traffic from three users."""
    model.say = ["an ", "answer"]
    async with Traffic(client, [auth.sign_in() for _ in range(3)]) as traffic:
        yield traffic


@pytest.fixture
async def swapped(psql: Psql, sql: Connection) -> Connection:
    """A database whose messages are partitioned, with the way back open."""
    await fill_history(sql)
    for step in ("1-prepare", "2-copy", "3-swap"):
        await psql(step)
    return sql


async def test_there_back_and_to_the_end_under_traffic_nothing_is_lost(
    psql: Psql, sql: Connection, traffic: Traffic
) -> None:
    await fill_history(sql)
    for step, after in (
        ("1-prepare", "messages_partitioned"),
        ("2-copy", "messages_partitioned"),
        ("3-swap", "messages_unpartitioned"),
        ("swap-back", "messages_partitioned"),
        ("3-swap", "messages_unpartitioned"),
    ):
        await traffic.more()
        await psql(step, *(["-v", "batch=7"] if step == "2-copy" else []))
        await traffic.more()
        if step != "1-prepare":
            # At one moment, messages that came after the copy are in both tables.
            async with sql.transaction(isolation="repeatable_read", readonly=True):
                messages = await contents(sql, "messages")
                assert messages == await contents(sql, after), step
                assert len(messages) > 400
        assert await kind(sql) == ("p" if step == "3-swap" else "r")
    assert await sql.fetchval("select count(*) from inactive_messages")  # the traffic makes versions
    await psql("4-finish")
    await traffic.more()
    assert await kind(sql) == "p"
    assert await left(sql) == {f"messages_p{n}" for n in range(8)}


async def test_views_of_messages_read_the_table_of_that_name(
    psql: Psql, sql: Connection, checkout: Path
) -> None:
    """A view keeps to its table through a renaming: it would read the old one, which then can't go."""
    await fill_history(sql)
    await sql.execute(
        "create view mine with (security_barrier = true) as select m.id, m.content from messages as m"
    )
    reads = (
        "select distinct d.refobjid::regclass::text from pg_depend as d inner join pg_rewrite as r"
        " on r.oid = d.objid where d.classid = 'pg_rewrite'::regclass"
        " and d.refobjid::regclass::text ~ '^messages'"
    )
    await psql("1-prepare")
    for step in ("2-copy", "3-swap", "swap-back", "3-swap", "4-finish"):
        await psql(step)
        assert [row[0] for row in await sql.fetch(reads)] == ["messages"], step
        assert await sql.fetchval("select sum(messages) from chat_report.conversation_sizes") == 400
        assert await sql.fetchval("select count(*) from mine") == 400
    assert await sql.fetchval("select reloptions from pg_class where relname = 'mine'") == [
        "security_barrier=true"
    ]
    parts = "select table_name from chat_report.table_health where partition_of = 'messages'"
    assert {row["table_name"] for row in await sql.fetch(parts)} == PIECES
    comments = "select count(col_description('messages'::regclass, attnum)) = count(*) from pg_attribute"
    assert await sql.fetchval(
        f"{comments} where attrelid = 'messages'::regclass and attnum > 0 and not attisdropped"
    )


async def left(sql: Connection) -> set[str]:
    """The scripts' own objects that are left."""
    rows = await sql.fetch(
        "select relname as name from pg_class where relkind in ('r', 'p') and relname ~ '^messages_'"
        " union all select proname from pg_proc where proname ~ '^messages_'"
        " union all select tgname from pg_trigger where not tgisinternal and tgname not like 'note_usage%'"
    )
    return {row["name"] for row in rows}


async def test_what_was_begun_is_undone(psql: Psql, sql: Connection, traffic: Traffic) -> None:
    await fill_history(sql)
    schema = await sql.fetch("select conname, pg_get_constraintdef(oid) from pg_constraint order by 1, 2")
    await psql("1-prepare", "-v", "partitions=2")
    await traffic.more()
    await psql("2-copy")
    await psql("3-swap")
    await traffic.more()
    await psql("swap-back")
    await psql("undo")
    await traffic.more()
    assert await left(sql) == set()
    assert schema == await sql.fetch(
        "select conname, pg_get_constraintdef(oid) from pg_constraint order by 1, 2"
    )


async def test_a_copy_that_broke_off_goes_on_where_it_was(
    psql: Psql, sql: Connection, checkout: Path, database_url: str
) -> None:
    await fill_history(sql)
    await psql("1-prepare")
    copying = asyncio.create_task(psql("2-copy", "-v", "batch=10", "-v", "rest=60"))
    await until(lambda: sql.fetchval("select messages from messages_copied"))
    await sql.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where query like 'call messages_copy%' and datname = current_database()"
    )
    with pytest.raises(AssertionError, match="server closed the connection"):
        await copying
    assert await sql.fetchval("select count(*) from messages_partitioned") == 10
    with pytest.raises(AssertionError, match="the copy isn't complete"):
        await psql("3-swap")
    await psql("2-copy")
    assert await sql.fetchval("select messages from messages_copied") == 400
    assert await contents(sql, "messages") == await contents(sql, "messages_partitioned")


async def test_a_deletion_under_way_is_not_copied_behind_its_back(
    psql: Psql, sql: Connection, database_url: str
) -> None:
    await fill_history(sql, conversations=1)
    await psql("1-prepare")
    async with sql.transaction():
        await sql.execute("delete from conversations")
        copying = asyncio.create_task(psql("2-copy"))
        watcher = await asyncpg.connect(database_url)
        await somebody_waits(watcher)
        await watcher.close()
    await copying
    assert await contents(sql, "messages_partitioned") == []


async def test_a_switch_under_way_is_not_copied_behind_its_back(
    psql: Psql, sql: Connection, database_url: str
) -> None:
    """What leaves the active path while it is copied is in neither table, what comes back is in both."""
    await fill_history(sql)
    chat = await Stored().open(sql)
    for number in range(2):
        await chat.finish(sql, await chat.begin(sql, is_root=True), content=f"answer {number}")
    first, second = await sql.fetchrow(
        "select (select id from inactive_messages order by position limit 1),"
        " (select id from messages where conversation_id = $1 order by position limit 1)",
        chat.id,
    )
    switcher = await asyncpg.connect(database_url)
    for message_id, other in ((first, second), (second, first)):
        await psql("1-prepare")
        transaction = switcher.transaction()
        await transaction.start()
        await chat.update(switcher, active_message_id=message_id)
        copying = asyncio.create_task(psql("2-copy", "-v", "batch=3"))
        await somebody_waits(sql)
        await transaction.commit()
        await copying
        messages = await contents(sql, "messages")
        assert messages == await contents(sql, "messages_partitioned")
        assert len(messages) == 402
        # Once it is copied, a switch goes there and back in both.
        for each in (other, message_id):
            await chat.update(sql, active_message_id=each)
            messages = await contents(sql, "messages")
            assert messages == await contents(sql, "messages_partitioned")
        assert await chat.texts(sql) == ["hello", "answer 0" if message_id == first else "answer 1"]
        await psql("undo" if message_id == first else "3-swap")
    await switcher.close()
    await chat.update(sql, active_message_id=first)
    assert await chat.texts(sql) == ["hello", "answer 0"]
    assert await contents(sql, "messages") == await contents(sql, "messages_unpartitioned")


async def test_an_upgrade_in_the_middle_keeps_both_tables_alike(
    psql: Psql, sql: Connection, database_url: str
) -> None:
    """Migrations give the table that follows the same columns, in the same order."""
    steps = len([name for name in migration_ids() if name >= "0040"])
    columns = (
        "select attname, attnum from pg_attribute where attrelid = $1::regclass and attnum > 0"
        " and not attisdropped order by attnum"
    )
    await asyncio.to_thread(rollback_migrations, database_url, steps)
    await fill_history(sql)
    await psql("1-prepare")
    await asyncio.to_thread(apply_migrations, database_url)
    for step in (None, "2-copy", "3-swap"):
        if step:
            await psql(step)
        follower = "messages_unpartitioned" if step == "3-swap" else "messages_partitioned"
        names = [
            [row["attname"] for row in await sql.fetch(columns, table)] for table in ("messages", follower)
        ]
        assert names[0] == names[1]
        assert names[0][-1] == "parent_position"
        chat = await Stored().open(sql)
        for kind in ("send", "regenerate"):
            await chat.finish(sql, await chat.begin(sql, kind=kind))
        if step:
            assert await contents(sql, "messages") == await contents(sql, follower)
    await asyncio.to_thread(rollback_migrations, database_url, steps)
    messages = await contents(sql, "messages")
    assert messages == await contents(sql, "messages_unpartitioned")
    assert len(messages) == 400 + 3 * 3


async def test_tables_that_differ_are_not_swapped(psql: Psql, sql: Connection) -> None:
    await fill_history(sql)
    await psql("1-prepare")
    await psql("2-copy")
    await sql.execute(
        "update messages_partitioned set content = 'other' where id = (select id from messages limit 1)"
    )
    with pytest.raises(AssertionError, match="they differ"):
        await psql("2-copy")
    with pytest.raises(AssertionError, match="the copy isn't complete"):
        await psql("3-swap")
    await psql("undo")
    with pytest.raises(AssertionError, match="doesn't follow"):
        await psql("2-copy")


async def test_a_vacuum_is_waited_for_without_hindering_who_writes(
    psql: Psql, sql: Connection, database_url: str
) -> None:
    """For longer than half a second, because autovacuum gives way only after a second."""
    await fill_history(sql)
    chat = await Stored().open(sql)
    holder = await asyncpg.connect(database_url)
    transaction = holder.transaction()
    await transaction.start()
    await holder.execute("lock table messages in share update exclusive mode")  # as a vacuum does
    preparing = asyncio.create_task(psql("1-prepare"))
    await somebody_waits(sql)
    for _ in range(10):
        await asyncio.wait_for(chat.say(sql, "user", "hi"), 0.2)
        await asyncio.sleep(0.1)
    await transaction.rollback()
    await holder.close()
    await preparing
    assert "messages_follow_insert" in await left(sql)


async def test_rights_owner_and_row_level_security_go_along(psql: Psql, sql: Connection) -> None:
    role, owner = f"service_{uuid4().hex}", f"owner_{uuid4().hex}"
    await sql.execute(f"create role {role}; create role {owner}")
    try:
        await sql.execute(
            f"grant create on schema public to {owner}; grant references on conversations to {owner}"
        )
        await sql.execute(f"alter table messages owner to {owner}")
        await sql.execute(
            f"grant select, delete on messages to {role}; grant select on messages to public;"
            f" grant insert (id, conversation_id, content), references (id) on messages to {role}"
            " with grant option"
        )
        await sql.execute(f"create policy mine on messages to {role} using (role = 'user') with check (true)")
        await sql.execute("create policy narrow on messages as restrictive for delete using (content <> '')")
        await sql.execute(
            "alter table messages enable row level security; alter table messages force row level security"
        )
        await sql.execute("alter table messages add column mine text default 'x'")
        await fill_history(sql)
        before = await described(sql)
        for step in ("1-prepare", "2-copy", "3-swap", "4-finish"):
            await psql(step)
        assert await described(sql) == before
        assert before["policies"]
        assert len(before["column_rights"]) == 3
        options = await sql.fetch(
            "select reloptions, relowner::regrole::text as owner from pg_class"
            " where relname ~ '^messages_p\\d' and relkind = 'r'"
        )
        assert {tuple(row["reloptions"]) for row in options} == {tuple(before["options"])}
        assert {row["owner"] for row in options} == {owner}
        assert await sql.fetchval("select count(*) from messages where mine = 'x'") == 400
    finally:
        await sql.execute(f"drop owned by {role}, {owner} cascade; drop role {role}, {owner}")


async def described(sql: Connection) -> dict[str, Any]:
    """What the table messages has besides rows and indexes."""
    row = await sql.fetchrow(
        "select relowner::regrole::text as owner, relrowsecurity, relforcerowsecurity,"
        " obj_description(oid, 'pg_class') as comment,"
        " (select array_agg(a::text order by a::text) from aclexplode(relacl) as a) as rights,"
        " (select array_agg(attname || attacl::text order by attname)"
        " from pg_attribute where attrelid = pg_class.oid and attacl is not null) as column_rights"
        " from pg_class where oid = 'messages'::regclass"
    )
    policies = await sql.fetch(
        "select policyname, permissive, roles, cmd, qual, with_check from pg_policies"
        " where tablename = 'messages' order by 1"
    )
    options = await sql.fetchval(
        "select reloptions from pg_class where relname in ('messages', 'messages_p0') and relkind = 'r'"
    )
    assert row is not None
    return {**row, "policies": [tuple(policy) for policy in policies], "options": options}


async def test_check_takes_a_partitioned_table_for_what_it_is(
    swapped: Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    assert (main(["sql", "check"]), "queries fit" in capsys.readouterr().out) == (0, True)
    await swapped.execute("drop index idx_messages_conversation_position")
    assert main(["sql", "check", "--json"]) == 1
    found = json.loads(capsys.readouterr().out)["findings"]
    assert [each["name"] for each in found] == ["idx_messages_conversation_position"]


async def test_migrations_go_down_and_up_where_the_table_is_partitioned(
    swapped: Connection, database_url: str
) -> None:
    options = "select relname, reloptions from pg_class where relname ~ '^messages_[pu]' and relkind = 'r'"
    before = dict(await swapped.fetch(options))
    steps = len([name for name in migration_ids() if name >= "0009"])
    await asyncio.to_thread(rollback_migrations, database_url, steps)
    without = dict(await swapped.fetch(options))
    assert {without[piece] for piece in PIECES} == {None}
    await asyncio.to_thread(apply_migrations, database_url)
    assert dict(await swapped.fetch(options)) == before


async def test_a_message_to_nobodys_conversation_is_told_by_the_same_constraint(swapped: Connection) -> None:
    with pytest.raises(asyncpg.ForeignKeyViolationError) as refused:
        await Stored().say(swapped, "user", "hi")
    assert refused.value.constraint_name == "messages_conversation_id_fkey"  # type: ignore[attr-defined]


async def test_a_step_that_cannot_be_taken_back_is_told_in_one_sentence(
    swapped: Connection, database_url: str
) -> None:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "chat_api", "migrate", "rollback", "--count", "99"],
        capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "DATABASE_URL": database_url},
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "rolled back 0009.create-workers"
    assert done.stderr.startswith(
        "chat-api: rolling back migration 0008.index-messages failed: cannot create index"
    )
    assert len(done.stderr.splitlines()) == 1
    assert await kind(swapped) == "p"


async def test_the_scripts_are_told_what_isnt_their_turn(psql: Psql, swapped: Connection) -> None:
    for step, reason in (
        ("1-prepare", "partitioned already"),
        ("undo", "messages_partitioned"),
        ("3-swap", "messages_partitioned"),
    ):
        with pytest.raises(AssertionError, match=reason):
            await psql(step)
    assert await kind(swapped) == "p"


# plans

DATABASE, TREES = "partitioned", "partitioned_trees"


@contextmanager
def partitioned(
    postgres: Postgres,
    template: str,
    checkout: Path,
    name: str,
    *more: Callable[[psycopg.Connection[Any]], None],
) -> Iterator[psycopg.Connection[Any]]:
    """The database of tests/sql/test_plans.py, partitioned."""
    names = [compose.Identifier(each) for each in (name, template)]
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(compose.SQL("create database {} template {}").format(*names))
        try:
            with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
                fill(connection, 10_000, 100_000)  # less, and PostgreSQL rather reads all of them
                for each in more:
                    each(connection)
                connection.execute("alter table conversations set logged; alter table messages set logged")
                for step in ("1-prepare", "2-copy", "3-swap", "4-finish"):
                    run_script(checkout, postgres.dsn(name), step)
                connection.execute("analyze messages")
                yield connection
        finally:
            admin.execute(compose.SQL("drop database {} with (force)").format(names[0]))


@pytest.fixture(scope="module")
def full(postgres: Postgres, template: str, checkout: Path) -> Iterator[psycopg.Connection[Any]]:
    with partitioned(postgres, template, checkout, DATABASE) as connection:
        yield connection


@pytest.fixture(scope="module")
def full_of_trees(postgres: Postgres, template: str, checkout: Path) -> Iterator[psycopg.Connection[Any]]:
    """With the conversations of tests/sql/test_tree_plans.py."""
    with partitioned(postgres, template, checkout, TREES, grow) as connection:
        yield connection


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", TREE)
def test_what_changes_a_tree_touches_its_partition_alone(
    full_of_trees: psycopg.Connection[Any], case: str, mode: str
) -> None:
    relations = touched(full_of_trees, case, TREE[case], mode).relations
    partitions = {name[: len("messages_p0")] for name in relations if re.match(r"messages_p\d", name)}
    # A fork is another conversation.
    assert len(partitions) <= (2 if case == "conversations.fork" else 1), relations
    assert partitions, relations


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", HOT)
def test_a_hot_statement_looks_into_one_partition(
    full: psycopg.Connection[Any], case: str, mode: str
) -> None:
    with prepared(full, case, HOT[case], mode) as statement:
        plan = executed(full, statement)
    asked = {
        node["Relation Name"]
        for node in plan
        if node.get("Relation Name", "").startswith("messages_p") and node["Actual Loops"]
    }
    # The answers of ten conversations may be in as many partitions.
    assert len(asked) <= (8 if case == "journal.read" else 1), asked
    assert {node["Node Type"] for node in plan if node.get("Relation Name") in asked} <= {
        "Index Scan",
        "Index Only Scan",
        "Bitmap Heap Scan",
        "ModifyTable",
    }


@pytest.mark.parametrize("mode", MODES)
def test_who_reads_one_answer_of_another_worker_looks_into_one_partition(
    full: psycopg.Connection[Any], mode: str
) -> None:
    given = {"ids": f"select array[({FINISHED})]", "next_seqs": [0]}
    with prepared(full, "journal.read", given, mode) as statement:
        plan = executed(full, statement)
    scans = [node for node in plan if node.get("Relation Name", "").startswith("messages_p")]
    assert sum(node["Actual Loops"] for node in scans) == 1
