"""Down to each migration and up again, with a database that is at work: nothing that was said is lost."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations
from tests.migrate import earlier
from tests.support.chat import Chat as Page
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, one, run
from tests.support.reader import read_events, text_of

CONVERSATION = "id, user_id, title, model_tag, is_favorited, created_at, updated_at"
MESSAGE = "id, conversation_id, role, content, token_count, model_tag, inference_time_ms, created_at"
SAID = "ਸਮੋਸਾ 🥟\n\ttwo\u2028lines, 'quotes' \\ and %(signs)s"
STATES = [
    ("completed", "stop"),
    ("stopped", "stopped"),
    ("failed", "error"),
    ("interrupted", "interrupted"),
    ("completed", "length"),
]


async def busy(connection: Connection) -> list[Chat]:
    """A conversation for each way in which an answer ends, and one whose answer is running."""
    chats = [await Chat().open(connection, SAID) for _ in range(len(STATES) + 1)]
    for chat, (status, reason) in zip(chats, STATES, strict=False):
        generation = await chat.begin(connection, content=SAID, title="t", idempotency_key="k")
        await chat.speak(connection, (generation, 0, [{"generation_id": "…"}, {"token": SAID}]))
        ended = await chat.finish(
            connection, generation, status=status, finish_reason=reason, content=f"{SAID} {status}"
        )
        assert ended is not None
    running = await chats[-1].begin(connection, content=SAID)
    await chats[-1].speak(connection, (running, 0, [{"generation_id": "…"}, {"token": "half"}]))
    await connection.execute("update conversations set is_favorited = true where id = $1", chats[0].id)
    return chats


async def said(connection: Connection) -> list[list[Any]]:
    """Every conversation and message, in the columns that callers see."""
    return [
        await connection.fetch(f"select {columns} from {table} order by id")
        for table, columns in [("conversations", CONVERSATION), ("messages", MESSAGE)]
    ]


async def reasons(connection: Connection) -> list[Any]:
    return await connection.fetch("select id, finish_reason from messages order by id")


@pytest.mark.parametrize("origin", ["fresh", "adopted"])
async def test_down_to_each_migration_and_up_again(empty_database: str, origin: str) -> None:
    if origin == "adopted":
        earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    known = known_migrations()
    for depth in range(1, len(known) + 1):
        # Anew each time: no server keeps a connection while the schema goes down and up.
        connection = await asyncpg.connect(empty_database)
        if origin == "adopted":
            await connection.execute(
                "alter table conversations drop constraint if exists conversations_user_id_fkey"
            )
        chats = await busy(connection)
        before, why = await said(connection), await reasons(connection)
        assert rollback_migrations(empty_database, depth) == known[: -depth - 1 : -1]
        assert await said(connection) == before, f"after going back to before {known[-depth]}"
        assert apply_migrations(empty_database) == known[-depth:]
        assert await said(connection) == before, f"after coming up from before {known[-depth]}"
        if "0002.adopt-messages" not in known[-depth:]:  # its rollback says that it costs them
            assert await reasons(connection) == why
        await connection.close()
        await goes_on(empty_database, chats)


async def goes_on(database_url: str, chats: list[Chat]) -> None:
    """The service's statements find everything, and every conversation gets its next answer."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("delete from workers")  # dead, all of them
    await run(connection, "maintenance.interrupt_orphans")
    for chat in chats:
        row = await one(connection, "conversations.get", id=chat.id, user_id=chat.user_id)
        assert row is not None
        assert orjson.loads(row["messages"])[0]["content"] == SAID
        generation = await chat.begin(connection)
        assert await chat.finish(connection, generation) is not None
    await connection.close()


def steps_before(migration: str) -> int:
    """How many must go, so that this one isn't applied."""
    return len(known_migrations()) - known_migrations().index(migration)


async def test_a_step_back_under_a_running_service_holds_answers_up_until_it_is_taken_again(
    client: Client, chat: Page, model: ModelServer, database_url: str
) -> None:
    stream, call, _ = await chat.begin(model, "so ", "far")
    steps = steps_before("0011.create-journal")
    await asyncio.to_thread(rollback_migrations, database_url, steps)
    try:
        ready = await client.get("/api/ready")
        assert (ready.status, ready.headers["Retry-After"] > "0") == (503, True)
        assert (await ready.json())["checks"]["migrations"] == f"{steps} to apply: run chat-api migrate"
        assert (await client.get("/api/health")).status == 200
        call.finish(", so good")
        assert (await read_events(stream, 1))[0].data["token"] == ", so good"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):  # no done that isn't stored
                await read_events(stream, 1)
    finally:
        await asyncio.to_thread(apply_migrations, database_url)
    assert (await read_events(stream))[-1].data["finish_reason"] == "stop"
    assert (await client.get("/api/ready")).status == 200
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "so far, so good"]


async def test_what_cannot_be_begun_meanwhile_is_refused_in_clear_words(
    client: Client, chat: Page, model: ModelServer, database_url: str
) -> None:
    await chat.exchange(model, "before")
    await asyncio.to_thread(rollback_migrations, database_url, steps_before("0010.create-generations"))
    try:
        refused = await chat.send()
        body = await refused.json()
        assert (refused.status, body["code"]) == (503, "database_not_migrated")
        assert "chat-api migrate" in body["detail"]
        assert int(refused.headers["Retry-After"]) > 0
        assert (await client.get("/api/ready")).status == 503
    finally:
        await asyncio.to_thread(apply_migrations, database_url)
    assert (await client.get("/api/ready")).status == 200
    assert text_of(await chat.exchange(model, "after")) == "after"
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "before", "Hi", "after"]
