"""A response that is written in the background, and read again: after a break, on another worker, later."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import pytest
from openai import AsyncOpenAI

from chat_api.settings import Settings
from tests.conftest import Client
from tests.support.chat import Sql
from tests.support.model_server import ModelServer
from tests.support.processes import Service, free_port, until
from tests.support.sdk import collect, connected, kinds, text_of


async def two(
    stack: AsyncExitStack, settings: Settings, user: dict[str, str]
) -> tuple[list[Service], list[AsyncOpenAI]]:
    """Two services on one database, and a program of each."""
    ports = [free_port(), free_port()]
    services = await asyncio.gather(
        *(stack.enter_async_context(Service(settings, port=port)) for port in ports)
    )
    urls = [f"http://127.0.0.1:{port}" for port in ports]
    return list(services), [await stack.enter_async_context(connected(url, user)) for url in urls]


async def test_a_response_goes_on_after_its_reader_on_the_other_worker_when_the_first_was_killed(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    async with AsyncExitStack() as stack:
        (dying, _), (first, second) = await two(stack, settings, user)
        stream = await first.responses.create(input="Chai?", stream=True, background=True)
        call = await model.call()
        call.say("so ", "far")
        seen = await collect(stream, 6)
        response_id = seen[0]["response"]["id"]
        await until(lambda: sql.fetchval("select exists (select from journal where next_seq >= 3)"))
        resumed = await second.responses.retrieve(response_id, stream=True, starting_after=4)
        [again] = await collect(resumed, 1)
        assert again == seen[5]
        rest = asyncio.create_task(
            collect(await second.responses.retrieve(response_id, stream=True, starting_after=5))
        )
        dying.send(signal.SIGKILL)
        events = await rest
        assert [each["sequence_number"] for each in events] == list(range(6, 6 + len(events)))
        assert kinds(events) == ["output_text.done", "content_part.done", "output_item.done", "failed"]
        assert events[0]["text"] == "so far"
        assert events[-1]["response"]["error"]["type"] == "worker_lost"
        whole = await collect(await second.responses.retrieve(response_id, stream=True))
        assert whole == seen + events
        assert (await second.responses.retrieve(response_id)).to_dict() == events[-1]["response"]


async def test_a_response_goes_on_where_its_reader_was_whichever_worker_it_asks(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    async with AsyncExitStack() as stack:
        _, (first, second) = await two(stack, settings, user)
        response = await first.responses.create(input="Chai?", background=True)
        assert (response.status, response.background, response.output) == ("in_progress", True, [])
        call = await model.call()
        seen = []
        for word in ("one ", "two ", "three ", "four"):
            call.say(word)
            for sdk in (first, second):
                after = len(seen) - 1
                stream = await sdk.responses.retrieve(
                    response.id, stream=True, **({"starting_after": after} if after >= 0 else {})
                )
                seen += await collect(stream, 1 if seen else 5)
                if text_of(seen).endswith(word):
                    break
                await stream.close()
        call.finish()
        after = len(seen) - 1
        seen += await collect(await second.responses.retrieve(response.id, stream=True, starting_after=after))
        assert [each["sequence_number"] for each in seen] == list(range(len(seen)))
        assert text_of(seen) == "one two three four"
        for sdk in (first, second):
            assert await collect(await sdk.responses.retrieve(response.id, stream=True)) == seen
            for after in range(len(seen)):
                rest = await sdk.responses.retrieve(response.id, stream=True, starting_after=after)
                assert await collect(rest) == seen[after + 1 :]


async def test_who_saw_more_than_a_killed_worker_wrote_gets_the_end_with_what_is_kept(
    settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    async with AsyncExitStack() as stack:
        (dying, _), (first, second) = await two(stack, settings, user)
        stream = await first.responses.create(input="Chai?", stream=True, background=True)
        call = await model.call()
        call.say("so ", "far")
        await until(lambda: sql.fetchval("select exists (select from journal where next_seq >= 3)"))
        call.say(*["lost"] * 5)
        seen = await collect(stream, 11)
        await until(lambda: sql.fetchval("select exists (select from journal where next_seq >= 8)"))
        dying.send(signal.SIGKILL)
        await sql.execute("delete from journal where next_seq > 3")  # as if it had died before that tick
        response_id = seen[0]["response"]["id"]
        rest = await collect(await second.responses.retrieve(response_id, stream=True, starting_after=10))
        assert [each["sequence_number"] for each in rest] == list(range(11, 11 + len(rest)))
        assert kinds(rest) == ["output_text.done", "content_part.done", "output_item.done", "failed"]
        assert rest[0]["text"] == "so far"
        assert rest[-1]["response"]["output"][0]["content"][0]["text"] == "so far"


async def test_after_the_replay_window_few_events_bring_the_whole(
    sdk: AsyncOpenAI, model: ModelServer, sql: Sql
) -> None:
    model.say = ["one ", "two ", "three"]
    seen = await collect(await sdk.responses.create(input="Chai?", stream=True))
    response_id = seen[0]["response"]["id"]
    await sql.execute("delete from journal")
    told = await collect(await sdk.responses.retrieve(response_id, stream=True))
    assert (text_of(told), told[-1]["response"]) == ("one two three", seen[-1]["response"])
    for after in (0, 3, 4, 6, len(seen) - 1, 10_000):
        rest = await collect(await sdk.responses.retrieve(response_id, stream=True, starting_after=after))
        numbers = [each["sequence_number"] for each in rest]
        assert numbers == sorted(set(numbers))
        assert numbers[0] > after
        # What its reader had, the text isn't told again; what it lacks, the end has.
        assert text_of(rest) == ("one two three" if after < 4 else "")
        assert rest[-1]["response"] == seen[-1]["response"]


@pytest.mark.parametrize("after", ["-1", "x", "1.5", "99999999999", ""])
async def test_a_number_that_is_none_is_refused(
    client: Client, user: dict[str, str], sdk: AsyncOpenAI, model: ModelServer, after: str
) -> None:
    model.say = ["one"]
    response = await sdk.responses.create(input="Chai?")
    query = {"stream": "true", "starting_after": after}
    refused = await client.get(f"/v1/responses/{response.id}", params=query, headers=user)
    assert refused.status == 400
    error = (await refused.json())["error"]
    assert (error["param"], error["type"]) == ("starting_after", "invalid_request_error")


async def test_beyond_the_end_nothing_comes(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.say = ["one"]
    response = await sdk.responses.create(input="Chai?")
    for after in (8, 9, 10_000):
        assert (
            await collect(await sdk.responses.retrieve(response.id, stream=True, starting_after=after)) == []
        )


async def test_a_response_that_is_written_can_be_cancelled(sdk: AsyncOpenAI, model: ModelServer) -> None:
    response = await sdk.responses.create(input="Chai?", background=True)
    call = await model.call()
    call.say("Boil")
    reading = asyncio.create_task(collect(await sdk.responses.retrieve(response.id, stream=True)))
    await until(lambda: _has_text(sdk, response.id))
    cancelled = await sdk.responses.cancel(response.id)
    assert (cancelled.status, cancelled.output_text, cancelled.error) == ("cancelled", "Boil", None)
    await call.closed.wait()
    events = await reading
    assert (kinds(events)[-1], events[-1]["response"]) == ("incomplete", cancelled.to_dict())
    assert await sdk.responses.cancel(response.id) == cancelled
    assert await sdk.responses.retrieve(response.id) == cancelled


async def _has_text(sdk: AsyncOpenAI, response_id: str) -> bool:
    stream = await sdk.responses.retrieve(response_id, stream=True, starting_after=3)
    return bool(await collect(stream, 1))


async def test_cancelling_one_leaves_what_runs_after_it(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.say = ["Boil."]
    first = await sdk.responses.create(input="Chai?")
    await model.call()
    model.say = None
    second = await sdk.responses.create(input="And milk?", previous_response_id=first.id, background=True)
    assert (await sdk.responses.cancel(first.id)).status == "completed"
    call = await model.call()
    call.finish("Yes.")
    events = await collect(await sdk.responses.retrieve(second.id, stream=True))
    assert text_of(events) == "Yes."
