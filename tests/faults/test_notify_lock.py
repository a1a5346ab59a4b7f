"""While a commit holds the lock of NOTIFY, users' requests go on, and the runbook says who holds it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from tests.docs.page import FOLDER
from tests.support.queries import Chat, Connection, one, run, tick

RUNBOOK = FOLDER / "runbook.md"


@pytest.fixture
async def sql(own_server: Postgres) -> AsyncIterator[Connection]:
    """A session whose commits wait for no standby."""
    connection = await asyncpg.connect(own_server.dsn())
    await connection.execute("set synchronous_commit = local")
    yield connection
    await connection.close()


@pytest.fixture
async def holder(own_server: Postgres, sql: Connection) -> AsyncIterator[asyncio.Task[None]]:
    """Commits that notify, until one waits for a standby that doesn't exist."""
    connection = await asyncpg.connect(own_server.dsn())
    over = asyncio.Event()

    async def notify() -> None:
        while not over.is_set():
            await connection.execute("notify somebody")

    await wait_for_standby(sql, "nobody")
    task = asyncio.create_task(notify())
    async with asyncio.timeout(30):
        while [row["wait_event"] for row in await who_waits(sql)] != ["SyncRep"]:  # noqa: ASYNC110 - nothing tells when a commit waits
            await asyncio.sleep(0.01)
    yield task
    over.set()
    await wait_for_standby(sql, "")
    await task
    await connection.close()


async def wait_for_standby(sql: Connection, name: str) -> None:
    """Let commits wait for this standby, or for none."""
    await sql.execute(f"alter system set synchronous_standby_names = '{name}'")
    await sql.execute("select pg_reload_conf()")


async def who_waits(sql: Connection) -> list[asyncpg.Record]:
    """By the runbook's query: who holds the lock, and then who waits for it."""
    entry = RUNBOOK.read_text().partition("### Commits that wait for Lock, object")[2]
    found = re.search(r"```sql\n(.*?)```", entry, re.DOTALL)
    assert found is not None
    rows: list[asyncpg.Record] = await sql.fetch(found[1])
    return rows


async def test_users_requests_go_on_and_the_runbook_names_who_holds_the_lock(
    own_server: Postgres, sql: Connection, holder: asyncio.Task[None]
) -> None:
    chat = await Chat().open(sql)
    async with asyncio.timeout(30):
        begun = await chat.begin(sql)
        assert await chat.queue(sql, "later")
        assert await chat.update(sql, title="Tea")
        await run(sql, "generations.stop", conversation_id=chat.id, user_id=chat.user_id, generation_id=None)
        await chat.finish(sql, begun)
        await run(sql, "queue.clear", conversation_id=chat.id, user_id=chat.user_id)
        await run(sql, "maintenance.interrupt_orphans")
        await one(sql, "conversations.delete", id=chat.id, user_id=chat.user_id)
        await tick(sql, chat.worker_id)
        assert len(await who_waits(sql)) == 1
        worker = await asyncpg.connect(own_server.dsn())
        ticking = asyncio.create_task(tick(worker, chat.worker_id, notifications=["many"]))
        while len(rows := await who_waits(sql)) != 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert not holder.done()
    assert [(row["granted"], row["wait_event"]) for row in rows] == [(True, "SyncRep"), (False, "object")]
    assert [row["name"] for row in rows] == [None, "journal.tick"]
    await wait_for_standby(sql, "")
    await ticking
    await worker.close()
