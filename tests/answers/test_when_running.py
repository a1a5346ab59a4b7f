"""A message that comes while an answer is being written."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from chat_api.generation import generations
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab


def leave(response: ClientResponse) -> None:
    """Close the connection, as a browser does that aborts its request."""
    response.close()


async def finished(response: ClientResponse, model: ModelServer, text: str = "x") -> str:
    """Let the model answer; returns what the reader saw."""
    assert response.status == 200, await response.text()
    call = await model.call()
    call.finish(text)
    return text_of(await read_events(response))


async def test_a_send_after_an_abort_takes_its_place(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "half")
    leave(response)
    again = await chat.send("Second")
    await asyncio.wait_for(call.closed.wait(), 5)
    assert await finished(again, model) == "x"
    assert await chat.messages() == [
        ("user", "Hi", None),
        ("assistant", "half", "stopped"),
        ("user", "Second", None),
        ("assistant", "x", "stop"),
    ]


async def test_so_does_one_before_the_first_token(chat: Chat, model: ModelServer) -> None:
    response, _, _ = await chat.begin(model)
    leave(response)
    assert await finished(await chat.send("Second"), model) == "x"
    assert [text for _, text, _ in await chat.messages()] == ["Hi", "Second", "x"]


async def test_so_does_a_regeneration(chat: Chat, model: ModelServer) -> None:
    response, _, _ = await chat.begin(model, "half")
    leave(response)
    assert await finished(await chat.regenerate(), model, "whole") == "whole"
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "whole", "stop")]


async def test_so_does_one_whose_abort_arrives_later(chat: Chat, model: ModelServer) -> None:
    response, _, _ = await chat.begin(model, "half")
    sending = asyncio.create_task(chat.send("Second"))
    asyncio.get_running_loop().call_later(0.3, response.close)
    assert await finished(await sending, model) == "x"


async def test_a_caller_that_waited_for_the_whole_answer_leaves(chat: Chat, model: ModelServer) -> None:
    waiting = asyncio.create_task(chat.send(stream=False))
    await model.call()
    assert (await chat.send("Second", when_running="reject")).status == 409
    waiting.cancel()
    await asyncio.wait({waiting})
    assert await finished(await chat.send("Second"), model) == "x"


async def test_whoever_reads_keeps_it(client: Client, chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "a")
    attached = await chat.attach()
    await read_events(attached, 2)
    leave(response)
    assert (await chat.send("Second")).status == 409
    async with open_tab(client, chat.user) as tab:
        assert (await tab.ask("subscribe", chat.path))["generation_id"]
        await tab.events(2)
        leave(attached)
        assert (await chat.send("Second")).status == 409
        call.say("b")
        await tab.events(1)
    assert await finished(await chat.send("Second"), model) == "x"
    assert (await chat.messages())[1] == ("assistant", "ab", "stopped")


async def test_a_socket_that_ends_has_left(client: Client, chat: Chat, model: ModelServer) -> None:
    async with open_tab(client, chat.user) as tab:
        assert (await tab.ask("send", chat.path, content="Hi"))["type"] == "ack"
        await model.call()
        await tab.events(1)
        refused = await tab.ask("send", chat.path, content="Second")
        assert (refused["code"], refused["status"]) == ("generation_running", 409)
        ack = await tab.ask("send", chat.path, content="Second", when_running="supersede")
        while ack["type"] != "ack":  # the end of the first answer comes before
            ack = await tab.hear()
        await model.call()
    assert await finished(await chat.send("Third"), model) == "x"
    assert [text for _, text, _ in await chat.messages()] == ["Hi", "Second", "Third", "x"]


@pytest.mark.parametrize("default", ["", "reject"])
async def test_supersede_stops_it_whoever_reads(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, default: str
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"when_running": default})), user)
    response, _, _ = await chat.begin(model, "half")
    again = await chat.send("Second", when_running="supersede")
    assert (await read_events(response))[-1].data["finish_reason"] == "stopped"
    assert await finished(again, model) == "x"


@pytest.mark.parametrize("given", [{}, {"when_running": "reject"}])
async def test_reject_keeps_what_nobody_reads(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, given: dict[str, Any]
) -> None:
    default = "supersede" if given else "reject"
    chat = await open_chat(await start(settings.model_copy(update={"when_running": default})), user)
    response, call, _ = await chat.begin(model, "half")
    leave(response)
    assert (await chat.send("Second", **given)).status == 409
    call.finish(" whole")
    assert text_of(await read_events(await chat.attach())) == "half whole"


@pytest.mark.parametrize("value", ["later", "", "SUPERSEDE", True, 1])
async def test_anything_else_is_refused(chat: Chat, value: Any) -> None:
    response = await chat.send(when_running=value)
    assert response.status == 422
    [problem] = (await response.json())["detail"]
    assert problem["loc"] == ["body", "when_running"]
    assert "'reject', 'supersede' or 'queue'" in problem["msg"]


async def test_of_ten_at_once_one_takes_the_place(chat: Chat, model: ModelServer) -> None:
    response, _, _ = await chat.begin(model, "half")
    leave(response)
    responses = await asyncio.gather(*(chat.send(f"Message {n}") for n in range(10)))
    [won] = [each for each in responses if each.status == 200]
    assert {each.status for each in responses if each is not won} == {409}
    assert await finished(won, model) == "x"
    assert [role for role, _, _ in await chat.messages()] == ["user", "assistant"] * 2


class TestTwoWorkers:
    """The answer runs on one worker, and the next message comes to another."""

    @pytest.fixture
    async def other(self, start: Start, settings: Settings, chat: Chat) -> Chat:
        return Chat(await start(settings), chat.path, chat.user)

    async def test_what_was_left_there_is_superseded_here(
        self, chat: Chat, other: Chat, model: ModelServer, sql: Sql
    ) -> None:
        response, _, _ = await chat.begin(model, "half")
        leave(response)
        await until(lambda: sql.fetchval("select left_at from generations"))
        assert await finished(await other.send("Second"), model) == "x"
        assert (await other.messages())[1] == ("assistant", "half", "stopped")

    async def test_and_at_once_too(self, chat: Chat, other: Chat, model: ModelServer) -> None:
        response, _, _ = await chat.begin(model, "half")
        leave(response)
        assert await finished(await other.send("Second"), model) == "x"

    async def test_a_reader_here_keeps_it(
        self, chat: Chat, other: Chat, model: ModelServer, sql: Sql
    ) -> None:
        response, _, _ = await chat.begin(model, "half")
        attached = await other.attach()
        await read_events(attached, 2)
        leave(response)
        await until(lambda: sql.fetchval("select left_at from generations"))
        await until(lambda: sql.fetchval("select read_at from generations"))
        for each in (chat, other):
            assert (await each.send("Second")).status == 409
        leave(attached)
        assert await finished(await chat.send("Second"), model) == "x"

    async def test_a_reader_that_comes_back_keeps_it(
        self, chat: Chat, other: Chat, model: ModelServer, sql: Sql
    ) -> None:
        response, _, _ = await chat.begin(model, "half")
        leave(response)
        await until(lambda: sql.fetchval("select left_at from generations"))
        attached = await chat.attach()
        await read_events(attached, 2)
        await until(lambda: sql.fetchval("select left_at is null from generations"))
        assert (await other.send("Second")).status == 409


async def test_a_worker_that_does_not_stop_it_keeps_it(
    chat: Chat, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generations, "STORING_SECONDS", 0.1)
    worker = uuid4()
    await sql.execute("insert into workers values ($1, now(), now() + interval '1 minute')", worker)
    await sql.execute(
        "insert into generations (conversation_id, kind, user_message_id, worker_id, left_at)"
        " select id, 'send', $1, $1, now() from conversations",
        worker,
    )
    for when in (None, "supersede"):
        assert (await chat.send("Second", when_running=when)).status == 409
    assert await chat.messages() == []


@pytest.mark.parametrize(("seconds", "status"), [(-1, 409), (-60, 200), (3600, 200)])
async def test_a_mark_counts_for_five_seconds_whatever_the_clock_does(
    chat: Chat, start: Start, settings: Settings, model: ModelServer, sql: Sql, seconds: int, status: int
) -> None:
    response, _, _ = await chat.begin(model, "half")
    leave(response)
    await until(lambda: sql.fetchval("select left_at from generations"))
    await sql.execute("update generations set read_at = now() + make_interval(secs => $1)", seconds)
    other = Chat(await start(settings), chat.path, chat.user)
    assert (await other.send("Second", when_running=None)).status == status


class TestAbandoned:
    """ABANDONED_SECONDS."""

    @pytest.fixture
    async def chat(self, start: Start, settings: Settings, user: dict[str, str]) -> Chat:
        return await open_chat(await start(settings.model_copy(update={"abandoned_seconds": 0})), user)

    async def test_an_answer_that_nobody_reads_is_stopped(self, chat: Chat, model: ModelServer) -> None:
        response, call, _ = await chat.begin(model, "half")
        leave(response)
        await asyncio.wait_for(call.closed.wait(), 5)

        async def answer() -> Any:
            return (await chat.messages())[1:]

        assert await until(answer) == [("assistant", "half", "stopped")]

    async def test_one_that_is_read_on_another_worker_goes_on(
        self, chat: Chat, start: Start, settings: Settings, model: ModelServer, sql: Sql
    ) -> None:
        response, call, _ = await chat.begin(model, "half")
        other = Chat(await start(settings), chat.path, chat.user)
        attached = await other.attach()
        await until(lambda: sql.fetchval("select read_at from generations"))
        leave(response)
        await until(lambda: sql.fetchval("select left_at from generations"))
        call.finish(" whole")
        assert text_of(await read_events(attached)) == "half whole"

    async def test_a_subscriber_keeps_it(self, chat: Chat, model: ModelServer) -> None:
        async with open_tab(chat.client, chat.user) as tab:
            assert (await tab.ask("send", chat.path, content="Hi"))["type"] == "ack"
            call = await model.call()
            await tab.events(1)
            for _ in range(5):  # ticks
                call.say("a")
                await tab.events(1)
            call.finish("b")
            assert (await tab.events())[-1]["finish_reason"] == "stop"
