"""Roll back to each migration and migrate again, on a database in use: no message is lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import asyncpg
import psycopg
import pytest
from psycopg.sql import SQL, Identifier

from chat_api.folders import migrations_dir
from chat_api.libraries.yoyo import locked_migrations
from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations
from chat_api.migrate.session import open_session
from chat_api.settings.database_url import parse_dsn
from tests.migrate import earlier
from tests.migrate.catalog import catalog
from tests.support.chat import Chat as Page
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, kill_workers, opened, run, shown
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
    ("completed", "tool_calls"),
    ("completed", "content_filter"),
]


async def busy(connection: Connection) -> list[Chat]:
    """A conversation for each way in which an answer ends, and one with a running answer."""
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
    await chats[0].say(connection, "tool", "23 °C", at=10**9)  # by its time too, the last one
    return chats


async def said(connection: Connection) -> list[list[Any]]:
    """Every conversation and message, with the columns that callers see."""
    return [
        await connection.fetch(f"select {columns} from {table} order by id")
        for table, columns in [("conversations", CONVERSATION), ("messages", MESSAGE)]
    ]


async def reasons(connection: Connection) -> list[Any]:
    return await connection.fetch("select id, finish_reason from messages order by id")


def everything(database_url: str) -> dict[str, Any]:
    """The schema, and every row of every table with its columns in their order."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        numbers = connection.execute("select sequencename, last_value from pg_sequences").fetchall()
        found: dict[str, Any] = {**catalog(connection), "next numbers": numbers}
        tables = connection.execute(
            "select relname from pg_class where relkind = 'r'"
            " and relnamespace = current_schema()::regnamespace and relname !~ 'yoyo'"
        )
        for (table,) in tables.fetchall():
            rows = connection.execute(SQL("select t::text from {} as t").format(Identifier(table)))
            found[f"rows of {table}"] = sorted(row for (row,) in rows)
    return found


@asynccontextmanager
async def connected(database_url: str) -> AsyncIterator[Connection]:
    connection = await asyncpg.connect(database_url)
    try:
        yield connection
    finally:
        await connection.close()


def apply_one(database_url: str, name: str) -> None:
    """Apply this migration, and none that comes after it."""
    with locked_migrations(
        [migrations_dir()], partial(open_session, parse_dsn(database_url), "")
    ) as migrations:
        migrations.apply(name)


# To go up from every depth to the top would be some 700 steps. Where one step up brings back everything, to
# the last row, the way from there on is that of the depth above, which was gone before. Where a rollback
# loses something, the way up is a new one, and is gone to the top.
@pytest.mark.parametrize("origin", ["fresh", "adopted"])
async def test_down_to_each_migration_and_up_again(
    empty_database: str, new_database: Callable[..., str], origin: str
) -> None:
    if origin == "adopted":
        earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    # No server keeps a connection while the schema changes.
    async with connected(empty_database) as connection:
        if origin == "adopted":
            await connection.execute(
                "alter table conversations drop constraint if exists conversations_user_id_fkey"
            )
        chats = await busy(connection)
        before, why = await said(connection), await reasons(connection)
    known = known_migrations()
    climbs = 0
    above = everything(empty_database)
    for depth, name in enumerate(reversed(known), 1):
        assert rollback_migrations(empty_database) == [name]
        async with connected(empty_database) as connection:
            assert await said(connection) == before, f"after going back to before {name}"
        climbing = new_database(parse_dsn(empty_database).database)
        apply_one(climbing, name)
        above, brought_back = everything(empty_database), everything(climbing) == above
        if brought_back and depth < len(known):
            continue
        climbs += 1
        assert apply_migrations(climbing) == known[len(known) - depth + 1 :]
        async with connected(climbing) as connection:
            assert await said(connection) == before, f"after coming up from before {name}"
            if name > "0002.adopt-messages":  # its rollback says that they are lost
                assert await reasons(connection) == why
        await goes_on(climbing, chats)
    assert climbs


async def a_tree(connection: Connection) -> Chat:
    """A conversation with versions of questions and answers, below each other, and a message that waits."""
    chat = await Chat().open(connection, SAID)
    for number in range(3):
        generation = await chat.begin(connection, content=f"{SAID} {number}")
        await chat.finish(
            connection, generation, content=f"answer {number}", reasoning="hm", status="stopped",
            finish_reason="stopped",
        )  # fmt: skip
    await chat.finish(
        connection, await chat.begin(connection, kind="continue"), content="answer 2, all of it"
    )
    first = await connection.fetchval("select id from messages order by position limit 1")
    await chat.finish(connection, await chat.begin(connection, parent_id=first), content="twice asked")
    await chat.finish(connection, await chat.begin(connection, is_root=True), content="edited")
    await chat.finish(connection, await chat.begin(connection, kind="regenerate"), content="done again")
    below = await connection.fetchval("select id from inactive_messages where content = 'answer 1'")
    assert (await chat.update(connection, active_message_id=below, instructions="Be brief")) is not None
    await connection.execute(
        "insert into queued_messages (conversation_id, content, request) values ($1, 'and then?', '{}')",
        chat.id,
    )
    return chat


EVERY = "select {columns}, finish_reason, reasoning, position from {table} where conversation_id = $1"


async def every_message(connection: Connection, chat: Chat, *tables: str) -> list[tuple[Any, ...]]:
    """All messages of a conversation, by position."""
    parts = [EVERY.format(columns=MESSAGE, table=table) for table in tables]
    rows = await connection.fetch(" union all ".join(parts) + " order by position", chat.id)
    return [tuple(row) for row in rows]


async def test_before_trees_every_version_of_every_message_is_in_one_line(
    empty_database: str, new_database: Callable[..., str]
) -> None:
    apply_migrations(empty_database)
    async with connected(empty_database) as connection:
        chat, line = await a_tree(connection), await Chat().open(connection)
        await line.finish(connection, await line.begin(connection))
        tree = await every_message(connection, chat, "messages", "inactive_messages")
        shown_before = await every_message(connection, chat, "messages")
        others = await every_message(connection, line, "messages")
    assert (len(tree), len(shown_before)) == (12, 4 + 2)
    rollback_migrations(empty_database, steps_before("0039.add-conversation-settings"))
    async with connected(empty_database) as connection:
        *kept, waited = await every_message(connection, chat, "messages")
        assert kept == tree
        assert waited[2:4] == ("user", "and then?")
        assert await every_message(connection, line, "messages") == others
        assert await connection.fetchval("select count(*) from generations") == 8
        assert await connection.fetchval("select to_regclass('inactive_messages')") is None
        # The release before goes on: its answers are beside what is there.
        await line.say(connection, "user", "meanwhile")
    apply_migrations(empty_database)
    async with connected(empty_database) as connection:
        assert await every_message(connection, chat, "messages") == [*tree, waited]
        assert await every_message(connection, chat, "inactive_messages") == []
        got = shown(await opened(connection, chat.id, chat.user_id))
        assert [each["content"] for each in got] == [row[3] for row in [*tree, waited]]
        assert [each["parent_id"] for each in got] == [None, *[each["id"] for each in got[:-1]]]
        assert {each["siblings"] for each in got} == {None}
        # And what is said again has its versions.
        for _ in range(2):
            await chat.finish(connection, await chat.begin(connection, kind="regenerate"))
        *_, last = shown(await opened(connection, chat.id, chat.user_id))
        assert last["siblings"]["index"] == 1


async def goes_on(database_url: str, chats: list[Chat]) -> None:
    """Check that the service finds everything, and that every conversation gets its next answer."""
    connection = await asyncpg.connect(database_url)
    await kill_workers(connection)
    await run(connection, "maintenance.interrupt_orphans")
    for chat in chats:
        row = await opened(connection, chat.id, chat.user_id)
        assert row is not None
        assert shown(row)[0]["content"] == SAID
        generation = await chat.begin(connection)
        assert await chat.finish(connection, generation) is not None
    await connection.close()


def steps_before(migration: str) -> int:
    """How many migrations to roll back so that this one isn't applied."""
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
            async with asyncio.timeout(1):  # no `done` without a stored answer
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
