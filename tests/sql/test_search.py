"""Search: what is found, and that it is found the moment it is stored, and gone the moment it is deleted."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.queries import Chat, Connection, one, run

OPERATIONS = 250
"""Of each of the three runs; most store, move or delete several rows."""

WORDS = [
    "tea",
    "samosa",
    "samosas",
    "chutney",
    "Ärger",
    "cafe\u0301",
    "数据库",
    "很好",
    "\u0e0a\u0e32",
    "\U0001f95f",
    "x" * 3000,
]

# What is there to be known of search_entries, made anew from what it stands for.
EXPECTED = """
    select
        c.user_id, m.created_at as said_at, m.conversation_id, m.position,
        chat_signature(m.content) as signature
    from conversations as c
    join (
        select conversation_id, position, created_at, role, content from messages
        union all
        select conversation_id, position, created_at, role, content from inactive_messages
    ) as m on m.conversation_id = c.id
    where m.role in ('user', 'assistant') and chat_signature(m.content) is not null
    union all
    select user_id, chat_title_time(created_at), id, 0, chat_signature(title)
    from conversations
    where title <> 'New conversation' and chat_signature(title) is not null
"""


async def differences(sql: Connection) -> int:
    """How many rows search_entries has too many, or lacks."""
    columns = "user_id, said_at, conversation_id, position, signature"
    return int(
        await sql.fetchval(
            f"select (select count(*) from (select {columns} from search_entries except ({EXPECTED})) as a)"
            f" + (select count(*) from (({EXPECTED}) except select {columns} from search_entries) as b)"
        )
    )


async def find(sql: Connection, user_id: UUID, words: str, **changes: Any) -> list[dict[str, Any]]:
    """Everything that is found, page by page."""
    given: dict[str, Any] = {
        "before_said_at": None,
        "before_conversation_id": None,
        "before_position": None,
        "max_items": 3,
        "max_texts": 5,
        "max_entries": 7,
        **changes,
    }
    items: list[dict[str, Any]] = []
    while True:
        row = await one(sql, "search.find", user_id=user_id, words=words, **given)
        assert row is not None
        items += json.loads(row["items"])
        if row["next_said_at"] is None:
            return items
        given |= {
            f"before_{name}": row[f"next_{name}"] for name in ("said_at", "conversation_id", "position")
        }


async def scan(sql: Connection, user_id: UUID, words: str) -> list[UUID]:
    """The same by reading every text."""
    rows = await sql.fetch(
        "select m.id from chat_search_query($2) as q, conversations as c join ("
        " select id, conversation_id, role, content, created_at, position from messages"
        " union all"
        " select id, conversation_id, role, content, created_at, position from inactive_messages) as m"
        " on m.conversation_id = c.id where c.user_id = $1 and m.role in ('user', 'assistant')"
        " and not exists (select from unnest(q.needed) as n where strpos(chat_words(m.content), n) = 0)"
        " and not exists (select from unnest(q.unwanted) as n where strpos(chat_words(m.content), n) > 0)"
        " order by m.created_at desc, m.conversation_id desc, m.position desc",
        user_id,
        words,
    )
    return [row["id"] for row in rows]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("A cup of masala tea", "masala"),
        ("A cup of masala tea", "TEA masala"),
        ("A cup of masala tea", "masa"),
        ("A cup of masala tea", '"masala tea"'),
        ("A cup of masala tea", '"cup of masa'),
        ("A cup of masala tea", "masala -coffee"),
        ("A cup of masala tea", "tea?"),
        ("A cup of masala, tea", '"masala tea"'),
        (
            "naïve Café, ÅNGSTRÖM, Straße, Ærø, Łódź, İstanbul",
            "naive cafe angstrom strasse aero lodz istanbul ",
        ),
        ("cafe\u0301", "café"),
        ("Привет, ЁЛКА", "привет елка"),
        ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
        ("\uff26\uff55\uff4c\uff4c \ufb01ne \u00bd x\u00b2", "full fine x2"),  # full width, a ligature
        ("这个数据库的设计很好。", "数据库"),
        ("这个数据库的设计很好。", "数"),
        ("これはデータベースです。", "データ"),
        ("ภาษาไทยสวยงาม", "ไทย"),
        ("한국어를 공부합니다", "한국"),
        ("हिन्दी भाषा", "हिन्दी"),
        ("مَرْحَبًا بكم", "مرحبا"),
        ("I like \U0001f95f and \U0001f44d\U0001f3fd", "\U0001f95f"),
        ("see chat_api/app.py, foo.bar(baz)", "foo.bar"),
        ("see chat_api/app.py, foo.bar(baz)", "chat_api/app.py"),
        ("e-mail", "e-mail"),
        ("C++ and C#", "c"),
        ("a" * 5000 + " end", "a" * 400),
        ("one " * 40_000 + "needle", "needle"),
        ("line\nbreak\ttab\u00a0space", "break tab space "),
    ],
)
async def test_is_found(sql: Connection, content: str, words: str) -> None:
    chat = await Chat().open(sql)
    message_id = await chat.say(sql, "user", content)
    [item] = await find(sql, chat.user_id, words)
    assert item["message_id"] == str(message_id)
    assert item["conversation"]["id"] == str(chat.id)
    assert (item["role"], item["is_active"]) == ("user", True)
    assert "«" in item["snippet"], item["snippet"]
    assert "»" in item["snippet"], item["snippet"]
    assert len(item["snippet"]) < 500


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("A cup of masala tea", "masa "),
        ("A cup of masala tea", "mas"),
        ("A cup of masala tea", '"tea masala"'),
        ("A cup of masala tea", '"masa"'),
        ("A cup of masala tea", "masala -tea"),
        ("A cup of masala tea", 'masala -"of masala"'),
        ("A cup of masala tea", "-coffee"),
        ("A cup of masala tea", "coffee masala"),
        ("这个数据库的设计很好。", "据数"),
        ("A cup of masala tea", "!!!"),
        ("A cup of masala tea", "%"),
        ("A cup of masala tea", '"'),
        ("A cup of masala tea", "-"),
    ],
)
async def test_is_not_found(sql: Connection, content: str, words: str) -> None:
    chat = await Chat().open(sql)
    await chat.say(sql, "user", content)
    assert await find(sql, chat.user_id, words) == []


@pytest.mark.parametrize(
    ("content", "words", "snippet"),
    [
        ("A cup of masala tea", "masala cup", "A «cup» of «masala» tea"),
        ("tea, teas, TEA!", "tea ", "«tea», teas, «TEA»!"),
        ("samosa, samosas", "samo", "«samo»sa, «samo»sas"),
        ("«Tea» is not 'tea'", "tea ", "\u2039«Tea»\u203a is not '«tea»'"),
        ("foo.bar and foo bar", "foo.bar ", "«foo.bar» and «foo bar»"),
        ("cafe\u0301 au lait", "cafe ", "«café» au lait"),
        ("这个数据库很好", "数据", "这个«数据»库很好"),
        (
            "before " * 100 + "needle" + " after" * 100,
            "needle ",
            "…" + "before " * 7 + "«needle»" + " after" * 24 + " …",
        ),
    ],
)
async def test_a_snippet_shows_where(sql: Connection, content: str, words: str, snippet: str) -> None:
    chat = await Chat().open(sql)
    await chat.say(sql, "user", content)
    [item] = await find(sql, chat.user_id, words)
    assert item["snippet"] == snippet


async def test_titles_come_first_then_the_newest_message(sql: Connection) -> None:
    chat = await Chat().open(sql, title="All about tea")
    other = await Chat(user_id=chat.user_id).open(sql)
    first = await chat.say(sql, "user", "tea or coffee?", at=1)
    second = await other.say(sql, "assistant", "tea", at=2)
    third = await chat.say(sql, "assistant", "tea", at=3)
    items = await find(sql, chat.user_id, "tea ")
    assert [item["message_id"] for item in items] == [None, str(third), str(second), str(first)]
    assert items[0]["snippet"] == "All about «tea»"
    assert items[0]["role"] is items[0]["is_active"] is None


async def test_neither_thinking_nor_tools_nor_instructions_nor_anothers(sql: Connection) -> None:
    chat = await Chat().open(sql)
    begun = await chat.begin(sql, content="hello")
    await chat.finish(sql, begun, content="an answer", reasoning="secret thoughts")
    await chat.say(sql, "tool", "secret result")
    await chat.say(sql, "system", "secret rules")
    await sql.execute("update conversations set instructions = 'secret'")
    other = await Chat().open(sql, title="secret")
    await other.say(sql, "user", "secret")
    assert await find(sql, chat.user_id, "secret ") == []
    assert len(await find(sql, other.user_id, "secret ")) == 2


async def test_the_placeholder_title_is_no_title(sql: Connection) -> None:
    chat = await Chat().open(sql)
    assert await find(sql, chat.user_id, "conversation ") == []
    await chat.update(sql, title="Conversation with a cook")
    assert len(await find(sql, chat.user_id, "conversation ")) == 1


async def test_what_a_deletion_in_pieces_hides_is_not_found_and_its_rows_go(sql: Connection) -> None:
    chat = await Chat().open(sql, title="tea")
    for at in range(1200):
        await chat.say(sql, "user", f"tea {at}", at)
    assert await run(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)
    assert await find(sql, chat.user_id, "tea ", max_items=50, max_texts=50, max_entries=2000) == []
    for _ in range(20):
        await run(sql, "retention.clear", max_rows=500)
    assert await sql.fetchval("select count(*) from conversations") == 0
    assert await sql.fetchval("select count(*) from search_entries") == 0


async def test_a_changed_row_is_found_by_what_it_says_now(sql: Connection) -> None:
    chat = await Chat().open(sql)
    message_id = await chat.say(sql, "user", "tea")
    await sql.execute("update messages set content = 'coffee' where id = $1", message_id)
    assert await find(sql, chat.user_id, "tea ") == []
    assert len(await find(sql, chat.user_id, "coffee ")) == 1
    new_owner = uuid4()
    await sql.execute("update conversations set user_id = $1", new_owner)
    assert await find(sql, chat.user_id, "coffee ") == []
    assert len(await find(sql, new_owner, "coffee ")) == 1
    assert await differences(sql) == 0


async def test_search_can_be_left_out_and_brought_back(sql: Connection) -> None:
    chat = await Chat().open(sql, title="tea")
    await chat.say(sql, "user", "tea")
    assert await sql.fetchval("select chat_use_search(false)")
    await chat.say(sql, "assistant", "more tea")
    await chat.update(sql, title="green tea")
    assert await sql.fetchval("select count(*) from search_entries") == 0
    assert await sql.fetchval("select chat_use_search(true)")
    assert not await sql.fetchval("select chat_use_search(true)")
    await sql.execute("call chat_fill_search()")
    assert await differences(sql) == 0
    assert len(await find(sql, chat.user_id, "tea ")) == 3


@pytest.mark.parametrize("seed", range(3))
async def test_random_changes_and_lost_connections_leave_what_a_scan_finds(
    sql: Connection, database_url: str, seed: int
) -> None:
    chance = random.Random(seed)
    users = [uuid4() for _ in range(3)]
    chats = [await Chat(user_id=chance.choice(users)).open(sql) for _ in range(6)]
    busy = await asyncpg.connect(database_url)

    def text() -> str:
        return " ".join(chance.choice(WORDS) for _ in range(chance.randrange(6)))

    async def message(chat: Chat, table: str = "messages") -> UUID | None:
        ids = await sql.fetch(f"select id from {table} where conversation_id = $1", chat.id)
        return chance.choice(ids)["id"] if ids else None

    async def answer(chat: Chat) -> None:
        row = await chat.start(busy, content=text() or "-")
        if row is not None and row["outcome"] == "started":
            if chance.random() < 0.2:
                await busy.execute("delete from journal")
            await chat.finish(
                busy, row["generation_id"], content=text(), status=chance.choice(["completed", "stopped"])
            )

    async def again(chat: Chat) -> None:
        row = await chat.start(busy, kind="regenerate")
        if row is not None and row["outcome"] == "started":
            await chat.finish(busy, row["generation_id"], content=text())

    async def edit(chat: Chat) -> None:
        if (parent := await message(chat)) is not None:
            row = await chat.start(busy, content=text() or "-", parent_id=parent)
            if row is not None and row["outcome"] == "started":
                await chat.finish(busy, row["generation_id"], content=text())

    async def switch(chat: Chat) -> None:
        if (other := await message(chat, "inactive_messages")) is not None:
            await chat.update(busy, active_message_id=other)

    async def take_back(chat: Chat) -> None:
        if (gone := await message(chat, chance.choice(["messages", "inactive_messages"]))) is not None:
            await chat.take_back(busy, gone)

    async def retitle(chat: Chat) -> None:
        await chat.update(busy, title=text()[:500] or "New conversation")

    async def fork(chat: Chat) -> None:
        if (last := await message(chat)) is not None:
            await chat.fork(busy, last)

    async def by_hand(chat: Chat) -> None:
        if (one_of := await message(chat)) is not None:
            await busy.execute("update messages set content = $2 where id = $1", one_of, text())

    async def delete(chat: Chat) -> None:
        await busy.execute("delete from conversations where id = $1", chat.id)
        chats[chats.index(chat)] = await Chat(user_id=chance.choice(users)).open(sql)

    steps = [answer] * 6 + [again, again, edit, edit, switch, switch, take_back, retitle, fork, by_hand]
    for number in range(OPERATIONS):
        chat = chance.choice(chats)
        step = delete if number % 40 == 39 else chance.choice(steps)
        if chance.random() < 0.2:  # a crash: what a transaction did is undone
            transaction = busy.transaction()
            await transaction.start()
            with suppress(asyncpg.PostgresError):
                await chance.choice(steps)(chat)
            if chance.random() < 0.2:
                await sql.execute("select pg_terminate_backend($1, 5000)", busy.get_server_pid())
                busy = await asyncpg.connect(database_url)
            else:
                await transaction.rollback()
        else:
            await step(chat)
        if number % 50 == 0:
            assert await differences(sql) == 0, number
    assert await differences(sql) == 0
    for user_id in users:
        for words in (
            "tea ",
            "samosa ",
            "samosa",
            "tea -chutney",
            '"tea samosa"',
            "arger ",
            "cafe ",
            "数据",
            "好",
            "\u0e0a",
            "\U0001f95f",
        ):
            found = [
                UUID(item["message_id"])
                for item in await find(sql, user_id, words, max_entries=50)
                if item["message_id"]
            ]
            assert found == await scan(sql, user_id, words), words
    await busy.close()
