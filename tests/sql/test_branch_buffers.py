"""What forks cost: a few buffers for each that is shown, however long the conversation is."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from bench.buffers import fill, touched
from bench.plans import MODES, Connection
from bench.statements import HISTORY, HOT, PIECE, USER, WORKER
from chat_api.dev.postgres.server import Postgres

DATABASE = "branches"
PLAIN, FORKED, LONG = UUID(int=101), UUID(int=102), UUID(int=103)
FORKS = 20
BUFFERS_A_FORK = 3

# So many messages. Each `every`th has another version, off the path, and two questions below that.
CONVERSATION = """
insert into conversations (id, user_id) values (%(id)s, %(user)s);
create temporary table made as
select
    chat_uuid7() as id,
    nextval('chat_position') as position,
    place
from generate_series(1, %(messages)s) as place;
insert into messages (id, conversation_id, role, content, position, parent_position, finish_reason)
select
    id,
    %(id)s,
    case when mod(place, 2) = 1 then 'user' else 'assistant' end,
    repeat('word ', 20),
    position,
    case when mod(place, %(every)s) = 0 then lag(position) over (order by place) end,
    case when mod(place, 2) = 0 then 'stop' end
from made;
insert into inactive_messages (id, conversation_id, role, content, created_at, position, parent_position)
select
    chat_uuid7(),
    %(id)s,
    'assistant',
    repeat('word ', 20),
    now(),
    nextval('chat_position'),
    parent_position
from messages
where conversation_id = %(id)s and parent_position is not null
order by position;
insert into inactive_messages (id, conversation_id, role, content, created_at, position, parent_position)
select
    chat_uuid7(),
    %(id)s,
    'user',
    repeat('word ', 20),
    now(),
    nextval('chat_position'),
    position
from inactive_messages
cross join generate_series(1, 2)
where conversation_id = %(id)s
order by position;
drop table made;
"""


@pytest.fixture(scope="module")
def filled(postgres: Postgres, template: str) -> Iterator[Connection]:
    """A history, and three conversations more: without forks, with twenty, and with a thousand."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(*map(sql.Identifier, (DATABASE, template)))
        )
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                fill(connection, 1_000, 10_000)
                connection.execute("set session_replication_role = default")
                for conversation, messages, every in (
                    (PLAIN, 2 * FORKS, 1_000_000),
                    (FORKED, 2 * FORKS, 2),
                    (LONG, 100_000, 100),
                ):
                    given = {"id": conversation, "user": USER, "messages": messages, "every": every}
                    psycopg.ClientCursor(connection).execute(CONVERSATION, given)
                connection.execute("vacuum analyze")
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


@pytest.mark.parametrize("mode", MODES)
def test_each_fork_on_the_path_costs_three_buffers_to_read(filled: Connection, mode: str) -> None:
    given = {"user_id": USER, "before_id": None, "max_rows": None, "max_bytes": PIECE}
    plain = touched(filled, "conversations.get", {**given, "id": PLAIN}, mode)
    forked = touched(filled, "conversations.get", {**given, "id": FORKED}, mode)
    assert forked.buffers - plain.buffers <= BUFFERS_A_FORK * FORKS, forked.relations
    assert forked.scanned == frozenset()


@pytest.mark.parametrize("mode", MODES)
def test_forks_cost_a_start_nothing(filled: Connection, mode: str) -> None:
    given = HOT["generations.start"]
    plain = touched(filled, "generations.start", {**given, "conversation_id": PLAIN}, mode)
    forked = touched(filled, "generations.start", {**given, "conversation_id": FORKED}, mode)
    assert forked.buffers - plain.buffers <= 2, forked.relations


@pytest.mark.parametrize("mode", MODES)
def test_the_newest_fifty_of_a_hundred_thousand_with_a_thousand_forks_take_under_a_hundred_buffers(
    filled: Connection, mode: str
) -> None:
    given = {"id": LONG, "user_id": USER, "before_id": None, "max_rows": 50, "max_bytes": PIECE}
    newest = touched(filled, "conversations.get", given, mode)
    assert newest.buffers < 100, newest.relations
    assert newest.scanned == frozenset()


@pytest.mark.parametrize("mode", MODES)
def test_doing_an_answer_in_the_middle_again_reads_what_it_sends_and_no_more(
    filled: Connection, mode: str
) -> None:
    answer = (
        f"select id from messages where conversation_id = '{LONG}' order by position offset 49999 limit 1"
    )
    given = {**HOT["generations.start"], "conversation_id": LONG, "worker_id": WORKER}
    last = touched(filled, "generations.start", {**given, "kind": "regenerate", "content": None}, mode)
    middle = touched(
        filled,
        "generations.start",
        {**given, "kind": "regenerate", "content": None, "answer_id": answer},
        mode,
    )
    assert middle.buffers - last.buffers <= 16, middle.relations
    assert middle.sorted_rows <= HISTORY + 1
