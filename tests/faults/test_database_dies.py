"""PostgreSQL is killed, and connections to it break at the worst moments."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from contextlib import suppress
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import Service, children, lives, open_conversation
from tests.support.reader import text_of
from tests.support.wire import DatabaseWire


async def test_streams_outlive_a_killed_postgresql(
    own_server: Postgres, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    settings = settings.model_copy(update={"database_url": own_server.dsn(), "worker_lease": 15.0})
    async with Service(settings) as service:
        sessions = itertools.repeat(service.session)
        paths = [await open_conversation(service.session, user) for _ in range(5)]
        readers = [Persistent(sessions, path, user) for path in paths]
        async with asyncio.TaskGroup() as group:
            for reader in readers:
                group.create_task(reader.ask("k"))
            calls = [await model.call() for _ in paths]
            for call in calls:
                call.say("before ")
            for reader in readers:
                await reader.has(2)
            assert own_server.pid is not None
            processes = [own_server.pid, *await children(own_server.pid)]
            for pid in processes:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            own_server.wait()
            for call in calls:
                call.say("during ")
            for reader in readers:
                await reader.has(3)
            for call in calls:
                call.finish("after")  # done waits for the database
            while any(lives(pid) for pid in processes[1:]):  # noqa: ASYNC110 - init reaps them
                await asyncio.sleep(0.01)
            assert not any(reader.done for reader in readers)
            await asyncio.to_thread(own_server.start)
        assert all(reader.attached == 1 for reader in readers)
        connection = await asyncpg.connect(own_server.dsn())
        for reader, path in zip(readers, paths, strict=True):
            assert text_of(reader.seen) == "before during after"
            assert reader.seen[-1].data["finish_reason"] == "stop"
            rows = await connection.fetch(
                "select id, content from messages where conversation_id = $1 and role = 'assistant'",
                UUID(path.rpartition("/")[2]),
            )
            message_id = UUID(reader.seen[-1].data["message_id"])
            assert [tuple(row) for row in rows] == [(message_id, "before during after")]
        await connection.close()


@pytest.mark.parametrize("fault", ["reply lost", "halved", "cut", "delayed"])
async def test_an_answer_is_stored_once_whatever_the_wire_does(
    settings: Settings, database_url: str, user: dict[str, str], model: ModelServer, sql: Any, fault: str
) -> None:
    async with DatabaseWire(database_url) as wire:
        settings = settings.model_copy(update={"database_url": wire.url, "worker_lease": 10.0})
        async with Service(settings) as service:
            path = await open_conversation(service.session, user)
            reader = Persistent(itertools.repeat(service.session), path, user)
            reading = asyncio.create_task(reader.ask("k"))
            call = await model.call()
            call.say("the ", "whole ")
            await reader.has(3)
            # Only the statement that stores the answer contains its whole text.
            if fault == "reply lost":
                wire.lose_reply_to = b"the whole answer"
            elif fault == "halved":
                wire.halve = b"the whole answer"
            elif fault == "cut":
                wire.drop()
            else:
                wire.delay = 0.2
            call.say("ans")
            await reader.has(4)
            call.finish("wer")
            await reading
            assert (wire.lose_reply_to, wire.halve) == (None, None)
            assert wire.cuts or fault == "delayed"
            assert [event.seq for event in reader.seen] == list(range(6))
            assert reader.attached == 1
            rows = await sql.fetch("select id, content from messages where role = 'assistant'")
            message_id = UUID(reader.seen[-1].data["message_id"])
            assert [tuple(row) for row in rows] == [(message_id, "the whole answer")]
            assert len(model.requests) == 1
            wire.delay = 0.0


async def test_an_answer_whose_beginning_nobody_heard_of_is_interrupted(
    settings: Settings, database_url: str, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    async with (
        DatabaseWire(database_url) as wire,
        Service(settings.model_copy(update={"database_url": wire.url})) as service,
    ):
        path = await open_conversation(service.session, user)
        wire.lose_reply_to = b"a message like no other"
        reader = Persistent(itertools.repeat(service.session), path, user, "a message like no other")
        await reader.ask("k")
        assert wire.lose_reply_to is None
        rows = await sql.fetch("select content from messages")
        assert [row["content"] for row in rows] == ["a message like no other"]
        assert reader.seen[-1].data["finish_reason"] == "interrupted"
        assert not await sql.fetchval("select exists (select from generations where status = 'running')")
