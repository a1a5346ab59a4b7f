"""Any request may reach any worker: two workers on one database."""

from __future__ import annotations

import asyncio
import time
from typing import Any
from uuid import UUID

import pytest
from aiohttp import ClientResponse

from chat_api import events
from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Client, Sql, until
from tests.support.model_server import ModelServer
from tests.support.queries import kill_workers, run
from tests.support.reader import read_events, reset_to, text_of
from tests.support.tab import open_tab


@pytest.fixture
async def other(start: Start, settings: Settings) -> Client:
    """A second worker."""
    started: Client = await start(settings)
    return started


async def ask(client: Client, conversation: str, user: dict[str, str], **body: Any) -> ClientResponse:
    """Send a message."""
    return await client.post(f"{conversation}/messages", json={"content": "hi", **body}, headers=user)


async def test_readers_on_two_workers_see_the_same_events(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("one ", "two ")
    begun = await read_events(local, 3)
    remote = await other.get(f"{conversation}/stream", headers=user)
    assert await read_events(remote, 3) == begun
    call.finish("three")
    rest = await read_events(local)
    assert await read_events(remote) == rest
    assert text_of(begun + rest) == "one two three"


async def test_an_event_of_a_kind_that_only_a_later_release_knows_reaches_every_reader(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("one ")
    [start, _] = await read_events(local, 2)
    async with open_tab(other, user) as tab:
        await tab.ask("subscribe", conversation)
        remote = await other.get(f"{conversation}/stream", headers=user)
        log = client.app[GENERATIONS]._relay.running_log(UUID(start.data["generation_id"]))
        assert log is not None
        log.append(events.dump({"later": {"type": "new"}, "seq": "x"}))
        call.finish("two")
        seen = await read_events(local)
        assert (await read_events(remote))[2:] == seen
        frames = await tab.events()
    assert seen[0].data == {"later": {"type": "new"}, "seq": "x"}
    later = frames[2]
    assert (later["type"], later["later"], later["seq"]) == ("later", {"type": "new"}, 2)
    assert frames[-1]["type"] == "done"


async def test_a_remote_reader_hears_within_300_ms_at_the_median(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    remote = await other.get(f"{conversation}/stream", headers=user)
    await read_events(remote, 1)
    delays = []
    for number in range(15):
        call.say(str(number))
        spoken = time.monotonic()
        await read_events(remote, 1)
        delays.append(time.monotonic() - spoken)
    call.finish()
    await read_events(local)
    assert sorted(delays)[len(delays) // 2] < 0.3


async def test_a_reader_that_changes_workers_sees_every_later_event_once(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say(*"abcdef")
    seen = await read_events(local, 7)  # ahead of the journal, because there was no tick
    remote = await other.get(f"{conversation}/stream", headers={**user, "Last-Event-ID": seen[-1].id})
    call.finish("g")
    seen += await read_events(remote)
    assert [event.seq for event in seen] == list(range(9))
    assert text_of(seen) == "abcdefg"


async def test_stop_works_on_any_worker(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("so far")
    await read_events(local, 2)
    response = await other.post(f"{conversation}/stop", headers=user)
    assert (await response.json())["stopped"] is True
    [message] = (await (await other.get(conversation, headers=user)).json())["messages"][1:]
    assert (message["content"], message["finish_reason"]) == ("so far", "stopped")
    await asyncio.wait_for(call.closed.wait(), 5)


async def test_a_second_message_is_refused_and_a_retry_attaches_on_any_worker(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    keyed = {**user, "Idempotency-Key": "k"}
    local = await ask(client, conversation, keyed)
    call = await model.call()
    assert (await ask(other, conversation, user)).status == 409
    retry = await ask(other, conversation, keyed)
    call.finish("once")
    assert await read_events(retry) == await read_events(local)
    again = await ask(other, conversation, keyed)
    assert text_of(await read_events(again)) == "once"
    assert len(model.requests) == 1


async def test_a_finished_answer_is_replayed_from_the_journal_and_then_told_by_reset(
    client: Client,
    other: Client,
    conversation: str,
    user: dict[str, str],
    model: ModelServer,
    sql: Sql,
) -> None:
    model.say = ["some ", "words"]
    seen = await read_events(await ask(client, conversation, user))
    assert await read_events(await other.get(f"{conversation}/stream", headers=user)) == seen
    after = {**user, "Last-Event-ID": seen[1].id}
    assert await read_events(await other.get(f"{conversation}/stream", headers=after)) == seen[2:]
    await sql.execute("delete from journal")
    retold = await read_events(await other.get(f"{conversation}/stream", headers=after))
    assert retold[0].data == reset_to("some words")
    assert retold[1] == seen[-1]


async def test_a_dead_workers_answer_is_interrupted_with_its_text(
    client: Client,
    start: Start,
    settings: Settings,
    conversation: str,
    user: dict[str, str],
    model: ModelServer,
    sql: Sql,
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("so ", "far")
    seen = await read_events(local, 3)
    await until(lambda: sql.fetchval("select exists (select from journal where next_seq = 3)"))
    # As if it had died: its lease is over, and it doesn't know.
    await kill_workers(sql)
    await sql.execute("update generations set worker_id = gen_random_uuid()")
    other = await start(settings)
    remote = await other.get(f"{conversation}/stream", headers={**user, "Last-Event-ID": seen[-1].id})
    rest = await read_events(remote)
    assert rest[0].data["error"] == "worker_lost"
    assert rest[1].data["finish_reason"] == "interrupted"
    assert [event.seq for event in rest] == [3, 4]
    messages = (await (await other.get(conversation, headers=user)).json())["messages"]
    assert [message["content"] for message in messages] == ["hi", "so far"]
    # The worker that was taken for dead finds out. What its readers saw is what is stored.
    told = await read_events(local)
    assert told[-1].data["message_id"] == messages[1]["id"]
    assert [event.data.get("error") for event in told] == ["worker_lost", None]


@pytest.mark.parametrize(
    ("change", "brought_in"),
    [
        ("select", True),
        # The newest slices are gone, as after a failover to a standby that lagged.
        ("update messages set content = 'so' where role = 'assistant'", True),
        # Something else is stored than what its readers saw.
        ("update messages set content = 'else' where role = 'assistant'", False),
        ("update generations set error_code = 'draining'", False),
    ],
)
async def test_a_worker_whose_answer_another_has_just_ended_brings_it_in_or_shows_what_is_stored(
    client: Client,
    conversation: str,
    user: dict[str, str],
    model: ModelServer,
    sql: Sql,
    change: str,
    brought_in: bool,
) -> None:
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("so ", "far")
    await read_events(local, 3)
    await until(lambda: sql.fetchval("select exists (select from journal where next_seq = 3)"))
    async with sql.transaction():
        await kill_workers(sql)
        await run(sql, "maintenance.interrupt_orphans")
        await sql.execute(change)
        kept = await sql.fetchval("select content from messages where role = 'assistant'")
        call.finish(", so good")

        async def finish_waits() -> bool:
            await sql.execute(
                "select pg_stat_clear_snapshot()"
            )  # otherwise the transaction would see its first snapshot for ever
            waiting = "query like '% -- generations.finish%' and wait_event_type = 'Lock'"
            return bool(await sql.fetchval(f"select exists (select from pg_stat_activity where {waiting})"))

        await until(finish_waits)
    *told, done = await read_events(local)
    resets = [event.data for event in told if "token" not in event.data]
    [message] = await sql.fetch("select * from messages where role = 'assistant'")
    assert done.data["message_id"] == str(message["id"])
    assert done.data["finish_reason"] == message["finish_reason"]
    if brought_in:
        assert resets == []
        assert (message["content"], message["finish_reason"]) == ("so far, so good", "stop")
        assert await sql.fetchval("select count(*) from journal") == 0  # later readers get the whole text
    else:
        assert resets == [reset_to(kept)]
        assert (message["content"], message["finish_reason"]) == (kept, "interrupted")


async def test_a_reader_who_saw_what_has_just_been_brought_in_is_told_that_end(
    client: Client, other: Client, conversation: str, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    """Another worker, which had ended the answer, still knows that end."""
    local = await ask(client, conversation, user)
    call = await model.call()
    call.say("so ", "far")
    seen = await read_events(local, 3)
    await until(lambda: sql.fetchval("select exists (select from journal where next_seq = 3)"))
    async with sql.transaction():
        await kill_workers(sql)
        await run(sql, "maintenance.interrupt_orphans")
    readers = other.app[GENERATIONS].readers
    old_end = await readers.find(UUID(seen[0].data["generation_id"]), UUID(conversation.rpartition("/")[2]))
    assert old_end.closed
    call.finish(", so ", "good")
    seen += await read_events(local)
    last_token = [event for event in seen if "token" in event.data][-1]
    rest = await other.get(f"{conversation}/stream", headers={**user, "Last-Event-ID": last_token.id})
    told = await read_events(rest)
    # The time is the worker's own, unless a tick has told it first that the answer was interrupted.
    untimed = {"inference_time_ms": 0}
    assert told[-1].data | untimed == seen[-1].data | untimed
    assert [each.data["content"] for each in told if "reset" in each.data] in ([], [text_of(seen)])
