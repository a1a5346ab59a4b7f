"""What is promised (docs/design.md section 6), one class a promise.

The seventh, about broken neighbours, is tested in tests/faults, tests/access and tests/inference.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientResponse

from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from tests.conftest import FAST, Start
from tests.support import queries
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Sql, no_answer_lives, open_chat, somebody_waits, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.wire import DatabaseWire

ANSWERED = [("user", "Hi", None), ("assistant", "ab", "stop")]


@pytest.fixture
async def wire(database_url: str) -> AsyncIterator[DatabaseWire]:
    """A connection to the database that can be cut."""
    async with DatabaseWire(database_url) as wire:
        yield wire


@pytest.fixture
async def wired(wire: DatabaseWire, start: Start, settings: Settings, user: dict[str, str]) -> Chat:
    """A conversation on a service that reaches its database over that connection."""
    changes = {
        "database_url": wire.url,
        "database_timeout": 0.5,
        "keepalive_interval": 0.02,
        "worker_lease": 1,
    }
    return await open_chat(await start(settings.model_copy(update=changes)), user)


async def kept_alive(response: ClientResponse) -> None:
    """Check that a few keep-alives arrive, and no event."""
    async with asyncio.timeout(5):
        for _ in range(7):
            line = (await response.content.readline()).strip()
            assert not line or line.startswith(b":")


class TestDoneIsSentOnlyAfterTheCommit:
    """1. `done` seen ⇒ the answer is stored."""

    async def test_no_done_while_the_commit_is_out(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
    ) -> None:
        chat = await open_chat(await start(settings.model_copy(update={"keepalive_interval": 0.02})), user)
        response, call, _ = await chat.begin(model, "a", "b")
        async with sql.transaction():
            await sql.execute("select from generations for update")
            call.finish()
            await somebody_waits(sql)
            await kept_alive(response)
            assert await sql.fetchval("select count(*) from messages where role = 'assistant'") == 0
        [done] = await read_events(response)
        row = await sql.fetchrow("select id, content from messages where role = 'assistant'")
        assert row is not None
        assert (str(row["id"]), row["content"]) == (done.data["message_id"], "ab")

    async def test_every_reader_that_saw_done_finds_the_message(self, chat: Chat, model: ModelServer) -> None:
        for _ in range(5):
            response, call, _ = await chat.begin(model)
            readers = [response, *[await chat.attach() for _ in range(3)]]

            async def look(reader: ClientResponse) -> bool:
                done = (await read_events(reader))[-1].data
                return done["message_id"] in {message["id"] for message in (await chat.get())["messages"]}

            call.finish("a", "b")
            assert all(await asyncio.gather(*map(look, readers)))

    async def test_while_the_database_is_away_the_answer_waits(
        self, wired: Chat, wire: DatabaseWire, model: ModelServer
    ) -> None:
        response, call, _ = await wired.begin(model, "a", "b")
        wire.cut()
        call.finish()
        await until(lambda: asyncio.sleep(0, wire.refused))
        await kept_alive(response)
        wire.mend()
        [done] = await read_events(response)
        assert await wired.messages() == ANSWERED
        assert done.data["message_id"] == (await wired.get())["messages"][1]["id"]
        await no_answer_lives()

    async def test_a_commit_that_nobody_was_told_of_stores_once(
        self, wired: Chat, wire: DatabaseWire, model: ModelServer
    ) -> None:
        response, call, _ = await wired.begin(model, "a", "b")
        wire.lose_reply_to = b"-- generations.finish"
        call.finish()
        [done] = await read_events(response)
        assert await wired.messages() == ANSWERED
        assert done.data["message_id"] == (await wired.get())["messages"][1]["id"]

    async def test_through_a_restart_of_postgresql(
        self,
        tmp_path: Path,
        start: Start,
        settings: Settings,
        user: dict[str, str],
        model: ModelServer,
    ) -> None:
        with Postgres(tmp_path / "data", settings=FAST) as server:
            await asyncio.to_thread(apply_migrations, server.dsn())
            changes = {"database_url": server.dsn(), "keepalive_interval": 0.02}
            chat = await open_chat(await start(settings.model_copy(update=changes)), user)
            response, call, _ = await chat.begin(model, "a", "b")
            server.stop()
            call.finish()
            await kept_alive(response)
            server.start()
            assert (await read_events(response))[-1].data["finish_reason"] == "stop"
            assert await chat.messages() == ANSWERED


class TestAStreamMeansTheMessageIsStored:
    """2. A user's message answered with a stream ⇒ it is stored."""

    async def test_no_stream_begins_before_the_commit(self, chat: Chat, model: ModelServer, sql: Sql) -> None:
        async with sql.transaction():
            await sql.execute("select from conversations for update")
            sending = asyncio.create_task(chat.send())
            await somebody_waits(sql)
            assert not sending.done()
            assert model.requests == []
        response = await sending
        assert response.status == 200
        assert await sql.fetchval("select content from messages") == "Hi"

    @pytest.mark.parametrize("refuse", [None, (500, "")])
    async def test_it_is_stored_whatever_the_model_does(
        self, chat: Chat, model: ModelServer, sql: Sql, refuse: tuple[int, str] | None
    ) -> None:
        model.refuse = refuse
        model.hold_headers = asyncio.Event()
        response = await chat.send()
        assert await sql.fetchval("select content from messages") == "Hi"
        [start] = await read_events(response, 1)
        assert await sql.fetchval("select id from messages") == UUID(start.data["user_message_id"])
        response.close()
        model.hold_headers.set()

    async def test_without_the_database_no_stream_begins(
        self, wired: Chat, wire: DatabaseWire, model: ModelServer
    ) -> None:
        wire.cut()
        response = await wired.send()
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert (await response.json())["code"] == "database_unavailable"
        assert model.requests == []
        wire.mend()
        assert await wired.messages() == []


class TestAReaderThatReconnectsMissesNothing:
    """3. A reader that reconnects with its last id sees every later event once, in order."""

    async def test_reconnecting_after_every_event(self, chat: Chat, model: ModelServer) -> None:
        response, call, seen = await chat.begin(model)
        for number in range(20):
            call.say(f"{number} ")
            if number % 3 == 0:  # so that one, two or three events wait for the reader that comes back
                continue
            response.close()
            response = await chat.attach(seen[-1].id)
            seen += await read_events(response, 1 + (number % 3 == 1))
        call.finish()
        response.close()
        seen += await read_events(await chat.attach(seen[-1].id))
        assert [event.seq for event in seen] == list(range(22))
        assert text_of(seen).split() == [str(number) for number in range(20)]


class TestOneGenerationAtATime:
    """4. One generation a conversation at a time; a retried POST stores once."""

    async def test_of_many_messages_at_once_one_is_stored_and_answered(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        responses = await asyncio.gather(
            *(chat.send() for _ in range(20)), *(chat.regenerate() for _ in range(5))
        )
        statuses = [response.status for response in responses]
        assert statuses.count(200) == 1
        assert set(statuses) <= {200, 400, 409}  # 400: regenerating before there is a message
        assert await sql.fetchval("select count(*) from messages") == 1
        assert await sql.fetchval("select count(*) from generations") == 1
        (await model.call()).finish("ab")
        await responses[statuses.index(200)].read()
        assert len(model.requests) == 1

    async def test_a_retry_whose_first_answer_was_lost_stores_once(
        self, wired: Chat, wire: DatabaseWire, model: ModelServer, sql: Sql
    ) -> None:
        wire.lose_reply_to = b"-- generations.start"
        assert (await wired.send(key="k")).status == 503

        async def answered() -> ClientResponse | None:
            response = await wired.send(key="k")
            return response if response.status == 200 else None

        response: ClientResponse = await until(answered)
        assert (await read_events(response))[-1].data["finish_reason"] == "interrupted"
        assert await wired.messages() == [("user", "Hi", None)]

    async def test_a_beginning_that_nobody_was_told_of_does_not_stay_in_the_way(
        self, wired: Chat, wire: DatabaseWire, model: ModelServer
    ) -> None:
        wire.lose_reply_to = b"-- generations.start"
        assert (await wired.send()).status == 503
        assert (await wired.send()).status == 409

        async def free() -> bool:
            return (await wired.get())["generation"] is None

        await until(free)
        await wired.exchange(model, "ab")


class TestLeavingIsNotStopping:
    """5. Leaving is not stopping; stopping stops the model."""

    @pytest.mark.parametrize("stream", [True, False])
    async def test_an_answer_is_finished_though_nobody_reads(
        self, chat: Chat, model: ModelServer, sql: Sql, stream: bool
    ) -> None:
        sending = asyncio.create_task(chat.send(stream=stream))
        call = await model.call()
        if stream:
            (await sending).close()
        else:
            sending.cancel()
            await asyncio.wait({sending})
        call.say("a")
        await read_events(reader := await chat.attach(), 2)
        reader.close()
        call.finish("b")

        async def stored() -> bool:
            return await sql.fetchval("select count(*) from messages") == 2

        await until(stored)
        assert await chat.messages() == ANSWERED
        assert not call.closed.is_set()

    @pytest.mark.parametrize("tokens", [[], ["a"]])
    async def test_stopping_closes_the_models_request(
        self, chat: Chat, model: ModelServer, tokens: list[str]
    ) -> None:
        _, call, _ = await chat.begin(model, *tokens)
        await chat.stop()
        async with asyncio.timeout(5):
            await call.closed.wait()


class TestNobodySeesOrTouchesAnothersData:
    """6. Nobody sees or touches another user's data, or learns whether it exists."""

    async def test_another_users_conversation_is_as_one_that_does_not_exist(
        self, chat: Chat, auth: AuthService, model: ModelServer, sql: Sql
    ) -> None:
        _, call, seen = await chat.begin(model, "secret")
        before = await sql.fetch("select * from conversations, messages, generations")
        stranger = auth.sign_in()
        answers = []
        for path in (chat.path, f"/api/conversations/{uuid4()}"):
            there = Chat(chat.client, path, stranger)
            answers.append(
                [
                    (response.status, await response.text())
                    for response in (
                        await there.send("Mine", key="k"),
                        await there.send("Mine", stream=False),
                        await there.regenerate(),
                        await there.attach(),
                        await there.attach(seen[0].id),
                        await chat.client.get(path, headers=stranger),
                        await chat.client.put(path, headers=stranger, json={"title": "Mine"}),
                        await chat.client.post(f"{path}/stop", headers=stranger),
                        await chat.client.delete(path, headers=stranger),
                    )
                ]
            )
        assert answers[0] == answers[1]
        assert {status for status, _ in answers[0]} == {404}
        assert await sql.fetch("select * from conversations, messages, generations") == before
        assert not call.closed.is_set()

    async def test_an_event_id_of_another_user_opens_nothing(
        self, chat: Chat, auth: AuthService, model: ModelServer
    ) -> None:
        seen = await chat.exchange(model, "secret")
        own = await open_chat(chat.client, auth.sign_in())
        assert (await own.attach(seen[0].id)).status == 204


class TestEveryRunLeavesOneRowOfUsage:
    """11. Every run of a model leaves exactly one row of usage, whatever ended it, which outlives all."""

    async def test_whatever_ends_it_and_whatever_is_deleted(
        self, chat: Chat, model: ModelServer, sql: Sql
    ) -> None:
        await chat.exchange(model, "a")  # the model
        model.say = ["b"]
        await read_events(await chat.regenerate())
        model.say, model.refuse = None, (500, "{}")
        await read_events(await chat.send())  # its failure
        model.refuse = None
        while not model.idle:
            await model.call()
        for end in ("stop", "deletion"):
            asked, call, _ = await chat.begin(model, "c")
            if end == "stop":
                await chat.stop()
            else:
                assert (await chat.client.delete(chat.path, headers=chat.user)).status == 204
            async with asyncio.timeout(30):
                await call.closed.wait()
            await no_answer_lives()
            asked.close()
        lost = await queries.Chat().open(sql)
        await lost.begin(sql)
        await queries.kill_workers(sql)
        assert len(await queries.run(sql, "maintenance.interrupt_orphans")) == 1  # its worker's death
        await queries.run(sql, "conversations.delete", id=lost.id, user_id=lost.user_id)
        assert await sql.fetchval("select count(*) from generations") == 0
        rows = await sql.fetch("select kind, status from usage order by id")
        assert [tuple(row) for row in rows] == [
            ("send", "completed"),
            ("regenerate", "completed"),
            ("send", "failed"),
            ("send", "stopped"),
            ("send", "stopped"),
            ("send", "interrupted"),
        ]
