"""A samosaChaat database is adopted in place: it gets the schema of a fresh one, and keeps every row."""

from collections.abc import Callable
from typing import Any

import psycopg
import pytest

from chat_api.migrate.apply import apply_migrations
from tests.migrate import earlier
from tests.migrate.catalog import catalog

Connection = psycopg.Connection[Any]

USER_FOREIGN_KEY = """
select pg_get_constraintdef(oid) from pg_constraint
where conrelid = 'conversations'::regclass and conname = 'conversations_user_id_fkey'
"""

both_ages = pytest.mark.parametrize("is_favorited", [True, False], ids=["newer", "older"])


def rows(connection: Connection, table: str) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for (row,) in connection.execute(f"select to_jsonb(t) from {table} as t")}


@both_ages
def test_an_adopted_database_ends_in_the_schema_of_a_fresh_one(
    new_database: Callable[[], str], *, is_favorited: bool
) -> None:
    fresh, adopted = new_database(), new_database()
    earlier.make(adopted, is_favorited=is_favorited)
    apply_migrations(fresh)
    apply_migrations(adopted)
    with psycopg.connect(fresh) as one, psycopg.connect(adopted) as other:
        assert catalog(other) == catalog(one)


@both_ages
def test_every_row_is_kept(connection: Connection, empty_database: str, *, is_favorited: bool) -> None:
    earlier.make(empty_database, is_favorited=is_favorited)
    tables = ["users", "conversations", "messages"]
    before = {table: rows(connection, table) for table in tables}
    apply_migrations(empty_database)
    for table in tables:
        after = rows(connection, table)
        assert after.keys() == before[table].keys()
        for key, row in before[table].items():
            filled = {column for column, value in row.items() if value is None} & {"created_at", "updated_at"}
            assert {column: after[key][column] for column in row.keys() - filled} == {
                column: value for column, value in row.items() if column not in filled
            }


def test_missing_times_are_filled_in_and_no_message_changes_its_place(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    order = "select content, created_at::text from messages where conversation_id = %s order by created_at"
    with connection.transaction():
        connection.execute("set local timezone = 'UTC'")
        assert connection.execute(order, (earlier.COMPLETE,)).fetchall() == [
            ("hi", "2025-01-01 10:00:00+00"),
            ("hello", "2025-01-01 10:01:00+00"),
            ("undated, read last", "2025-01-01 10:01:00.000001+00"),
        ]
    times = """
        select created_at = '2025-02-01 10:00+00', updated_at = '2025-02-02 10:00+00'
        from conversations where id = %s
    """
    assert connection.execute(times, (earlier.NULLS,)).fetchone() == (True, True)
    recent = """
        select created_at = updated_at, created_at > now() - interval '1 minute'
        from conversations where id = %s
    """
    assert connection.execute(recent, (earlier.EMPTY,)).fetchone() == (True, True)


def test_deleting_a_user_goes_on_deleting_his_conversations(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    connection.execute("delete from users where id = %s", (earlier.USER,))
    assert set(rows(connection, "conversations")) == {earlier.EMPTY}
    assert rows(connection, "messages") == {}


def test_new_tables_beside_users_get_the_same_foreign_key(
    connection: Connection, empty_database: str
) -> None:
    connection.execute(earlier.USERS)
    apply_migrations(empty_database)
    assert connection.execute(USER_FOREIGN_KEY).fetchall() == [
        ("FOREIGN KEY (user_id) REFERENCES users(id) ON DELETE CASCADE",)
    ]


@pytest.mark.parametrize(
    "statement",
    ["select", "create table users (id bigint primary key)", "create table users (id uuid)"],
    ids=["no users", "users of another kind", "users without a key"],
)
def test_without_the_auth_services_users_there_is_no_foreign_key(
    connection: Connection, empty_database: str, statement: str
) -> None:
    connection.execute(statement)
    apply_migrations(empty_database)
    assert connection.execute(USER_FOREIGN_KEY).fetchall() == []


def test_an_adopted_table_without_the_foreign_key_is_left_without(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=True)
    connection.execute("alter table conversations drop constraint conversations_user_id_fkey")
    connection.execute("delete from users")
    apply_migrations(empty_database)
    assert len(rows(connection, "conversations")) == 3
    assert connection.execute(USER_FOREIGN_KEY).fetchall() == []


def test_the_earlier_service_goes_on_writing(connection: Connection, empty_database: str) -> None:
    earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    row = connection.execute(
        "insert into conversations (user_id, title, model_tag) values (%s, null, null) returning id",
        (earlier.USER,),
    ).fetchone()
    assert row is not None
    connection.execute(
        "insert into messages (conversation_id, role, content, token_count, model_tag, inference_time_ms)"
        " values (%s, 'user', 'hi', null, null, null)",
        row,
    )
    connection.execute("delete from conversations where id = %s", row)
