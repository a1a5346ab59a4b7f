"""The schema's own guarantees."""

import time
import uuid
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

Connection = psycopg.Connection[Any]

CONVERSATION = "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa"


@pytest.fixture
def migrated(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "insert into conversations (id, user_id) values (%s, gen_random_uuid())", (CONVERSATION,)
        )
        yield connection


def generation(connection: Connection, **columns: object) -> None:
    values = {
        "conversation_id": CONVERSATION,
        "kind": "send",
        "user_message_id": uuid.uuid4(),
        "worker_id": uuid.uuid4(),
        **columns,
    }
    places = ", ".join(["%s"] * len(values))
    connection.execute(
        f"insert into generations ({', '.join(values)}) values ({places})", tuple(values.values())
    )


def test_chat_uuid7_is_a_version_7_uuid_with_the_time_in_it(migrated: Connection) -> None:
    before = time.time_ns() // 1_000_000
    made = [row[0] for row in migrated.execute("select chat_uuid7() from generate_series(1, 2000)")]
    after = time.time_ns() // 1_000_000
    assert len(set(made)) == len(made)
    assert {(each.version, each.variant) for each in made} == {(7, uuid.RFC_4122)}
    assert all(before <= each.int >> 80 <= after for each in made)


def test_chat_uuid7_orders_by_time_within_a_transaction_too(migrated: Connection) -> None:
    with migrated.transaction():
        query = "select chat_uuid7(), pg_sleep(0.002) from generate_series(1, 20)"
        made = [row[0] for row in migrated.execute(query)]
    assert made == sorted(made)


@pytest.mark.parametrize("table", ["conversations", "messages", "generations"])
def test_ids_are_time_ordered_by_default(migrated: Connection, table: str) -> None:
    query = """
        select pg_get_expr(adbin, adrelid) from pg_attrdef
        inner join pg_attribute on attrelid = adrelid and attnum = adnum
        where adrelid = %s::regclass and attname = 'id'
    """
    assert migrated.execute(query, (table,)).fetchone() == ("chat_uuid7()",)


def test_every_table_says_what_it_is(migrated: Connection) -> None:
    query = """
        select relname from pg_class
        where relkind = 'r' and relnamespace = current_schema()::regnamespace and relname !~ 'yoyo'
        and obj_description(oid, 'pg_class') is null
    """
    assert migrated.execute(query).fetchall() == []


def test_every_constraint_and_index_is_valid(migrated: Connection) -> None:
    query = """
        select conname from pg_constraint where not convalidated
        union all select indexrelid::regclass::text from pg_index where not indisvalid
    """
    assert migrated.execute(query).fetchall() == []


def test_a_conversation_has_one_running_generation(migrated: Connection) -> None:
    generation(migrated)
    generation(migrated, status="completed", finished_at="now")
    with pytest.raises(psycopg.errors.UniqueViolation, match="uq_generations_running"):
        generation(migrated)


def test_an_idempotency_key_starts_once_a_conversation(migrated: Connection) -> None:
    finished = {"status": "completed", "finished_at": "now"}
    generation(migrated, **finished, idempotency_key="k")
    generation(migrated, **finished)
    generation(migrated, **finished)
    with pytest.raises(psycopg.errors.UniqueViolation, match="uq_generations_idempotency_key"):
        generation(migrated, **finished, idempotency_key="k")


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ({"kind": "edit"}, "ck_generations_kind"),
        ({"status": "paused", "finished_at": "now"}, "ck_generations_status"),
        ({"status": "running", "finished_at": "now"}, "ck_generations_finished"),
        ({"status": "failed"}, "ck_generations_finished"),
        ({"worker_id": None}, "ck_generations_worker"),
        ({"finish_reason": "bored"}, "ck_generations_finish_reason"),
    ],
)
def test_a_generation_in_an_impossible_state_is_refused(
    migrated: Connection, columns: dict[str, object], constraint: str
) -> None:
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        generation(migrated, **columns)


@pytest.mark.parametrize(
    ("column", "value", "constraint"),
    [("role", "model", "ck_messages_role"), ("finish_reason", "bored", "ck_messages_finish_reason")],
)
def test_a_message_with_an_unknown_word_is_refused(
    migrated: Connection, column: str, value: str, constraint: str
) -> None:
    columns = {"conversation_id": CONVERSATION, "role": "user", "content": "hi", column: value}
    places = ", ".join(["%s"] * len(columns))
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        migrated.execute(
            f"insert into messages ({', '.join(columns)}) values ({places})", tuple(columns.values())
        )


def test_messages_and_generations_go_with_their_conversation(migrated: Connection) -> None:
    generation(migrated)
    migrated.execute(
        "insert into messages (conversation_id, role, content) values (%s, 'user', 'hi')", (CONVERSATION,)
    )
    migrated.execute("delete from conversations")
    left = migrated.execute("select (select count(*) from messages) + (select count(*) from generations)")
    assert left.fetchone() == (0,)
