"""A conversation that is too large for one statement vanishes at once, and its rows go in pieces."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.commands.data.erase import Amount, erase
from chat_api.commands.data.erase import count as count_of
from chat_api.commands.data.queries import session
from chat_api.postgres.queries import load_queries
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat as OpenChat
from tests.support.chat import until
from tests.support.model_server import ModelServer
from tests.support.queries import Chat, Connection, meet, one, run
from tests.support.reader import read_events

TABLES = ("conversations", "messages", "inactive_messages", "queued_messages", "generations")


async def large(sql: Connection, chat: Chat, rows: int = 1500) -> None:
    """Add that many messages, and other versions of every tenth."""
    await sql.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', 'hello' from generate_series(1, $2)",
        chat.id,
        rows,
    )
    await sql.execute(
        "insert into inactive_messages"
        " (id, conversation_id, role, content, created_at, position, parent_position)"
        " select chat_uuid7(), $1, 'user', 'hi', now(), nextval('chat_position'), 0"
        " from generate_series(1, $2)",
        chat.id,
        rows // 10,
    )


async def counts(sql: Connection) -> dict[str, int]:
    """How many rows each table has, where it has any."""
    found = {table: await sql.fetchval(f"select count(*) from {table}") for table in TABLES}
    return {table: number for table, number in found.items() if number}


async def delete(sql: Connection, chat: Chat) -> asyncpg.Record | None:
    """Delete the conversation."""
    return await one(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)


async def clear(sql: Connection, rows: int = 1000) -> int:
    """Clear until nothing is left; returns how many pieces that took."""
    pieces = 0
    while await one(sql, "retention.clear", max_rows=rows) is not None:
        pieces += 1
    return pieces


async def test_a_conversation_of_a_thousand_rows_goes_at_once(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await large(sql, chat, 900)
    row = await delete(sql, chat)
    assert row is not None
    assert (row["outcome"], await counts(sql)) == ("deleted", {})
    assert await clear(sql) == 0


async def test_a_larger_one_is_gone_for_everybody_at_once_and_its_rows_go_in_pieces(sql: Connection) -> None:
    chat = await Chat().open(sql)
    other = await Chat(user_id=chat.user_id).open(sql)
    await large(sql, chat, 2500)
    row = await delete(sql, chat)
    assert row is not None
    assert row["outcome"] == "set aside"
    assert await delete(sql, chat) is None
    assert await chat.update(sql, title="x") is None
    assert await chat.queue(sql, "x") is None
    assert await chat.start(sql) is None
    (line,) = await run(sql, "users.export", user_id=chat.user_id, conversation_id=None)
    assert str(other.id) in line["line"]
    page = await run(
        sql,
        "conversations.page",
        user_id=chat.user_id,
        before_updated_at=None,
        before_id=None,
        max_rows=9,
        skip=0,
    )
    assert [each["id"] for each in page] == [other.id]
    before = await counts(sql)
    assert await one(sql, "retention.clear", max_rows=1000) is not None
    after = await counts(sql)
    assert {name: before[name] - after.get(name, 0) for name in before} == {
        "conversations": 0,
        "messages": 1000,
        "inactive_messages": 250,
    }
    assert await clear(sql) == 2
    assert await counts(sql) == {"conversations": 1}


async def test_a_piece_that_never_commits_is_done_by_the_next(sql: Connection, database_url: str) -> None:
    chat = await Chat().open(sql)
    await large(sql, chat)
    await delete(sql, chat)
    killed = await asyncpg.connect(database_url)
    await killed.execute("begin")
    assert await one(killed, "retention.clear", max_rows=1000) is not None
    assert await one(sql, "retention.clear", max_rows=1000) is None  # waits for nobody
    killed.terminate()

    async def clears() -> bool:
        return await clear(sql) > 0

    await until(clears)
    assert await counts(sql) == {}


async def test_a_start_that_waits_for_the_deletion_leaves_nothing(sql: Connection, database_url: str) -> None:
    chat = await Chat().open(sql)
    await large(sql, chat)
    deleting, starting = await asyncpg.connect(database_url), await asyncpg.connect(database_url)
    await deleting.execute("begin")
    await delete(deleting, chat)
    with pytest.raises(asyncpg.CheckViolationError):  # which the service answers by trying again
        await meet(sql, deleting, starting, chat.start(starting))
    assert await chat.start(starting) is None
    await deleting.close()
    await starting.close()
    await clear(sql)
    assert await counts(sql) == {}


async def test_what_waits_for_its_turn_is_never_sent(sql: Connection) -> None:
    chat = await Chat().open(sql)
    running = await chat.begin(sql)
    await chat.queue(sql, "and then?")
    await large(sql, chat)
    row = await delete(sql, chat)
    assert row is not None
    assert row["generation_id"] == running
    assert "queued_messages" not in await counts(sql)
    assert await sql.fetchval("select stop_requested_at from generations") is not None
    assert await clear(sql) == 0  # its worker is still there
    await chat.finish(sql, running, status="stopped", finish_reason="stopped")
    # Not even one that was added at the same moment.
    await sql.execute(
        "insert into queued_messages (conversation_id, content, request) values ($1, 'x', '{}')", chat.id
    )
    assert await run(sql, "queue.due", max_rows=9) == []
    assert await run(sql, "queue.next", conversation_id=chat.id) == []


async def test_over_http_it_is_404_from_then_on_its_answer_stops_and_a_worker_clears(
    sql: Connection, start: Start, settings: Settings, auth: AuthService, model: ModelServer
) -> None:
    client = await start(settings.model_copy(update={"worker_lease": 1.0}))
    stored = await Chat(user_id=uuid4()).open(sql)
    await large(sql, stored)
    chat = OpenChat(client, f"/api/conversations/{stored.id}", auth.sign_in(stored.user_id))
    response, call, _ = await chat.begin(model, "Once ")
    deleted = await client.delete(chat.path, headers=chat.user)
    assert deleted.status == 204
    await asyncio.wait_for(call.closed.wait(), 5)
    await read_events(response)
    for method in ("get", "delete"):
        assert (await getattr(client, method)(chat.path, headers=chat.user)).status == 404
    listed = await (await client.get("/api/conversations", headers=chat.user)).json()
    assert listed["items"] == []

    await sql.execute("delete from workers where id = $1", stored.worker_id)  # older, and not there

    async def is_cleared() -> bool:
        return await counts(sql) == {}

    await until(is_cleared)


async def test_the_sweep_takes_a_large_one_too_and_counts_it_once(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await large(sql, chat)
    await sql.execute("update conversations set updated_at = now() - interval '40 days'")
    sweep: dict[str, Any] = {"first_block": 0, "blocks": 9, "days": 30, "favourites": False, "max_rows": 9}
    for gone in (1, 0):
        row = await one(sql, "retention.sweep", **sweep)
        assert row is not None
        assert row["gone"] == gone
    await clear(sql)
    assert await counts(sql) == {}


async def test_erasing_goes_on_where_it_was_interrupted(
    sql: Connection, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = await Chat().open(sql)
    await large(sql, chat)
    small = await Chat(user_id=chat.user_id).open(sql)
    await small.finish(sql, await small.begin(sql))
    with session(settings) as db:
        assert count_of(db, chat.user_id) == Amount(2, 1500 + 150 + 2, 1)
        rows = db.rows

        def interrupted(name: str, **parameters: Any) -> Any:
            if name == "retention.clear":
                raise KeyboardInterrupt
            return rows(name, **parameters)

        with monkeypatch.context() as patch:
            patch.setattr(db, "rows", interrupted)
            with pytest.raises(KeyboardInterrupt):
                erase(db, chat.user_id)
        assert (await counts(sql))["conversations"] == 1
        assert erase(db, chat.user_id) == (Amount(), 0)
    assert await counts(sql) == {}


async def test_erasing_and_counting_read_the_journal_and_the_tables_by_their_indexes(sql: Connection) -> None:
    chat = await Chat().open(sql)
    await chat.finish(sql, await chat.begin(sql))
    await sql.execute(
        "insert into journal (generation_id, first_seq, next_seq, events)"
        " select chat_uuid7(), 0, 1, '[]' from generate_series(1, 20000)"
    )
    await sql.execute("analyze")
    statement = load_queries()["users.delete"].text
    await sql.execute("set plan_cache_mode = force_generic_plan")
    await sql.execute(f"prepare erasing as {statement}")
    plan = await sql.fetchval(f"explain (format json) execute erasing('{chat.user_id}', 100)")
    nodes: list[dict[str, Any]] = []
    found = [json.loads(plan)[0]["Plan"]]
    while found:
        nodes.append(found.pop())
        found += nodes[-1].get("Plans", [])
    read = [node["Node Type"] for node in nodes if node.get("Relation Name") == "journal"]
    assert "Seq Scan" not in read
    assert len(read) > 0


async def test_what_is_due_is_the_same_in_parts(sql: Connection) -> None:
    for _ in range(300):
        chat = await Chat().open(sql, title="x" * 200)
        await chat.finish(sql, await chat.begin(sql))
    await sql.execute("update conversations set updated_at = now() - interval '40 days'")
    days: dict[str, Any] = {"days": 30, "favourites": False, "generation_days": 0}
    whole = await one(sql, "retention.due", first_block=0, blocks=2**32, **days)
    assert whole is not None
    assert (whole["conversations"], whole["messages"], whole["next_block"]) == (300, 600, None)
    block, found = 0, []
    while block is not None:
        part = await one(sql, "retention.due", first_block=block, blocks=1, **days)
        assert part is not None
        found.append(part["conversations"])
        block = part["next_block"]
    assert (sum(found), len(found) > 3) == (300, True)


async def test_nobody_takes_a_conversation_from_another(sql: Connection) -> None:
    chat = await Chat().open(sql)
    async with sql.transaction():
        await sql.execute("select chat_for_user($1, $2)", UUID(int=3), chat.id)
        await sql.execute("select chat_set_aside($1)", chat.id)
    assert await sql.fetchval("select user_id from conversations") == chat.user_id
