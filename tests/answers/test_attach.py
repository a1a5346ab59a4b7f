"""Readers that attach, leave and come back: GET /stream."""

from __future__ import annotations

from uuid import uuid4

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.queries import prune
from tests.support.reader import read_events, reset_to, text_of


async def test_every_reader_sees_the_same_events(chat: Chat, model: ModelServer) -> None:
    response, call, seen = await chat.begin(model, "a", "b")
    others = [await chat.attach() for _ in range(5)]
    call.finish("c")
    seen += await read_events(response)
    assert [event.seq for event in seen] == [0, 1, 2, 3, 4]
    for other in others:
        assert await read_events(other) == seen


@pytest.mark.parametrize("given", ["header", "query", "both"])
async def test_a_reader_continues_after_its_last_event(chat: Chat, model: ModelServer, given: str) -> None:
    response, call, seen = await chat.begin(model, "a", "b", "c")
    response.close()
    last = seen[2].id
    if given == "header":
        again = await chat.attach(last)
    elif given == "query":
        again = await chat.attach(after=last)
    else:  # EventSource keeps its URL, and adds the header when it reconnects
        again = await chat.attach(last, after=seen[0].id)
    call.finish("d")
    assert [(event.seq, event.data.get("token")) for event in await read_events(again)] == [
        (3, "c"),
        (4, "d"),
        (5, None),
    ]


async def test_every_place_to_continue_from_gives_the_rest(chat: Chat, model: ModelServer) -> None:
    seen = await chat.exchange(model, "a", "b", "c")
    for place, event in enumerate(seen[:-1]):
        assert await read_events(await chat.attach(event.id)) == seen[place + 1 :]
    assert await read_events(await chat.attach()) == seen


async def test_after_done_there_is_nothing_to_continue(chat: Chat, model: ModelServer) -> None:
    seen = await chat.exchange(model, "a")
    assert (await chat.attach(seen[-1].id)).status == 204


async def test_an_untouched_conversation_has_nothing_to_read(chat: Chat) -> None:
    for response in (await chat.attach(), await chat.attach(f"{uuid4()}:3")):
        assert (response.status, await response.read()) == (204, b"")


async def test_who_has_seen_the_answer_before_gets_the_one_that_runs_now(
    chat: Chat, model: ModelServer
) -> None:
    before = await chat.exchange(model, "a")
    response, call, seen = await chat.begin(model, "b")
    again = await chat.attach(before[-1].id)
    unknown = await chat.attach(f"{uuid4()}:3")
    call.finish()
    seen += await read_events(response)
    assert await read_events(again) == seen
    assert await read_events(unknown) == seen
    assert await read_events(await chat.attach(before[1].id)) == before[2:]
    assert (await chat.attach(before[-1].id)).status == 204  # the newer answer has ended, too


async def test_a_reader_ahead_of_the_answer_gets_what_is_new(chat: Chat, model: ModelServer) -> None:
    response, call, seen = await chat.begin(model, "a")
    ahead = await chat.attach(f"{seen[0].id[:-2]}:99")
    call.finish()
    assert await read_events(ahead) == await read_events(response)


ID = "0198c0de-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    "cursor", ["7", "x:7", ID, f"{ID}:", f"{ID}:-1", f"{ID}:1.5", f"{ID}:{10**30}", f"{ID}:\u0663", "é:1"]
)
async def test_a_malformed_event_id_is_refused(chat: Chat, cursor: str) -> None:
    for place, response in (
        (["header", "Last-Event-ID"], await chat.attach(cursor)),
        (["query", "after"], await chat.attach(after=cursor)),
    ):
        body = await response.json()
        assert (response.status, body["code"]) == (422, "validation_failed")
        assert body["detail"][0]["loc"] == place


async def test_an_event_id_of_another_conversation_gives_nothing(
    client: Client, chat: Chat, model: ModelServer
) -> None:
    seen = await chat.exchange(model, "secret")
    other = await open_chat(client, chat.user)
    assert (await other.attach(seen[0].id)).status == 204


class TestAfterTheReplayWindow:
    """The events are gone, and the stored message is the truth."""

    @pytest.fixture
    def settings(self, settings: Settings) -> Settings:
        return settings.model_copy(update={"replay_seconds": 1e-6})

    async def test_a_reader_gets_the_whole_text_and_done(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        seen = await chat.exchange(model, "a", "b", "c")
        await prune(sql)
        for event in seen[:-2]:
            reset, done = await read_events(await chat.attach(event.id))
            assert reset.data == reset_to("abc")
            assert done == seen[-1]
            assert event.seq < reset.seq < done.seq
        assert (await chat.attach(seen[-1].id)).status == 204

    async def test_without_a_place_to_continue_from_there_is_nothing(
        self, chat: Chat, model: ModelServer
    ) -> None:
        await chat.exchange(model, "a")
        assert (await chat.attach()).status == 204

    async def test_of_a_failed_answer_the_failure_is_told(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        response, call, seen = await chat.begin(model, "a", "b")
        call.cut()
        seen += await read_events(response)
        await prune(sql)
        reset, error, done = await read_events(await chat.attach(seen[1].id))
        assert reset.data == reset_to("ab")
        assert [error, done] == seen[-2:]
        assert await read_events(await chat.attach(seen[2].id)) == seen[-2:]
        assert (await chat.attach(seen[-1].id)).status == 204

    async def test_of_an_answer_that_failed_at_once_the_failure_is_told(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        model.refuse = (500, "")
        seen = await read_events(await chat.send())
        await prune(sql)
        error, done = await read_events(await chat.attach(seen[0].id))
        assert (error.id, error.data["error"]) == (seen[1].id, "inference_error")
        assert done == seen[2]
        assert (await chat.attach(seen[-1].id)).status == 204

    async def test_a_reader_that_is_reading_keeps_its_events(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        response, call, _ = await chat.begin(model)
        for _ in range(1500):
            call.say("x")
        call.finish()
        await until(lambda: sql.fetchval("select bool_and(finished_at is not null) from generations"))
        await prune(sql)
        assert text_of(await read_events(response)) == "x" * 1500


async def test_the_oldest_answers_leave_the_replay_first(chat: Chat, model: ModelServer, sql: Sql) -> None:
    first = await chat.exchange(model, "first")
    slices = await sql.fetchval("select count(*) from journal")
    second = await chat.exchange(model, "second")
    await prune(sql, max_rows=slices)
    assert await read_events(await chat.attach(second[0].id)) == second[1:]
    reset, done = await read_events(await chat.attach(first[0].id))
    assert reset.data == reset_to("first")
    assert done == first[-1]


async def test_the_replay_window_closes_by_time(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    changes = {"replay_seconds": 0.05, "worker_lease": 1}
    chat = await open_chat(await start(settings.model_copy(update=changes)), user)
    await chat.exchange(model, "a")

    async def gone() -> bool:
        return (await chat.attach()).status == 204

    await until(gone)
    await until(lambda: sql.fetchval("select not exists (select from journal)"))
