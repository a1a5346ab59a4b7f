"""A stream between the model and its readers: keep-alives, slow readers, shutdown, dead workers."""

from __future__ import annotations

import asyncio
import socket
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Sql, no_answer_lives, open_chat, somebody_waits, until
from tests.support.model_server import ModelServer
from tests.support.queries import kill_workers
from tests.support.reader import read_events, text_of


async def comments(response: ClientResponse, count: int) -> None:
    """Read so many keep-alives, with no event among them."""
    async with asyncio.timeout(5):
        while count:
            line = await response.content.readline()
            assert line
            assert not line.startswith((b"data:", b"id:"))
            count -= line.startswith(b":")


async def test_a_silent_stream_is_kept_alive_from_the_first_byte(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(settings.model_copy(update={"keepalive_interval": 0.02})), user)
    model.hold_headers = asyncio.Event()
    response = await chat.send()
    await read_events(response, 1)
    await comments(response, 3)  # the model server has not even responded
    model.hold_headers.set()
    call = await model.call()
    await comments(response, 3)
    call.say("a")
    async with asyncio.timeout(5):
        while b'"token":"a"' not in await response.content.readline():
            pass
    await comments(response, 3)
    call.finish("b")
    assert (await read_events(response))[-1].data["finish_reason"] == "stop"


async def test_events_that_wait_together_arrive_whole_and_in_order(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model)
    call.finish(*(f"{number} " for number in range(5000)))
    seen = await read_events(response)
    assert [event.seq for event in seen] == list(range(1, 5002))
    assert text_of(seen).split() == [str(number) for number in range(5000)]


async def test_a_slow_reader_is_cut_and_nobody_else_notices(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = await start(
        settings.model_copy(update={"slow_reader_timeout": 0.5, "max_answer_characters": 10_000_000})
    )
    chat = await open_chat(client, user)
    response, call, seen = await chat.begin(model)
    with socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(slow, (client.host, client.port))
        token = user["Authorization"]
        head = f"GET {chat.path}/stream HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        await loop.sock_sendall(slow, head.encode())
        before = b""
        async with asyncio.timeout(5):
            while b":0\n" not in before:
                before += await loop.sock_recv(slow, 4096)
        connections = len(client.server.handler.connections)
        for number in range(100):
            call.send({"token": f"{number} " * 30_000})
            seen += await read_events(response, 1)
        call.finish()
        seen += await read_events(response)
        assert [event.seq for event in seen] == list(range(102))

        async def cut() -> bool:
            return len(client.server.handler.connections) < connections

        await until(cut)
        got = len(before)
        async with asyncio.timeout(5):
            try:
                while data := await loop.sock_recv(slow, 65536):
                    got += len(data)
            except ConnectionError:
                pass
    assert got < 8_000_000  # cut long before the end
    assert "request_failed" not in capsys.readouterr().out
    assert (await chat.messages())[1][2] == "stop"
    again = await chat.attach(seen[0].id)
    assert [event.seq for event in await read_events(again)] == list(range(1, 102))


async def test_readers_that_leave_in_the_middle_leave_nothing_behind(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "a")
    before = len(asyncio.all_tasks())
    for _ in range(10):
        reader = await chat.attach()
        await read_events(reader, 2)
        reader.close()
    call.say("b")  # only a write shows that a reader has left
    await read_events(response, 1)

    async def gone() -> bool:
        return len(asyncio.all_tasks()) <= before

    await until(gone)
    call.finish("c")
    assert text_of(await read_events(response)) == "c"


async def test_a_reader_that_left_before_its_stream_began_is_no_failure(
    chat: Chat,
    model: ModelServer,
    sql: Sql,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    async with sql.transaction():
        await sql.execute("select from conversations for update")
        sending = asyncio.create_task(chat.send())
        await somebody_waits(sql)
        sending.cancel()
        await asyncio.wait({sending})
    call = await model.call()
    call.finish("a")

    async def answered() -> bool:
        return await chat.messages() == [("user", "Hi", None), ("assistant", "a", "stop")]

    await until(answered)
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []
    assert "failed" not in capsys.readouterr().out


async def test_an_answer_may_finish_while_the_service_drains(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    client = await start(settings.model_copy(update={"drain_seconds": 5}))
    chat = await open_chat(client, user)
    response, call, _ = await chat.begin(model, "a")
    draining = asyncio.create_task(client.app[GENERATIONS].drain())
    await asyncio.sleep(0)
    assert (await chat.send()).status == 503
    reader = await chat.attach()
    call.finish("b")
    assert (await read_events(response))[-1].data["finish_reason"] == "stop"
    assert text_of(await read_events(reader)) == "ab"
    async with asyncio.timeout(2):
        await draining


async def test_what_a_drain_interrupts_is_kept_and_told(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "a", "b")
    await chat.client.app[GENERATIONS].drain()
    error, done = await read_events(response)
    assert error.data["error"] == "draining"
    assert done.data["finish_reason"] == "interrupted"
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "interrupted")]
    async with asyncio.timeout(5):
        await call.closed.wait()
    await no_answer_lives()


async def test_an_answer_that_starts_when_the_grace_is_over_is_interrupted_and_told(
    chat: Chat, model: ModelServer, sql: Sql, second: Sql
) -> None:
    generations = chat.client.app[GENERATIONS]
    async with second.transaction():
        await second.execute("lock table generations in access exclusive mode")
        sending = asyncio.create_task(chat.send())
        await somebody_waits(sql)
        draining = asyncio.create_task(generations.drain())
        await asyncio.sleep(0.2)  # longer than the grace
        assert not draining.done()
    error, done = (await read_events(await sending))[1:]
    assert (error.data["error"], done.data["finish_reason"]) == ("draining", "interrupted")
    async with asyncio.timeout(2):
        await draining
    assert await chat.messages() == [("user", "Hi", None)]


class TestManyWorkers:
    """What one worker must do because there may be others."""

    @pytest.fixture
    async def foreign(self, chat: Chat, sql: Sql) -> str:
        """A generation that another worker has started."""
        worker = uuid4()
        await sql.execute(
            "insert into messages (conversation_id, role, content) select id, 'user', 'Hi' from conversations"
        )
        await sql.execute("insert into workers values ($1, now(), now() + interval '1 minute')", worker)
        generation_id = await sql.fetchval(
            "insert into generations (conversation_id, kind, user_message_id, worker_id)"
            " select conversation_id, 'send', id, $1 from messages returning id",
            worker,
        )
        return str(generation_id)

    async def test_the_generation_of_a_living_worker_is_left_alone(
        self, chat: Chat, foreign: str, start: Start, settings: Settings, sql: Sql
    ) -> None:
        other = await start(settings)  # looks for orphans when it starts
        chat = Chat(other, chat.path, chat.user)
        refused = await chat.send()
        assert (refused.status, (await refused.json())["generation_id"]) == (409, foreign)
        assert (await chat.get())["generation"]["last_event_id"] is None
        response = await chat.attach()  # what the other worker will write
        assert (response.status, response.content_type) == (200, "text/event-stream")
        response.close()

    async def test_the_generation_of_a_dead_worker_is_interrupted(
        self, chat: Chat, foreign: str, start: Start, settings: Settings, sql: Sql, model: ModelServer
    ) -> None:
        await kill_workers(sql)
        chat = Chat(await start(settings), chat.path, chat.user)

        async def ended() -> bool:
            return (await chat.get())["generation"] is None

        await until(ended)
        *_, error, done = await read_events(await chat.attach(f"{foreign}:7"))
        assert error.data["error"] == "worker_lost"
        assert done.data["finish_reason"] == "interrupted"
        assert done.seq > 7
        await chat.exchange(model, "x")
