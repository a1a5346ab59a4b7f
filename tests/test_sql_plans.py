"""The hot statements walk the indexes that their sentences name, however full the tables are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from chat_api.db import load_queries
from chat_api.dev.postgres import Postgres

DATABASE = "plans"
USER, WORKER = UUID(int=1), UUID(int=2)
PAGE = 201  # the most that a page shows, and one more

FILL = """
insert into conversations (user_id, updated_at)
select '{user}'::uuid, timestamptz '2025-01-01 00:00+00' + make_interval(mins => i)
from generate_series(1, 1000) as i;
insert into messages (conversation_id, role, content, created_at)
select id, (array['user', 'assistant'])[1 + i % 2], repeat('word ', 20), updated_at + make_interval(secs => i)
from conversations cross join generate_series(0, 9) as i;
insert into messages (conversation_id, role, content, created_at)
select id, (array['user', 'assistant'])[1 + i % 2], 'word', updated_at + make_interval(secs => i)
from (select id, updated_at from conversations order by updated_at limit 1) as longest
cross join generate_series(10, 2000) as i;
insert into generations (
    conversation_id, kind, user_message_id, message_id, idempotency_key, status, finish_reason, worker_id,
    started_at, finished_at
)
select
    q.conversation_id, 'send', q.id, a.id, a.id, 'completed', 'stop', '{worker}', q.created_at, a.created_at
from messages as q
inner join messages as a on a.conversation_id = q.conversation_id
    and a.created_at = q.created_at + interval '1 second'
where q.role = 'user';
update generations set status = 'running', finish_reason = null, message_id = null, finished_at = null
where conversation_id in (select id from conversations order by updated_at desc limit 30) and id in (
    select distinct on (conversation_id) id from generations order by conversation_id, started_at desc
);
update generations set kind = 'regenerate' where id = (
    select id from generations where status = 'running' order by started_at limit 1
);
insert into workers (id, lease_until) values ('{worker}', 'infinity');
update generations set worker_id = gen_random_uuid() where id = (
    select id from generations where status = 'running' order by started_at desc limit 1
);
insert into journal (generation_id, first_seq, next_seq, events)
select g.id, i, i + 1, '[{{"token":"word "}}]'
from (select id, status from generations order by status <> 'running', id limit 100) as g
cross join generate_series(0, 99) as i;
vacuum analyze;
"""


@pytest.fixture(scope="module")
def full(postgres: Postgres, template: str) -> Iterator[psycopg.Connection[Any]]:
    """A database with 1,000 conversations, one of them of 2,000 messages, and 30 running generations.

    The journal has 100 slices of each running one, and of 70 finished ones.
    """
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(*map(sql.Identifier, (DATABASE, template)))
        )
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                for statement in FILL.format(user=USER, worker=WORKER).split(";\n"):
                    connection.execute(statement)
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


# Parameters that begin so are looked up.
LONGEST = "select conversation_id from messages group by 1 order by count(*) desc limit 1"
RUNNING = "select conversation_id from generations where status = 'running' limit 1"
GENERATION = "select id from generations limit 1"

TOP = {"user_id": USER, "before_updated_at": None, "before_id": None, "max_rows": PAGE, "skip": 0}
BELOW = {**TOP, "before_updated_at": "2025-01-01 08:00+00", "before_id": UUID(int=3)}
SEND = {
    "conversation_id": LONGEST,
    "user_id": USER,
    "kind": "send",
    "content": "hello",
    "title": "hello",
    "idempotency_key": "k",
    "worker_id": WORKER,
    "max_messages": 50,
    "max_characters": 6000,
}
REGENERATE = {**SEND, "kind": "regenerate", "content": None}
ATTACH = {"conversation_id": LONGEST, "user_id": USER, "generation_id": None}
FINISH = {
    "generation_id": "select id from generations where status = 'running' and kind = 'send' limit 1",
    "worker_id": WORKER,
    "status": "completed",
    "finish_reason": "stop",
    "error_code": None,
    "content": "bye",
    "model_tag": "d20",
    "token_count": 1,
    "inference_time_ms": 1,
    "first_seq": 100,
    "last_seq": 101,
    "slice": "[{}]",
}
FINISH_AGAIN = {**FINISH, "generation_id": "select id from generations where kind = 'regenerate' limit 1"}
LONGEST_OF_USER = {"id": LONGEST, "user_id": USER}
RUNNING_OF_USER = {"id": RUNNING, "user_id": USER}
TICK = {
    "worker_id": WORKER,
    "seconds": 15.0,
    "start_seconds": 15.0,
    "live": "select array_agg(id) from generations where status = 'running'",
    "ids": "select array_agg(id) from generations where status = 'running'",
    "first_seqs": [100] * 30,
    "next_seqs": [101] * 30,
    "slices": ["[{}]"] * 30,
    "hint": "many",
}
READ = {
    "ids": "select array_agg(id) from (select id from generations where status = 'running' limit 10) as g",
    "next_seqs": [90] * 10,
}

LIST, MESSAGES = "idx_conversations_user_updated", "idx_messages_conversation_created"
GENERATIONS, ONE_RUNNING = "idx_generations_conversation", "uq_generations_running"
OF_WORKER, JOURNAL = "idx_generations_worker", "journal_pkey"
PRIMARY = ("conversations_pkey", "messages_pkey", "generations_pkey")

# A statement, its parameters, the indexes that it must walk.
HOT: list[tuple[str, dict[str, Any], set[str]]] = [
    ("conversations.page", TOP, {LIST}),
    ("conversations.page", BELOW, {LIST}),
    ("conversations.get", LONGEST_OF_USER, {PRIMARY[0], MESSAGES, ONE_RUNNING}),
    ("conversations.get", RUNNING_OF_USER, {PRIMARY[0], MESSAGES, ONE_RUNNING, JOURNAL}),
    ("conversations.update", {**LONGEST_OF_USER, "title": "T", "is_favorited": None}, {PRIMARY[0]}),
    ("conversations.delete", LONGEST_OF_USER, {PRIMARY[0]}),
    ("generations.start", SEND, {PRIMARY[0], MESSAGES}),
    ("generations.start", {**SEND, "conversation_id": RUNNING}, {PRIMARY[0], MESSAGES}),
    ("generations.start", REGENERATE, {PRIMARY[0], MESSAGES}),
    ("generations.finish", FINISH, {PRIMARY[0], PRIMARY[2]}),
    ("generations.finish", FINISH_AGAIN, {*PRIMARY, MESSAGES, GENERATIONS}),
    ("generations.attach", ATTACH, {PRIMARY[0], PRIMARY[2], GENERATIONS}),
    ("generations.attach", {**ATTACH, "generation_id": GENERATION}, {PRIMARY[0], PRIMARY[2]}),
    ("generations.stop", {"conversation_id": RUNNING, "user_id": USER}, {PRIMARY[0], ONE_RUNNING}),
    ("messages.exchange", {"generation_id": GENERATION}, {PRIMARY[1], PRIMARY[2]}),
    ("journal.tick", TICK, {OF_WORKER}),
    ("journal.read", READ, {JOURNAL, *PRIMARY[1:]}),
    ("journal.prune", {"seconds": 0.0, "max_rows": 100}, {JOURNAL}),
    ("maintenance.interrupt_orphans", {}, {OF_WORKER, JOURNAL}),
]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def plan_of(
    connection: psycopg.Connection[Any], name: str, given: dict[str, Any], mode: str
) -> list[dict[str, Any]]:
    """The nodes of a statement's plan as they were executed; what it changed is taken back."""
    query = load_queries()[name]
    values = []
    for parameter in query.parameters:
        value = given[parameter]
        if isinstance(value, str) and value.startswith("select "):
            (value,) = connection.execute(value).fetchall()[0]
        values.append(sql.Literal(value if value is None or isinstance(value, list) else str(value)))
    with connection.transaction(force_rollback=True):
        connection.execute(f"set local plan_cache_mode = {mode}")
        connection.execute(f"prepare planned as {query.text}")
        arguments = sql.SQL("({})").format(sql.SQL(", ").join(values)) if values else sql.SQL("")
        explain = sql.SQL("explain (analyze, format json) execute planned{}").format(arguments)
        ((document,),) = connection.execute(explain).fetchall()
        connection.execute("deallocate planned")
    return list(nodes(document[0]["Plan"]))


# PostgreSQL plans a prepared statement anew with each call's values, or once for all: either must do.
@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
@pytest.mark.parametrize(
    ("name", "given", "indexes"), HOT, ids=lambda value: value if type(value) is str else ""
)
def test_a_hot_statement_walks_its_indexes_and_reads_and_sorts_no_more_than_it_shows(
    full: psycopg.Connection[Any], name: str, given: dict[str, Any], indexes: set[str], mode: str
) -> None:
    plan = plan_of(full, name, given, mode)
    assert {node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"} <= {"workers"}
    assert indexes - {node.get("Index Name") for node in plan} == set()
    if name == "conversations.get":
        return  # shows, and may sort, all messages of the conversation
    read = [node["Actual Rows"] * node["Actual Loops"] for node in plan if "Scan" in node["Node Type"]]
    assert max(read) <= PAGE
    assert max((node["Actual Rows"] for node in plan if "Sort" in node["Node Type"]), default=0) <= PAGE


@pytest.mark.parametrize("mode", ["force_custom_plan", "force_generic_plan"])
def test_a_page_is_not_sorted(full: psycopg.Connection[Any], mode: str) -> None:
    for given in (TOP, BELOW):
        plan = plan_of(full, "conversations.page", given, mode)
        assert [node["Node Type"] for node in plan if "Sort" in node["Node Type"]] == []
