"""Workers that are killed or suspended while they stream."""

from __future__ import annotations

import asyncio
import itertools
import signal
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

import pytest

from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.persistent import Persistent
from tests.support.processes import Service, open_conversation, until
from tests.support.reader import read_events, reset_to, text_of


async def stored(sql: Any, path: str) -> list[Any]:
    """The assistant's messages of a conversation."""
    rows = await sql.fetch(
        "select id, content, finish_reason from messages where conversation_id = $1 and role = 'assistant'"
        " order by position",
        UUID(path.rpartition("/")[2]),
    )
    return [tuple(row) for row in rows]


async def written(sql: Any, next_seq: int) -> None:
    """Wait until the journal has the events before this one."""
    await until(lambda: sql.fetchval("select exists (select from journal where next_seq >= $1)", next_seq))


async def test_a_killed_workers_answer_is_interrupted_once_with_its_text_by_those_that_live(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    async with AsyncExitStack() as stack:
        dying, *living = await asyncio.gather(
            *(stack.enter_async_context(Service(settings)) for _ in range(3))
        )
        path = await open_conversation(dying.session, user)
        sessions = itertools.chain([dying.session], itertools.cycle(service.session for service in living))
        reader = Persistent(sessions, path, user)
        reading = asyncio.create_task(reader.ask("k"))
        call = await model.call()
        call.say("so ", "far")
        await reader.has(3)
        await written(sql, 3)
        dying.send(signal.SIGKILL)
        await reading
        assert [event.seq for event in reader.seen] == [0, 1, 2, 3, 4]
        assert reader.seen[3].data["error"] == "worker_lost"
        done = reader.seen[4].data
        assert done["finish_reason"] == "interrupted"
        assert await stored(sql, path) == [(UUID(done["message_id"]), "so far", "interrupted")]
        model.say = ["here again"]
        async with living[0].session.post(
            f"{path}/messages", json={"content": "?"}, headers=user
        ) as response:
            assert text_of(await read_events(response)) == "here again"
        assert model.requests[-1].request["messages"][1]["content"] == "so far"
        assert await sql.fetchval("select count(*) from generations where status = 'running'") == 0


@pytest.mark.parametrize("lost", [1, 2, 3])
async def test_a_reader_who_saw_more_than_a_killed_worker_wrote_is_told_what_is_kept(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Any, lost: int
) -> None:
    """It waits on another worker when the answer is ended."""
    async with Service(settings) as dying, Service(settings) as living:
        path = await open_conversation(dying.session, user)
        reader = Persistent(itertools.chain([dying.session], itertools.repeat(living.session)), path, user)
        reading = asyncio.create_task(reader.ask("k"))
        call = await model.call()
        call.say("so ", "far")
        await reader.has(3)
        await written(sql, 3)
        call.say(*["lost"] * lost)
        await reader.has(3 + lost)
        await written(sql, 3 + lost)
        dying.send(signal.SIGKILL)
        await sql.execute("delete from journal where next_seq > 3")  # as if it had died before that tick
        await reading
        assert [event.data for event in reader.seen if "reset" in event.data] == [reset_to("so far")]
        assert [event.seq for event in reader.seen] == sorted({event.seq for event in reader.seen})
        done = reader.seen[-1].data
        assert await stored(sql, path) == [(UUID(done["message_id"]), "so far", "interrupted")]


async def test_a_worker_that_was_stopped_past_its_lease_brings_in_what_it_heard_in_its_place(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    async with Service(settings) as paused, Service(settings) as awake:
        path = await open_conversation(paused.session, user)
        async with paused.session.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream:
            call = await model.call()
            call.say("so ", "far")
            begun = await read_events(stream, 3)
            await written(sql, 3)
            paused.send(signal.SIGSTOP)
            call.finish(" and further")  # which it learns when it wakes up
            await until(lambda: sql.fetchval("select exists (select from messages where role = 'assistant')"))
            taken_over = await stored(sql, path)
            model.say = ["new answer"]
            async with awake.session.post(
                f"{path}/messages", json={"content": "?"}, headers=user
            ) as response:
                assert text_of(await read_events(response)) == "new answer"
            paused.send(signal.SIGCONT)
            rest = await read_events(stream)
        seen = begun + rest
        assert [event.seq for event in seen] == list(range(len(seen)))
        assert not any("reset" in event.data for event in rest)
        assert seen[-1].data["done"]
        assert seen[-1].data["message_id"] == str(taken_over[0][0])
        assert taken_over[0][1:] == ("so far", "interrupted")
        after = await stored(sql, path)
        assert [row[1:] for row in after] == [(text_of(seen), "stop"), ("new answer", "stop")]
        assert text_of(seen) == "so far and further"
        assert after[0][0] == taken_over[0][0]
        # It works like any other worker again.
        async with paused.session.post(f"{path}/messages", json={"content": "?"}, headers=user) as response:
            assert text_of(await read_events(response)) == "new answer"
