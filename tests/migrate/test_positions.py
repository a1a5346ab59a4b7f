"""Rows from before positions are numbered once, in the order in which they were read until then."""

from __future__ import annotations

import random
from typing import Any
from uuid import uuid4

import psycopg

from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations

NUMBERS = "0020.number-rows"


def before_positions(database_url: str) -> None:
    """Migrate to the schema that the previous release reads."""
    apply_migrations(database_url)
    known = known_migrations()
    rollback_migrations(database_url, len(known) - known.index("0018.add-message-positions"))


def converse(connection: psycopg.Connection[Any], messages: int) -> str:
    """Store a conversation in which the order of time, of ids and of insertion all differ."""
    conversation_id = str(uuid4())
    connection.execute(
        "insert into conversations (id, user_id) values (%s, gen_random_uuid())", (conversation_id,)
    )
    moments = list(range(messages))
    random.Random(messages).shuffle(moments)
    for second in moments:
        connection.execute(
            "insert into messages (id, conversation_id, role, content, created_at)"
            " values (%s, %s, 'user', %s, timestamptz '2025-01-01 00:00+00' + make_interval(secs => %s))",
            (uuid4(), conversation_id, str(second), second // 2),  # two at each time: their ids decide
        )
    return conversation_id


def read(connection: psycopg.Connection[Any], conversation_id: str, order: str) -> list[Any]:
    return connection.execute(
        f"select id from messages where conversation_id = %s order by {order}", (conversation_id,)
    ).fetchall()


def test_adopted_rows_keep_their_order_and_new_ones_come_after_them(empty_database: str) -> None:
    """More conversations than a batch holds, and times that lie ahead."""
    before_positions(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        conversations = [converse(connection, count % 7) for count in range(120)]
        connection.execute("update messages set created_at = created_at + interval '99 years'")
        expected = [read(connection, each, "created_at, id") for each in conversations]
        apply_migrations(empty_database)
        for conversation_id, ids in zip(conversations, expected, strict=True):
            connection.execute(
                "insert into messages (conversation_id, role, content) values (%s, 'user', 'new')",
                (conversation_id,),
            )
            *old, new = read(connection, conversation_id, "position")
            assert old == ids
            assert new not in ids
        numbers = connection.execute(
            "select array_agg(position order by position) from messages where position < 0"
            " group by conversation_id"
        )
        assert all(positions == list(range(-len(positions), 0)) for (positions,) in numbers)


def test_numbering_goes_on_after_an_interruption_and_leaves_new_rows_alone(empty_database: str) -> None:
    before_positions(empty_database)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        one, other = converse(connection, 5), converse(connection, 5)
        expected = {each: read(connection, each, "created_at, id") for each in (one, other)}
        apply_migrations(empty_database)
        known = known_migrations()
        rollback_migrations(empty_database, len(known) - known.index(NUMBERS))
        # As where it was killed between two batches, and the previous release stored a message meanwhile.
        connection.execute("update messages set position = null where conversation_id = %s", (other,))
        connection.execute(
            "insert into messages (conversation_id, role, content) values (%s, 'user', 'meanwhile')", (other,)
        )
        apply_migrations(empty_database)
        assert read(connection, one, "position") == expected[one]
        assert read(connection, other, "position")[:-1] == expected[other]
