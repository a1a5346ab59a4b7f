"""A primary and its streaming standby: a failover loses nothing that was said, and finds the new primary."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from uuid import UUID

import asyncpg
import pytest

from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import Service, open_conversation, until
from tests.support.reader import text_of
from tests.support.standby import Pair, replicated
from tests.support.wire import DatabaseWire

LIST = "/api/conversations"


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Both servers, synchronous."""
    with replicated() as pair:
        yield pair


async def test_nothing_that_was_said_is_lost_when_the_primary_dies_and_the_standby_takes_over(
    pair: Pair, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    settings = settings.model_copy(update={"database_url": pair.url, "worker_lease": 15.0})
    async with Service(settings) as service:
        paths = [await open_conversation(service.session, user) for _ in range(5)]
        readers = [Persistent(itertools.repeat(service.session), path, user) for path in paths]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.ask("k"))
            calls = [await model.call() for _ in paths]
            for call in calls:
                call.say("before ")
            for reader in readers:
                await reader.has(2)
            await pair.kill_primary()
            for call in calls:
                call.say("during ")
            for reader in readers:
                await reader.has(3)
            async with service.session.get("/api/ready") as response:
                assert response.status == 503
            for call in calls:
                call.finish("after")
            assert not any(reader.done for reader in readers)
            await asyncio.to_thread(pair.promote)
        assert all(reader.attached == 1 for reader in readers)
        async with service.session.get("/api/ready") as response:
            assert response.status == 200
        connection = await asyncpg.connect(pair.standby.dsn())
        for reader, path in zip(readers, paths, strict=True):
            assert text_of(reader.seen) == "before during after"
            rows = await connection.fetch(
                "select id, content from messages where conversation_id = $1 and role = 'assistant'",
                UUID(path.rpartition("/")[2]),
            )
            message_id = UUID(reader.seen[-1].data["message_id"])
            assert [tuple(row) for row in rows] == [(message_id, "before during after")]
        await connection.close()


async def test_a_standby_is_read_but_isnt_ready(pair: Pair, settings: Settings, user: dict[str, str]) -> None:
    async with Service(settings.model_copy(update={"database_url": pair.url})) as service:
        path = await open_conversation(service.session, user)
    async with Service(settings.model_copy(update={"database_url": pair.standby.dsn()})) as service:
        async with service.session.get("/api/ready") as response:
            assert response.status == 503
            assert "takes no writes" in (await response.json())["checks"]["database"]
        async with service.session.get(path, headers=user) as response:
            assert response.status == 200
        async with service.session.post(LIST, headers=user) as response:
            assert (response.status, (await response.json())["code"]) == (503, "database_unavailable")
            assert response.headers["Retry-After"]
        await asyncio.to_thread(pair.promote)
        async with service.session.post(LIST, headers=user) as response:
            assert response.status == 201
        async with service.session.get("/api/ready") as response:
            assert response.status == 200


async def test_a_moved_address_is_followed_without_a_failed_request(
    pair: Pair, settings: Settings, user: dict[str, str]
) -> None:
    """The old primary stays up, read-only, and the connections to it are left alone."""
    async with DatabaseWire(pair.primary.dsn()) as wire:
        settings = settings.model_copy(update={"database_url": wire.url, "worker_lease": 15.0})
        async with Service(settings) as service:

            async def write() -> int:
                async with service.session.post(LIST, headers=user) as response:
                    return response.status

            assert set(await asyncio.gather(*(write() for _ in range(20)))) == {201}
            assert len(wire.connections) > 1
            old = await asyncpg.connect(pair.primary.dsn())
            await old.execute("alter system set default_transaction_read_only = on")
            await old.execute("select pg_reload_conf()")

            async def demoted() -> bool:
                return bool(await old.fetchval("show default_transaction_read_only") == "on")

            await until(demoted)
            async with service.session.get("/api/ready") as response:
                assert response.status == 503
            await asyncio.to_thread(pair.promote)
            wire.lead_to(pair.standby.dsn())
            assert set(await asyncio.gather(*(write() for _ in range(20)))) == {201}
            async with service.session.get("/api/ready") as response:
                assert response.status == 200
            await old.close()


async def test_a_primary_that_swallows_what_it_is_sent_is_passed_over(
    pair: Pair, settings: Settings, user: dict[str, str]
) -> None:
    """As when its machine is gone from the network."""
    async with DatabaseWire(pair.primary.dsn()) as wire:
        url = pair.url.replace(pair.url.split(",")[0], f"postgresql://postgres@127.0.0.1:{wire.port}")
        async with Service(settings.model_copy(update={"database_url": url})) as service:
            await open_conversation(service.session, user)
            wire.arrivals = "ignore"
            wire.ignore()
            await asyncio.to_thread(pair.promote)
            began = time.monotonic()

            async def answered() -> bool:
                async with service.session.post(LIST, headers=user) as response:
                    return response.status == 201

            await until(answered)
            # What was kept is found out by one time-out; then each host gets its share of another.
            assert time.monotonic() - began < 3 * settings.database_timeout
            began = time.monotonic()
            await open_conversation(service.session, user)
            assert time.monotonic() - began < 1
