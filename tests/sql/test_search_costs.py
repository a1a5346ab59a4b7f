"""What search costs those who write, and those who search: WAL and buffers, which don't vary."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.postgres.queries import load_queries
from tests.support.queries import Chat, Connection

PIECES = 50
MOST_WAL = 0.30
SEARCHES = (
    "samosa ",
    "samo",
    "the ",
    "rarity ",
    "nowhere ",
    "database -samosa",
    '"the answer"',
    "conversation 7 ",
)
FEW, MANY = 200, 2000  # buffers: with a thousand messages, with any number


@pytest.fixture(scope="module")
def prose(checkout: Path) -> list[str]:
    """Texts as models write them, of 2,600 characters each."""
    text = "".join(path.read_text() for path in sorted((checkout / "docs").rglob("*.md")))
    chance = random.Random(7)
    return [text[at : at + 2600] for at in (chance.randrange(len(text) - 2600) for _ in range(200))]


async def wal_of_exchanges(sql: Connection, texts: list[str]) -> int:
    """Bytes of WAL that start and finish write, without full pages, for an exchange in a conversation."""
    chat = await Chat().open(sql, title="Tea")
    total = 0
    for text in texts:
        async with sql.transaction():
            before = await sql.fetchval("select pg_current_wal_insert_lsn()")
            begun = await chat.begin(sql, content=text[:150])
            total += await sql.fetchval("select pg_current_wal_insert_lsn() - $1::pg_lsn", before)
        async with sql.transaction():
            given = await sql.fetchval("select user_message_id from generations where id = $1", begun)
            before = await sql.fetchval("select pg_current_wal_insert_lsn()")
            await chat.finish(sql, begun, content=text, after_id=given)
            total += await sql.fetchval("select pg_current_wal_insert_lsn() - $1::pg_lsn", before)
    return total // len(texts)


async def test_start_and_finish_write_at_most_30_percent_more_wal(sql: Connection, prose: list[str]) -> None:
    await sql.execute("checkpoint")
    await wal_of_exchanges(sql, prose[:20])  # full pages
    with_search = await wal_of_exchanges(sql, prose[20:120])
    await sql.execute("select chat_use_search(false)")
    await wal_of_exchanges(sql, prose[:20])
    without = await wal_of_exchanges(sql, prose[20:120])

    assert with_search / without - 1 <= MOST_WAL


async def find(sql: Connection, user_id: UUID, words: str, **changes: Any) -> asyncpg.Record:
    given = {
        "user_id": user_id,
        "words": words,
        "before_said_at": None,
        "before_conversation_id": None,
        "before_position": None,
        "max_items": 10,
        "max_texts": 18,
        "max_entries": 20_000,
        **changes,
    }
    query = load_queries()["search.find"]
    row = await sql.fetchrow(query.text, *(given[name] for name in query.parameters))
    assert row is not None
    return row


async def buffers(sql: Connection, user_id: UUID, words: str) -> int:
    """What a search touches in a session that has searched before: in a new one, the catalog counts too."""
    query = load_queries()["search.find"]
    given = {"user_id": f"'{user_id}'", "words": f"'{words}'", "max_items": "10", "max_texts": "18"}
    text = query.text
    for number, name in reversed(list(enumerate(query.parameters, 1))):
        text = text.replace(f"${number}", given.get(name, "20000" if name == "max_entries" else "null"))
    for _ in range(3):
        plan = json.loads(await sql.fetchval(f"explain (analyze, buffers, format json) {text}"))[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


@pytest.fixture
async def full(sql: Connection, prose: list[str]) -> tuple[Connection, UUID]:
    """A user with a thousand messages in fifty conversations, among as many of another one."""
    users = [uuid4() for _ in range(2)]
    await sql.execute("select chat_use_search(false)")
    await sql.execute(
        "insert into conversations (user_id, title)"
        " select ($1::uuid[])[n % 2 + 1], 'Conversation ' || n from generate_series(1, 100) as n",
        users,
    )
    await sql.execute(
        "insert into messages (conversation_id, role, content, created_at)"
        " select c.id, case when n % 2 = 1 then 'user' else 'assistant' end,"
        " case when n % 2 = 1 then left(t, 150) else t end || ' and samosa'"
        " || case when r < 0.01 then ' rarity' else '' end,"
        " now() - r * interval '100 days'"
        " from conversations as c, generate_series(1, 20) as n,"
        " lateral (select random() as r, ($1::text[])[1 + (random() * 199)::integer + 0 * n] as t"
        " where c.id is not null) as x",
        prose,
    )
    await sql.execute("select chat_use_search(true)")
    await sql.execute("call chat_fill_search()")
    await sql.execute("vacuum analyze")
    return sql, users[0]


async def test_a_search_among_a_thousand_messages_touches_under_200_buffers(
    full: tuple[Connection, UUID],
) -> None:
    sql, user_id = full
    touched = {
        words: await buffers(sql, user_id, words)
        for words in (
            "samosa ",
            "samo",
            "the ",
            "rarity ",
            "nowhere ",
            "database -samosa",
            '"the answer"',
            "conversation 7 ",
        )
    }

    assert max(touched.values()) < FEW, touched
    row = await find(sql, user_id, "samosa ")
    assert len(json.loads(row["items"])) == 10


async def test_a_search_stops_after_a_bound_and_goes_on_there(full: tuple[Connection, UUID]) -> None:
    sql, user_id = full
    # As of messages that others have deleted since: search passes them and reads no text.
    await sql.execute(
        "insert into search_entries (user_id, said_at, conversation_id, position, signature)"
        " select $1, now() - n * interval '1 second', gen_random_uuid(), n, s.signature"
        " from generate_series(1, 60000) as n, (select chat_signature(string_agg(word, ' ')) as signature"
        " from (select 'word' || g as word from generate_series(1, 150) as g) as w) as s",
        user_id,
    )
    await sql.execute("vacuum analyze search_entries")
    assert await buffers(sql, user_id, "nowhere ") < MANY
    requests, found, place = 0, 0, {}
    while True:
        row = await find(sql, user_id, "rarity ", **place)
        requests, found = requests + 1, found + len(json.loads(row["items"]))
        if row["next_said_at"] is None:
            break
        place = {f"before_{name}": row[f"next_{name}"] for name in ("said_at", "conversation_id", "position")}
    expected = await sql.fetchval(
        "select count(*) from messages as m join conversations as c on c.id = m.conversation_id"
        " where c.user_id = $1 and content like '% rarity'",
        user_id,
    )
    assert found == expected

    assert requests < 12
