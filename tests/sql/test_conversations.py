"""The statements for conversations and their lists, one by one."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import pytest

from tests.support.queries import Chat, Connection, one, opened, run, shown

TIMES = [
    "2025-01-01 00:00+00",
    "2025-01-02 23:30+00",
    "2025-01-02 23:30+00",
    "2025-01-02 23:30+00",
    "2025-01-02 23:30:00.000001+00",
]


async def page(sql: Connection, user_id: UUID, **changes: Any) -> list[asyncpg.Record]:
    parameters = {"user_id": user_id, "before_updated_at": None, "before_id": None, "max_rows": 50, "skip": 0}
    return await run(sql, "conversations.page", **{**parameters, **changes})


@pytest.mark.parametrize("max_rows", [1, 2, 3, 50])
async def test_pages_show_each_conversation_once_newest_first_also_at_equal_times(
    sql: Connection, max_rows: int
) -> None:
    user_id = uuid4()
    for moment in TIMES * 2:
        chat = await Chat(user_id).open(sql)
        await sql.execute(
            f"update conversations set updated_at = timestamptz '{moment}' where id = $1", chat.id
        )
    expected = [
        row["id"] for row in await sql.fetch("select id from conversations order by updated_at desc, id desc")
    ]
    seen: list[UUID] = []
    place: dict[str, Any] = {}
    while rows := await page(sql, user_id, max_rows=max_rows, **place):
        seen += [row["id"] for row in rows]
        assert len(seen) <= len(expected)
        place = {"before_updated_at": rows[-1]["updated_at"], "before_id": rows[-1]["id"]}
    assert seen == expected
    for skip in (0, 1, 9, 10, 1_000_000):
        rows = await page(sql, user_id, skip=skip)
        assert [row["id"] for row in rows] == expected[skip:]


@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
async def test_the_day_of_a_conversation_is_that_of_utc_in_every_session(sql: Connection, zone: str) -> None:
    chat = await Chat().open(sql)
    await sql.execute("update conversations set updated_at = '2025-01-02 23:30+00'")
    await sql.execute(f"set timezone = '{zone}'")
    (row,) = await page(sql, chat.user_id)
    assert row["day"] == "2025-01-02"


@pytest.mark.parametrize(
    ("title", "is_favorited", "result"),
    [
        ("Tea 🫖", None, ("Tea 🫖", False)),
        (None, True, ("New conversation", True)),
        (None, False, ("New conversation", False)),
        ("Tea", True, ("Tea", True)),
    ],
)
async def test_an_update_changes_what_is_given_and_does_not_reorder_the_list(
    sql: Connection, title: str | None, is_favorited: bool | None, result: tuple[str, bool]
) -> None:
    chat = await Chat().open(sql)
    await sql.execute("update conversations set updated_at = '2025-01-01 00:00+00'")
    row = await chat.update(sql, title=title, is_favorited=is_favorited)
    assert row is not None
    shown = orjson.loads(row["conversation"])
    assert (shown["title"], shown["is_favorited"]) == result
    assert await sql.fetchval("select updated_at = '2025-01-01 00:00+00' from conversations")


async def test_an_update_of_what_is_not_there_finds_nothing(sql: Connection) -> None:
    chat = Chat()
    assert await chat.update(sql, title="T") is None
    assert await opened(sql, chat.id, chat.user_id) is None
    assert await one(sql, "conversations.delete", id=chat.id, user_id=chat.user_id) is None


async def test_a_conversation_is_read_oldest_first_with_the_generation_that_runs(sql: Connection) -> None:
    """By when messages were stored, whatever the clock said."""
    chat = await Chat().open(sql)
    for content, second in (("a", 3), ("b", 1), ("c", 2)):
        await chat.say(sql, "user", content, second)
    await (await Chat(chat.user_id).open(sql)).say(sql, "user", "another conversation's")
    begun = await chat.begin(sql)
    row = await opened(sql, chat.id, chat.user_id)
    assert row is not None
    assert [each["content"] for each in shown(row)] == ["a", "b", "c", "hello"]
    assert (row["generation_id"], row["status"], row["last_seq"]) == (begun, "running", None)
    await chat.speak(sql, (begun, 0, [{}, {"token": "a"}]))
    await chat.speak(sql, (begun, 1, [{"token": "a"}, {"token": "b"}]))
    row = await opened(sql, chat.id, chat.user_id)
    assert row is not None
    assert row["last_seq"] == 2
    await chat.finish(sql, begun)
    row = await opened(sql, chat.id, chat.user_id)
    assert row is not None
    assert (row["generation_id"], row["last_seq"]) == (None, None)


@pytest.mark.parametrize("is_running", [False, True])
async def test_a_deletion_takes_all_with_it_and_names_what_was_running(
    sql: Connection, is_running: bool
) -> None:
    chat = await Chat().open(sql)
    other = await Chat(chat.user_id).open(sql)
    await other.begin(sql)
    begun = await chat.begin(sql)
    if not is_running:
        await chat.finish(sql, begun)
    row = await one(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)
    assert row is not None
    assert row["generation_id"] == (begun if is_running else None)
    for table in ("messages", "generations"):
        owners = await sql.fetch(f"select distinct conversation_id from {table}")
        assert [owner["conversation_id"] for owner in owners] == [other.id]
