"""Idempotency-Key: a retry never stores a second message."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.sql.test_bring_in import bring_in
from tests.support.chat import Chat, Client, Sql, open_chat, somebody_waits
from tests.support.model_server import ModelServer
from tests.support.queries import Chat as Rows
from tests.support.queries import prune
from tests.support.reader import read_events, reset_to, text_of

ANSWERED = [("user", "Hi", None), ("assistant", "ab", "stop")]


async def test_a_retry_while_it_runs_attaches(chat: Chat, model: ModelServer) -> None:
    first = await chat.send(key="k")
    call = await model.call()
    call.say("a")
    retry = await chat.send(key="k")
    seen = await read_events(retry, 2)
    call.finish("b")
    seen += await read_events(retry)
    assert await read_events(first) == seen
    assert await chat.messages() == ANSWERED
    assert len(model.requests) == 1


async def test_a_retry_after_the_end_replays(chat: Chat, model: ModelServer) -> None:
    model.say = ["a", "b"]
    first = await read_events(await chat.send(key="k"))
    assert await read_events(await chat.send(key="k")) == first
    assert await chat.messages() == ANSWERED
    assert len(model.requests) == 1


async def test_a_retry_after_the_replay_window_gets_the_stored_answer(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a", "b"]
    first = await read_events(await chat.send(key="k"))
    await prune(sql)
    begin, reset, done = await read_events(await chat.send(key="k"))
    del first[0].data["history"]  # what the model was sent isn't kept any longer than the events
    assert (begin, done) == (first[0], first[-1])
    assert reset.data == reset_to("ab")


async def test_after_a_restart_a_retry_still_finds_its_answer(
    start: Start, settings: Settings, chat: Chat, model: ModelServer
) -> None:
    model.say = ["a", "b"]
    first = await read_events(await chat.send(key="k"))
    restarted = Chat(await start(settings), chat.path, chat.user)
    assert (await read_events(await restarted.send(key="k")))[-1] == first[-1]
    whole = await (await restarted.send(key="k", stream=False)).json()
    assert whole["message"]["content"] == "ab"
    assert await chat.messages() == ANSWERED


async def test_stream_or_not_a_retry_gets_the_same_answer(chat: Chat, model: ModelServer) -> None:
    model.say = ["a", "b"]
    whole = await (await chat.send(key="k", stream=False)).json()
    assert text_of(await read_events(await chat.send(key="k"))) == "ab"
    assert await (await chat.send(key="k", stream=False)).json() == whole
    assert await chat.messages() == ANSWERED


async def test_of_twenty_at_once_with_one_key_all_get_one_answer(chat: Chat, model: ModelServer) -> None:
    responses = await asyncio.gather(*(chat.send(key="k") for _ in range(20)))
    call = await model.call()
    call.finish("a", "b")
    first, *others = [await read_events(response) for response in responses]
    assert text_of(first) == "ab"
    assert all(other == first for other in others)
    assert await chat.messages() == ANSWERED
    assert len(model.requests) == 1


async def test_a_key_for_another_message_is_refused(chat: Chat, model: ModelServer) -> None:
    model.say = ["a", "b"]
    await (await chat.send(key="k")).read()
    for response in (await chat.send("Other", key="k"), await chat.regenerate(key="k")):
        body = await response.json()
        assert (response.status, body["code"]) == (422, "validation_failed")
        assert body["detail"][0]["type"] == "idempotency_key_reused"
        assert body["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    assert await chat.messages() == ANSWERED


async def test_a_retry_of_what_was_taken_back_says_that_it_is_gone(chat: Chat, model: ModelServer) -> None:
    model.say = ["a"]
    said = await read_events(await chat.send(key="k"))
    await (await chat.regenerate(key="again")).read()
    await chat.take_back(said[0].data["user_message_id"])
    for response in (await chat.send(key="k"), await chat.regenerate(key="again")):
        assert (response.status, (await response.json())["code"]) == (404, "message_not_found")
    assert await chat.messages() == []


async def test_at_the_same_moment_too_a_key_for_another_message_is_refused(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    """The other message isn't committed when the statement begins, so only an index can find it."""
    worker = uuid4()
    async with sql.transaction():
        await sql.execute("insert into workers values ($1, now(), now() + interval '1 minute')", worker)
        await sql.execute(
            "insert into messages (conversation_id, role, content)"
            " select id, 'user', 'Other' from conversations"
        )
        await sql.execute(
            "insert into generations (conversation_id, kind, user_message_id, idempotency_key, worker_id)"
            " select conversation_id, 'send', id, 'k', $1 from messages",
            worker,
        )
        sending = asyncio.create_task(chat.send(key="k"))
        await somebody_waits(sql)
    response = await sending
    assert response.status == 422
    assert (await response.json())["detail"][0]["type"] == "idempotency_key_reused"
    assert await chat.messages() == [("user", "Other", None)]
    assert model.requests == []


async def test_a_key_belongs_to_its_conversation(client: Client, chat: Chat, model: ModelServer) -> None:
    model.say = ["a", "b"]
    other = await open_chat(client, chat.user)
    for each in chat, other:
        await (await each.send(key="k")).read()
        assert await each.messages() == ANSWERED


async def test_regenerating_takes_a_key_too(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "old")
    model.say = ["a", "b"]
    first = await read_events(await chat.regenerate(key="k"))
    assert await read_events(await chat.regenerate(key="k")) == first
    assert await chat.messages() == ANSWERED
    assert len(model.requests) == 2


async def test_a_retry_of_a_replaced_answer_gets_the_new_one(chat: Chat, model: ModelServer) -> None:
    response = await chat.send(key="k")
    call = await model.call()
    call.say("half")
    call.cut()
    await response.read()
    model.say = ["a", "b"]
    await (await chat.regenerate()).read()
    _, reset, done = await read_events(await chat.send(key="k"))
    assert reset.data["content"] == "ab"
    assert done.data["finish_reason"] == "stop"
    assert done.data["message_id"] == (await chat.get())["messages"][1]["id"]


@pytest.mark.parametrize("key", ["", "x" * 201, "tab\there"], ids=["empty", "long", "tab"])
async def test_a_key_that_cannot_be_one_is_refused(chat: Chat, key: str) -> None:
    response = await chat.send(key=key)
    body = await response.json()
    assert (response.status, body["detail"][0]["type"]) == (422, "idempotency_key_invalid")
    assert await chat.messages() == []


@pytest.mark.parametrize(
    "key", ["x" * 200, "'; drop table generations; --", "schlüssel 🔑"], ids=["long", "sql", "unicode"]
)
async def test_any_other_key_is_taken(chat: Chat, model: ModelServer, key: str) -> None:
    model.say = ["a", "b"]
    for _ in range(2):
        assert text_of(await read_events(await chat.send(key=key))) == "ab"
    assert await chat.messages() == ANSWERED


async def test_a_retry_that_comes_as_the_answer_ends_finds_it(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    """The retry's statement begins before the answer's ends, so only an index can find it."""
    model.say = ["a", "b"]
    first = await read_events(await chat.send(key="k"))
    await sql.execute("delete from generations")
    async with sql.transaction():
        await sql.execute(
            "insert into generations (id, conversation_id, kind, user_message_id, idempotency_key, worker_id)"
            " select $1, conversation_id, 'send', id, 'k', $1 from messages where role = 'user'",
            first[0].data["generation_id"],
        )
        retry = asyncio.create_task(chat.send(key="k"))
        await somebody_waits(sql)
        await sql.execute(
            "update generations set status = 'completed', finish_reason = 'stop', finished_at = now(),"
            " message_id = (select id from messages where role = 'assistant')"
        )
    assert text_of(await read_events(await retry)) == "ab"
    assert await chat.messages() == ANSWERED


async def test_a_retry_that_deadlocks_with_its_answer_being_brought_in_finds_it(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    """A failover lost it; its worker stores it again, while a retry stores the question again."""
    model.say = ["ab"]
    rows = Rows(id=UUID(chat.path.rpartition("/")[2]))
    generation_id, question_id = uuid4(), uuid4()
    async with sql.transaction():
        await sql.execute("select from conversations for no key update")  # bring_in begins with it
        retrying = asyncio.create_task(chat.send(key="k"))
        await somebody_waits(sql)  # it has stored its generation
        brought = await bring_in(sql, rows, generation_id, question_id, idempotency_key="k", question="Hi")
        assert brought is not None
        assert brought["is_ended"] is True
    seen = await read_events(await retrying)
    assert seen[0].data["generation_id"] == str(generation_id)
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "so far, so good", "stop")]
    assert model.requests == []
