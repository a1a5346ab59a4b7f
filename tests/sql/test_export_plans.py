"""An export streams: whatever a user has, nothing of it is sorted, hashed or written to a temporary file."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from bench.plans import MODES, Connection, executed, prepared
from chat_api.dev.postgres.server import Postgres

DATABASE = "export_plans"
USER = UUID(int=7)

# One conversation of 50,000 messages with a record each, every tenth with another version; 2,000 small ones.
FILL = f"""
insert into conversations (id, user_id) values ('{UUID(int=9)}', '{USER}');
insert into conversations (user_id) select '{USER}' from generate_series(1, 2000);
insert into messages (conversation_id, role, content, position, parent_position)
select '{UUID(int=9)}', 'user', repeat(md5(n::text), 20), 2 * n + 1, case when n % 10 = 0 then 2 * n - 1 end
from generate_series(1, 50000) as n;
insert into inactive_messages (id, conversation_id, role, content, created_at, position, parent_position)
select chat_uuid7(), '{UUID(int=9)}', 'user', repeat(md5(n::text), 20), now(), 2 * n, 2 * n - 1
from generate_series(10, 50000, 10) as n;
insert into messages (conversation_id, role, content)
select c.id, 'user', 'hello'
from conversations as c cross join generate_series(1, 4)
where c.id <> '{UUID(int=9)}';
insert into generations (conversation_id, kind, user_message_id, status, finished_at)
select m.conversation_id, 'send', m.id, 'completed', now() from messages as m;
insert into usage (
    id, user_id, kind, model_tag, status, started_at, day, prompt_tokens, cached_tokens, reasoning_tokens,
    completion_tokens, is_estimated, milliseconds
)
select
    chat_uuid7(), '{USER}', 'send', 'd20', 'completed', now(), date '2026-01-01' + n / 100,
    1, 0, 0, 1, true, 1
from generate_series(1, 50000) as n;
"""


@pytest.fixture(scope="module")
def full(postgres: Postgres, template: str) -> Iterator[Connection]:
    """A database with one user, of whom much is stored."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(
            sql.SQL("create database {} template {}").format(*map(sql.Identifier, (DATABASE, template)))
        )
        try:
            with psycopg.connect(postgres.dsn(DATABASE), autocommit=True) as connection:
                connection.execute(FILL)
                connection.execute("vacuum analyze")
                yield connection
        finally:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(DATABASE)))


@pytest.mark.parametrize("mode", MODES)
def test_an_export_of_much_holds_nothing_but_the_ids_of_conversations(full: Connection, mode: str) -> None:
    with full.transaction(force_rollback=True):
        full.execute("set local enable_sort = off")  # as the command does
        with prepared(
            full, "users.export", {"user_id": str(USER), "conversation_id": None}, mode
        ) as statement:
            nodes = executed(full, statement)
    assert sum(node["Actual Rows"] for node in nodes[:1]) == 2001 + 55_000 + 8_000 + 58_000 + 50_000
    assert {node["Temp Written Blocks"] for node in nodes} == {0}
    (ids,) = [node for node in nodes if node["Node Type"] == "Sort" and node["Actual Rows"] > 2]
    assert ids["Actual Rows"] == 2001
    assert ids["Plan Width"] <= 32
    assert not {"Hash", "Materialize"} & {node["Node Type"] for node in nodes}
    (days,) = [node for node in nodes if node["Node Type"] == "Incremental Sort"]
    assert days["Presorted Key"] == ["usage.day"]
