"""A database that hangs or is locked, and a worker that is cut off alone: nothing that was said is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.relay.watch import POLL_SECONDS
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import Service, open_conversation, stopped, until
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab
from tests.support.wire import DatabaseWire

LEASE = 1.0
SECONDS = 3 * LEASE  # long enough that every lease expires, and another one after it

Fault = Callable[[Postgres], Any]


def hung(server: Postgres) -> AbstractAsyncContextManager[None]:
    """Stop every process of PostgreSQL: what was sent to it is read when it wakes."""
    assert server.pid is not None
    return stopped(server.pid)


def locked(table: str) -> Fault:
    """Lock a table, as `vacuum full` and many a migration do."""

    @asynccontextmanager
    async def fault(server: Postgres) -> AsyncIterator[None]:
        connection = await asyncpg.connect(server.dsn())
        try:
            async with connection.transaction():
                await connection.execute(f"lock table {table} in access exclusive mode")
                yield
        finally:
            await connection.close()

    return fault


@pytest.fixture
def patient(own_server: Postgres, settings: Settings) -> Settings:
    """A lease that ends long before a statement's time does."""
    return settings.model_copy(update={"database_url": own_server.dsn(), "worker_lease": LEASE})


async def answers(server: Postgres, path: str) -> list[tuple[Any, ...]]:
    """Each answer of a conversation: its id, text and end."""
    connection = await asyncpg.connect(server.dsn())
    try:
        rows = await connection.fetch(
            "select id, content, finish_reason from messages"
            " where conversation_id = $1 and role = 'assistant' order by position",
            UUID(path.rpartition("/")[2]),
        )
    finally:
        await connection.close()
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    "fault",
    [hung, locked("journal"), locked("generations"), locked("workers"), locked("messages")],
    ids=["hung", "journal locked", "generations locked", "workers locked", "messages locked"],
)
async def test_no_living_worker_is_taken_for_dead_after_a_hang(
    own_server: Postgres,
    patient: Settings,
    user: dict[str, str],
    model: ModelServer,
    fault: Fault,
    workers: int,
) -> None:
    async with AsyncExitStack() as stack:
        services = [await stack.enter_async_context(Service(patient)) for _ in range(workers)]
        homes = list(itertools.islice(itertools.cycle(services), 4))
        paths = [await open_conversation(home.session, user) for home in homes]
        readers = [
            Persistent(itertools.repeat(home.session), path, user)
            for home, path in zip(homes, paths, strict=True)
        ]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.ask("k"))
            calls = [await model.call() for _ in paths]
            for call in calls:
                call.say("before ")
            for reader in readers:
                await reader.has(2)
            await asyncio.sleep(2 * LEASE)  # both have been steady for a lease
            async with fault(own_server):
                for call in calls:
                    call.say("during ")
                for reader in readers:
                    await reader.has(3)
                await asyncio.sleep(SECONDS)
            await asyncio.sleep(2 * LEASE)  # whoever would take another for dead has done so
            for call in calls:
                call.finish("after")
        for reader, path in zip(readers, paths, strict=True):
            assert [event.data for event in reader.seen if "reset" in event.data] == []
            assert text_of(reader.seen) == "before during after"
            done = reader.seen[-1].data
            assert done["finish_reason"] == "stop"
            assert await answers(own_server, path) == [
                (UUID(done["message_id"]), "before during after", "stop")
            ]


async def test_a_change_during_a_hang_is_told_once_when_it_is_over(
    own_server: Postgres, patient: Settings, user: dict[str, str]
) -> None:
    async with Service(patient) as one, Service(patient) as other:
        path = await open_conversation(one.session, user)

        async def rename() -> int:
            async with one.session.put(path, json={"title": "Tea"}, headers=user) as response:
                return response.status

        async with open_tab(one.session, user) as near, open_tab(other.session, user) as far:
            for tab in (near, far):
                await tab.ask("subscribe", path)
            async with hung(own_server):
                renaming = asyncio.create_task(rename())
                await asyncio.sleep(1.5 * POLL_SECONDS)  # statements that are given up may never run
                assert not renaming.done()
            assert await renaming == 200
            for tab in (near, far):
                assert (await tab.hear())["type"] == "changed"
            await asyncio.sleep(2 * POLL_SECONDS)
            for tab in (near, far):
                assert (await tab.ask("unsubscribe", path))["type"] == "ack"


@pytest.mark.parametrize("way", ["cut", "ignore"])
@pytest.mark.parametrize("ends", ["in the meantime", "afterwards"])
async def test_a_worker_that_was_cut_off_alone_brings_in_what_it_holds(
    database_url: str,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    sql: Any,
    way: str,
    ends: str,
) -> None:
    """A living one has ended its answer meanwhile, with what the journal had."""
    async with DatabaseWire(database_url) as wire:
        far = settings.model_copy(update={"database_url": wire.url, "worker_lease": LEASE})
        near = settings.model_copy(update={"worker_lease": LEASE})
        async with Service(far) as alone, Service(near):
            path = await open_conversation(alone.session, user)
            ask = alone.session.post(f"{path}/messages", json={"content": "hi"}, headers=user)
            async with ask as stream:
                call = await model.call()
                call.say("journalled ")
                seen = await read_events(stream, 2)
                await until(lambda: sql.fetchval("select exists (select from journal where next_seq >= 2)"))
                if way == "cut":
                    wire.cut()
                else:
                    wire.arrivals = "ignore"
                    wire.ignore()
                call.say("and ")
                if ends == "in the meantime":
                    call.finish("said alone")
                taken = "select content from messages where role = 'assistant'"
                await until(lambda: sql.fetchval(f"select exists ({taken})"))
                assert await sql.fetchval(taken) == "journalled "
                wire.mend()
                seen += await read_events(stream)
        [answer] = await sql.fetch("select * from messages where role = 'assistant'")
        done = seen[-1].data
        assert done["message_id"] == str(answer["id"])
        assert [event.data for event in seen if "reset" in event.data] == []
        assert answer["content"] == text_of(seen)
        assert answer["finish_reason"] == done["finish_reason"]
        if ends == "in the meantime":
            assert (text_of(seen), done["finish_reason"]) == ("journalled and said alone", "stop")
        else:
            assert (text_of(seen), done["finish_reason"]) == ("journalled and ", "interrupted")


async def test_a_worker_whose_generation_a_fail_over_lost_brings_it_in_with_its_question(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    """As after the promotion of an asynchronous standby that lagged."""
    async with Service(settings) as service:
        path = await open_conversation(service.session, user)
        ask = service.session.post(f"{path}/messages", json={"content": "lost?"}, headers=user)
        async with ask as stream:
            call = await model.call()
            call.say("not ")
            seen = await read_events(stream, 2)
            async with sql.transaction():
                for table in ("journal", "generations", "messages"):
                    await sql.execute(f"delete from {table}")
            seen += await read_events(stream)
        kept = await sql.fetch("select id, role, content from messages order by position")
        assert [row["content"] for row in kept] == ["lost?", text_of(seen)]
        assert [row["role"] for row in kept] == ["user", "assistant"]
        assert str(kept[0]["id"]) == seen[0].data["user_message_id"]
        assert seen[-1].data["message_id"] == str(kept[1]["id"])
        assert seen[-1].data["finish_reason"] == "interrupted"
        # The conversation goes on.
        model.say = ["found"]
        async with service.session.post(f"{path}/messages", json={"content": "?"}, headers=user) as again:
            assert text_of(await read_events(again)) == "found"
        assert [turn["content"] for turn in model.requests[-1].request["messages"]][:2] == ["lost?", "not "]
