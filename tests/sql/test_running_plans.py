"""After a night without answers, statistics know of none that runs. Look-ups of a few read only these."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from bench.plans import MODES, Connection, executed, prepared
from bench.statements import HOT, UNCHANGED, Parameters
from chat_api.dev.postgres.server import Postgres

DATABASE = "running_plans"
USER, WORKER = UUID(int=5), UUID(int=2)
ONE_RUNNING, OF_WORKER, OF_HOLDER = (
    "uq_generations_running",
    "idx_generations_unfinished_worker",
    "idx_generations_unfinished_holder",
)

# 20,000 answers to 200 users, all of them ended, and their conversations.
NIGHT = """
insert into conversations (id, user_id)
select cast(lpad(to_hex(n), 32, '0') as uuid), cast(lpad(to_hex(n % 200), 32, '0') as uuid)
from generate_series(1, 5000) as n;
insert into messages (id, conversation_id, role, content, position)
select id, id, 'user', 'hello', nextval('chat_position') from conversations;
insert into generations (
    conversation_id, kind, user_message_id, worker_id, holder_id, status, finished_at, idempotency_key
)
select
    c.id, 'send', c.id, cast(lpad(to_hex(c.place % 7), 32, 'f') as uuid), c.user_id, 'completed', now(),
    'key ' || n
from (select *, row_number() over () as place from conversations) as c cross join generate_series(1, 4) as n;
"""
# Then 398 run at once, 16 of them USER's, and four of WORKER.
MORNING = f"""
insert into workers (id, lease_until, lease, steady_since)
select
    cast(lpad(to_hex(n), 32, '0') as uuid), now() + interval '1 hour', interval '1 hour',
    now() - interval '1 day'
from generate_series(1, 100) as n;
insert into generations (conversation_id, kind, user_message_id, worker_id, holder_id)
select id, 'send', id, cast(lpad(to_hex(1 + n % 100), 32, '0') as uuid), user_id
from (select *, row_number() over (order by user_id = '{USER}', id) as n from conversations) as c
where n > 4985 or n % 13 = 0;
insert into queued_messages (conversation_id, content, request)
select conversation_id, 'hello', '{{}}' from generations where worker_id = '{WORKER}' and status = 'running';
"""

RUNNING = f"""select {{}} from generations where holder_id = '{USER}' and status = 'running'
order by conversation_id desc limit 1"""
OWN, ID = RUNNING.format("conversation_id"), RUNNING.format("id")
IDLE = f"""select max(cast(id as text)) from conversations as c where user_id = '{USER}' and not exists (
    select from generations where conversation_id = c.id and status = 'running')"""
ITS_WORKER = f"select worker_id from generations where id = ({ID})"
ITS_QUESTION = f"select user_message_id from generations where id = ({ID})"
IDS = f"select array[({ID})]"
_OF_OWN = {"conversation_id": OWN, "user_id": str(USER)}
_NOTHING: Parameters = {
    "live": [],
    "live_in": [],
    "ids": [],
    "first_seqs": [],
    "next_seqs": [],
    "slices": [],
    "notifications": [],
}
_FINISH = {
    "generation_id": ID,
    "worker_id": ITS_WORKER,
    "after_id": ITS_QUESTION,
    "first_seq": 1,
    "last_seq": 2,
}
_ADD = {"content": "hello", "request": "{}", "idempotency_key": None, "max_waiting": 9, "limits": None}
_SWEEP = {"first_block": 0, "blocks": 1000, "days": 1, "favourites": True, "max_rows": 10}
_BLOCKS = {"first_block": 0, "blocks": 1000, "days": 1, "favourites": True, "generation_days": 1}

OF_OTHERS = 20  # entries at most: those that statements before left, which were rolled back

# Which index on running answers each must use, and the most entries of all of them that it may read, in its
# own plan and in the functions that it calls. USER's are 16, the worker's are 4, and 398 run.
CASES: dict[str, tuple[Parameters, str | None, int]] = {
    "journal.tick": ({**HOT["journal.tick"], **_NOTHING}, OF_WORKER, 4),
    "journal.disown": ({"worker_id": ITS_WORKER, "ids": IDS}, None, 0),
    "maintenance.interrupt_orphans": ({}, ONE_RUNNING, 398),
    "users.stop_answers": ({"user_id": str(USER)}, ONE_RUNNING, 16),
    "usage.forget": ({"user_id": str(USER), "max_rows": 10}, OF_HOLDER, 100),
    "conversations.get": ({**HOT["conversations.get"], "id": OWN, "user_id": str(USER)}, ONE_RUNNING, 1),
    "conversations.update": (
        {**UNCHANGED, "id": OWN, "user_id": str(USER), "active_message_id": ITS_QUESTION},
        None,
        1,
    ),
    "conversations.delete": ({"id": OWN, "user_id": str(USER)}, ONE_RUNNING, 2),
    "messages.delete": ({**_OF_OWN, "message_id": ITS_QUESTION}, ONE_RUNNING, 2),
    "generations.start, while one runs": (
        {**HOT["generations.start"], **_OF_OWN, "idempotency_key": "new"},
        ONE_RUNNING,
        1,
    ),
    "generations.start, limited": (
        {**HOT["generations.start, limited"], **_OF_OWN, "conversation_id": IDLE, "idempotency_key": "new"},
        OF_HOLDER,
        100,
    ),
    "generations.finish": ({**HOT["generations.finish"], **_FINISH}, None, 1),
    "generations.note_left": ({"worker_id": ITS_WORKER, "ids": IDS, "left_ids": []}, None, 0),
    "generations.note_read": ({"ids": IDS, "left_ids": []}, None, 0),
    "generations.stop": ({**_OF_OWN, "generation_id": None}, ONE_RUNNING, 1),
    "queue.add": ({**_OF_OWN, **_ADD}, ONE_RUNNING, 2),
    "queue.next": ({"conversation_id": OWN}, None, 1),
    "queue.due": ({"max_rows": 10}, ONE_RUNNING, 4),
    "retention.clear": ({"max_rows": 10}, None, 2),
    "retention.sweep": (_SWEEP, None, 0),
    "retention.due": (_BLOCKS, None, 0),
}


@pytest.fixture(scope="module")
def woken(postgres: Postgres, template: str) -> Iterator[Connection]:
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        names = map(sql.Identifier, (DATABASE, template))
        admin.execute(sql.SQL("create database {} template {}").format(*names))
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                connection.execute(NIGHT)
                connection.execute("vacuum analyze")
                connection.execute(MORNING)
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


def entries_read(connection: Connection) -> dict[str, int]:
    """How many entries of each of the three indexes were read in this transaction."""
    rows = connection.execute(
        "select relname, pg_stat_get_xact_tuples_returned(oid) from pg_class where relname = any(%s)",
        [[ONE_RUNNING, OF_WORKER, OF_HOLDER]],
    )
    return dict(rows.fetchall())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_after_an_analyze_at_rest_a_look_up_reads_no_other_running_answers(
    woken: Connection, case: str, mode: str
) -> None:
    given, index, most = CASES[case]
    with prepared(woken, case, given, mode) as statement:
        before = entries_read(woken)  # those of transactions that were rolled back too
        nodes = executed(woken, statement)
        read = {name: count - before[name] for name, count in entries_read(woken).items()}
    assert sum(read.values()) <= most + OF_OTHERS
    assert index is None or read[index] > 0
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    assert "generations" not in scanned
