"""Every change of a conversation that is no new answer counts in its version, which workers are told."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.support.queries import Chat, Connection, meet, one

LIMIT = '[{"name": "sends_per_user", "subject": "x", "every": "9 s", "period": "9 s"}]'


class Told:
    """A conversation and its statements. `stranger`: the same, as another user asks for it."""

    def __init__(self, sql: Connection, chat: Chat) -> None:
        self.sql = sql
        self.chat = chat
        self.stranger = Chat(id=chat.id)

    async def by(self, statement: Awaitable[asyncpg.Record | None]) -> bool:
        """Whether a statement tells of a change. It must count one if it does, and none if it doesn't."""
        before = await self._version()
        row = await statement
        after = await self._version()
        told = None if row is None else row["new_version"]
        assert told == (None if after == before else after)
        assert after - before == (told is not None)
        return told is not None

    async def by_update(self, **changes: Any) -> bool:
        return await self.by(self.chat.update(self.sql, **changes))

    async def by_start(self, **changes: Any) -> bool:
        return await self.by(self.chat.start(self.sql, **changes))

    async def by_queue(self, content: str = "later", **changes: Any) -> bool:
        return await self.by(self.chat.queue(self.sql, content, **{"max_waiting": 3, **changes}))

    async def by_delete(self, message_id: UUID) -> bool:
        return await self.by(self.chat.take_back(self.sql, message_id))

    async def run(self, name: str, **parameters: Any) -> bool:
        """The same of any other statement."""
        return await self.by(one(self.sql, name, **parameters))

    async def ids(self, table: str = "messages") -> list[UUID]:
        """The messages in a table, in the order of their positions."""
        return [row["id"] for row in await self.sql.fetch(f"select id from {table} order by position")]

    async def exchange(self, **changes: Any) -> None:
        """Ask, and answer."""
        await self.chat.finish(self.sql, await self.chat.begin(self.sql, **changes))

    async def fail(self) -> None:
        """End what is being written, with nothing said."""
        await self.sql.execute(
            "update generations set status = 'failed', finished_at = now() where status = 'running'"
        )

    async def _version(self) -> int:
        version: int = await self.sql.fetchval(
            "select version from conversations where id = $1", self.chat.id
        )
        return version


@pytest.fixture
async def told(sql: Connection) -> Told:
    """An empty conversation."""
    return Told(sql, await Chat().open(sql))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("title", ["Tea", "Chai"]),
        ("is_favorited", [True, False]),
        ("model_tag", ["d20", "default"]),
        ("instructions", ["Be brief.", ""]),
        ("options", ['{"top_k":3}', "{}"]),
    ],
)
async def test_a_setting_is_told_once_it_is_another_one(told: Told, name: str, values: list[Any]) -> None:
    for value in values:
        assert await told.by_update(**{name: value})
        assert not await told.by_update(**{name: value})
    assert not await told.by_update()


async def test_a_refused_change_is_not_told(told: Told) -> None:
    await told.exchange()
    assert not await told.by_update(title="x", version=7)
    assert not await told.by(told.stranger.update(told.sql, title="x"))
    assert not await told.by_update(title="x", active_message_id=uuid4())


async def test_another_path_is_told_and_the_same_one_is_not(told: Told) -> None:
    await told.exchange()
    await told.exchange(kind="regenerate")
    [aside] = await told.ids("inactive_messages")
    await told.chat.begin(told.sql)
    assert not await told.by_update(active_message_id=aside)  # an answer is being written
    await told.fail()
    assert await told.by_update(active_message_id=aside)
    assert not await told.by_update(active_message_id=aside)


async def test_an_answer_that_begins_or_ends_is_no_change(told: Told) -> None:
    assert not await told.by_start()
    await told.fail()
    for kind in ("send", "regenerate"):
        generation_id = await told.chat.begin(told.sql, kind=kind)
        assert not await told.by_start()  # one is running
        await told.chat.finish(told.sql, generation_id, finish_reason="length")
    assert not await told.by_start(kind="continue", content=None, title="")
    assert await told.sql.fetchval("select version from conversations") == 0


@pytest.mark.parametrize("place", ["parent_id", "is_root"])
async def test_an_edit_is_told_where_something_leaves_the_path(told: Told, place: str) -> None:
    await told.exchange()
    if place == "is_root":
        assert await told.by_start(is_root=True)
        return
    _, answer = await told.ids()
    assert not await told.by_start(parent_id=answer)  # as any send
    await told.fail()
    assert await told.by_start(parent_id=answer)


async def test_a_message_that_is_taken_back_is_told(told: Told) -> None:
    await told.exchange()
    await told.exchange(kind="regenerate")
    await told.exchange()
    assert not await told.by_delete(uuid4())
    [aside] = await told.ids("inactive_messages")
    assert not await told.by(told.stranger.take_back(told.sql, aside))
    assert await told.by_delete(aside)
    assert not await told.by_delete(aside)
    *_, last = await told.ids()
    generation_id = await told.chat.begin(told.sql)
    assert not await told.by_delete(last)
    await told.chat.finish(told.sql, generation_id)
    assert await told.by_delete(last)


async def test_what_waits_is_told_when_it_comes_and_when_it_goes(told: Told) -> None:
    assert not await told.by_queue()  # there is nothing to wait for
    await told.chat.begin(told.sql)
    assert await told.by_queue(idempotency_key="k")
    assert not await told.by_queue(idempotency_key="k")
    assert not await told.by_queue(idempotency_key="k", content="other")
    assert not await told.by(told.stranger.queue(told.sql, "later"))
    assert await told.by_queue(limits=LIMIT)
    assert not await told.by_queue(limits=LIMIT)
    assert await told.by_queue()
    assert not await told.by_queue()  # three wait
    first, second, _ = await told.ids("queued_messages")
    assert await told.by_delete(first)
    assert not await told.by_delete(first)
    assert await told.run("queue.drop", id=second)
    assert not await told.run("queue.drop", id=second)
    owner = {"conversation_id": told.chat.id, "user_id": told.chat.user_id}
    assert not await told.run("queue.clear", **{**owner, "user_id": uuid4()})
    assert await told.run("queue.clear", **owner)
    assert not await told.run("queue.clear", **owner)
    assert await told.ids("queued_messages") == []


async def test_a_turn_is_an_answer_that_begins(told: Told) -> None:
    generation_id = await told.chat.begin(told.sql)
    await told.by_queue("hello")
    [waiting] = await told.ids("queued_messages")
    await told.chat.finish(told.sql, generation_id)
    assert not await told.by_start(queued_id=waiting)
    assert (await told.ids())[-1] == waiting


async def test_a_title_takes_the_place_of_the_old_one_alone(told: Told) -> None:
    await told.exchange()
    titled = {"id": told.chat.id, "old_title": "hello", "title": "Greetings"}
    assert not await told.run("conversations.retitle", **{**titled, "id": uuid4()})
    assert not await told.run("conversations.retitle", **{**titled, "title": "hello"})
    assert await told.run("conversations.retitle", **titled)
    assert not await told.run("conversations.retitle", **titled)
    await told.by_update(title="Mine")
    assert not await told.run("conversations.retitle", **{**titled, "old_title": "Greetings"})
    assert await told.sql.fetchval("select title from conversations") == "Mine"


async def test_a_title_does_not_overwrite_one_that_is_just_being_given(
    told: Told, first: Connection, second: Connection
) -> None:
    await told.exchange()
    await told.chat.update(first, title="Tea")
    late = one(second, "conversations.retitle", id=told.chat.id, old_title="hello", title="Greetings")
    assert await meet(told.sql, first, second, late) is None
    assert await told.sql.fetchval("select title || version from conversations") == "Tea1"


async def test_a_deletion_is_told_unless_it_is_refused(told: Told) -> None:
    delete = {"name": "conversations.delete", "id": told.chat.id}
    assert not await told.run(**delete, user_id=told.stranger.user_id)
    await told.by_update(title="Tea")
    await told.sql.execute("insert into legal_hold (user_id, reason) values ($1, 'x')", told.chat.user_id)
    assert not await told.run(**delete, user_id=told.chat.user_id)
    await told.sql.execute("delete from legal_hold")
    row = await one(told.sql, **delete, user_id=told.chat.user_id)
    assert row is not None
    assert row["new_version"] == 2
