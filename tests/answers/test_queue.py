"""Messages that wait until the answer that is being written has ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.queries import kill_workers
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab


async def wait(chat: Chat, content: str, key: str | None = None, **options: Any) -> dict[str, Any]:
    """Let a message wait; returns it."""
    response = await chat.send(content, key, when_running="queue", **options)
    assert response.status == 202, await response.text()
    queued: dict[str, Any] = (await response.json())["queued"]
    assert queued["content"] == content
    return queued


async def waiting(chat: Chat) -> list[str]:
    """The texts of the messages that wait."""
    return [each["content"] for each in (await chat.get())["queued"]]


async def texts(chat: Chat) -> list[str]:
    return [text for _, text, _ in await chat.messages()]


async def test_each_is_answered_when_its_turn_comes(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model, "a")
    first, second = await wait(chat, "Second"), await wait(chat, "ཐར་པ 🫖")
    assert await waiting(chat) == ["Second", "ཐར་པ 🫖"]
    assert await texts(chat) == ["Hi"]
    call.finish()
    call = await model.call()
    assert [each["content"] for each in call.request["messages"]] == ["Hi", "a", "Second"]
    assert await waiting(chat) == ["ཐར་པ 🫖"]
    call.finish("b")
    call = await model.call()
    assert await waiting(chat) == []
    call.say("c")
    assert text_of(await read_events(await chat.attach(), 2)) == "c"
    call.finish()
    messages = await until(lambda: all_said(chat, 6))
    assert [each["content"] for each in messages] == ["Hi", "a", "Second", "b", "ཐར་པ 🫖", "c"]
    assert [each["id"] for each in messages[2::2]] == [first["id"], second["id"]]
    assert len(model.requests) == 3


async def all_said(chat: Chat, count: int) -> list[dict[str, Any]] | None:
    conversation = await chat.get()
    messages: list[dict[str, Any]] = conversation["messages"]
    return messages if len(messages) == count and conversation["generation"] is None else None


async def test_one_that_has_nothing_to_wait_for_is_streamed_at_once(chat: Chat, model: ModelServer) -> None:
    model.say = ["at once"]
    response = await chat.send("Now", when_running="queue")
    assert response.status == 200
    assert text_of(await read_events(response)) == "at once"


async def test_its_options_are_kept(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model)
    await wait(chat, "Second", temperature=0.25, max_tokens=9)
    call.finish("a")
    request = (await model.call()).request
    assert (request["temperature"], request["max_tokens"]) == (0.25, 9)


async def test_its_key_finds_it_while_it_waits_and_later(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model)
    queued = await wait(chat, "Second", "k")
    assert await wait(chat, "Second", "k") == queued
    other = await chat.send("Third", "k", when_running="queue")
    assert (other.status, (await other.json())["detail"][0]["type"]) == (422, "idempotency_key_reused")
    assert await waiting(chat) == ["Second"]
    call.finish("a")
    call = await model.call()
    again = await chat.send("Second", "k", when_running="queue")
    assert again.status == 200
    call.finish("b")
    assert text_of(await read_events(again)) == "b"
    assert await texts(chat) == ["Hi", "a", "Second", "b"]


async def test_while_it_waits_its_key_is_for_no_other_message(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model, "a")
    await wait(chat, "Second", "k")
    for response in (
        await chat.send("Third", "k", when_running="supersede"),
        await chat.send("Third", "k", when_running="supersede", parent_id=None),
        await chat.regenerate("k", when_running="supersede"),
        await chat.go_on("k", when_running="supersede"),
    ):
        body = await response.json()
        assert (response.status, body["detail"][0]["type"]) == (422, "idempotency_key_reused")
    call.finish()
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))
    assert await texts(chat) == ["Hi", "a", "Second", "b"]


async def test_one_whose_key_is_used_otherwise_is_sent_all_the_same(
    chat: Chat, model: ModelServer, sql: Sql
) -> None:
    """Of two messages at the same moment, one may begin to wait when the other has begun with its key."""
    _, call, _ = await chat.begin(model, "a")
    await wait(chat, "Second", "k")
    await sql.execute("update generations set idempotency_key = 'k'")
    call.finish()
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))
    assert await texts(chat) == ["Hi", "a", "Second", "b"]
    assert await waiting(chat) == []


async def test_one_that_cannot_be_sent_keeps_no_other_conversation_waiting(
    chat: Chat, client: Client, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    other = await open_chat(client, user)
    for path, request in ((chat.path, '{"max_tokens": "?"}'), (other.path, "{}")):
        await sql.execute(
            "insert into queued_messages (conversation_id, content, request) values ($1, 'x', $2)",
            path.rpartition("/")[2],
            request,
        )
    model.say = ["b"]
    await client.app[GENERATIONS].begin_due()
    await until(lambda: all_said(other, 2))
    assert await waiting(chat) == ["x"]


async def test_ten_wait_at_most(chat: Chat, model: ModelServer) -> None:
    await chat.begin(model)
    for number in range(10):
        await wait(chat, str(number))
    response = await chat.send("one more", when_running="queue")
    assert (response.status, (await response.json())["code"]) == (409, "queue_full")
    assert len(await waiting(chat)) == 10


async def test_one_can_be_taken_back(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model)
    first = await wait(chat, "Second")
    await wait(chat, "Third")
    assert (await chat.take_back(first["id"])).status == 204
    assert (await chat.take_back(first["id"])).status == 404
    call.finish("a")
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))
    assert await texts(chat) == ["Hi", "a", "Third", "b"]


async def test_a_stop_gives_the_next_one_its_turn(chat: Chat, model: ModelServer) -> None:
    await chat.begin(model, "half")
    await wait(chat, "Second")
    await chat.stop()
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))
    assert await texts(chat) == ["Hi", "half", "Second", "b"]


async def test_a_stop_that_clears_the_queue_ends_all(chat: Chat, model: ModelServer) -> None:
    await chat.begin(model, "half")
    await wait(chat, "Second")
    response = await chat.client.post(f"{chat.path}/stop", json={"queue": "clear"}, headers=chat.user)
    assert (await response.json())["stopped"]
    assert await waiting(chat) == []
    await asyncio.sleep(0.1)
    assert await texts(chat) == ["Hi", "half"]
    assert len(model.requests) == 1


async def test_one_that_takes_the_answers_place_comes_first(chat: Chat, model: ModelServer) -> None:
    await chat.begin(model, "half")
    await wait(chat, "Later")
    response = await chat.send("Now", when_running="supersede")
    (await model.call()).finish("b")
    await read_events(response)
    (await model.call()).finish("c")
    await until(lambda: all_said(chat, 6))
    assert await texts(chat) == ["Hi", "half", "Now", "b", "Later", "c"]


async def test_its_turn_comes_after_an_answer_that_failed(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model)
    await wait(chat, "Second")
    call.cut()
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 3))
    assert await texts(chat) == ["Hi", "Second", "b"]


async def test_its_turn_comes_though_the_worker_died(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    hasty = settings.model_copy(update={"worker_lease": 0.5})
    chat = await open_chat(await start(hasty), user)
    await chat.begin(model, "half")
    await wait(chat, "Second")
    await sql.execute("update generations set worker_id = gen_random_uuid()")  # of a worker that is dead
    await kill_workers(sql)
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))
    assert (await texts(chat))[-2:] == ["Second", "b"]
    assert await sql.fetchval("select count(*) from generations") == 2


async def test_workers_that_send_it_at_once_send_it_once(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    """All of them see that it waits, and that no answer is being written."""
    chat = await open_chat(await start(settings), user)
    workers = [chat.client, *[await start(settings) for _ in range(2)]]
    model.say = ["b"]
    for number in range(20):
        await sql.execute(
            "insert into queued_messages (conversation_id, content, request) values ($1, $2, '{}')",
            chat.path.rpartition("/")[2],
            str(number),
        )
        await asyncio.gather(*(worker.server.app[GENERATIONS].begin_due() for worker in workers))
        await until(lambda count=2 * number + 2: all_said(chat, count))  # type: ignore[misc]
    assert await texts(chat) == [text for number in range(20) for text in (str(number), "b")]
    assert await sql.fetchval("select count(*) from generations") == 20
    assert len(model.requests) == 20


@pytest.mark.parametrize(
    "place", [{"parent_id": None}, {"parent_id": "01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"}]
)
async def test_one_with_a_place_of_its_own_cannot_wait(chat: Chat, place: dict[str, Any]) -> None:
    assert (await chat.send("x", when_running="queue", **place)).status == 422


async def test_only_messages_can_wait(chat: Chat) -> None:
    assert (await chat.regenerate(when_running="queue")).status == 422
    assert (await chat.go_on(when_running="queue")).status == 422


async def test_limits_count_it_once_when_it_comes(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    limited = settings.model_copy(update={"sends_per_user": "2/minute"})
    chat = await open_chat(await start(limited), user)
    _, call, _ = await chat.begin(model)
    await wait(chat, "Second")
    response = await chat.send("Third", when_running="queue")
    assert response.status == 429
    call.finish("a")
    (await model.call()).finish("b")
    await until(lambda: all_said(chat, 4))


async def test_nothing_waits_in_another_users_conversation(
    client: Client, chat: Chat, model: ModelServer, auth: Any
) -> None:
    await chat.begin(model)
    other = Chat(client, chat.path, auth.sign_in())
    assert (await other.send("x", when_running="queue")).status == 404
    response = await other.client.post(f"{chat.path}/stop", json={"queue": "clear"}, headers=other.user)
    assert response.status == 404


async def test_over_a_websocket_it_is_said_and_then_followed(chat: Chat, model: ModelServer) -> None:
    _, call, _ = await chat.begin(model, "a")
    async with open_tab(chat.client, chat.user) as tab:
        frame = await tab.ask("send", chat.path, content="Second", when_running="queue")
        assert (frame["type"], frame["queued"]["content"]) == ("queued", "Second")
        call.finish()
        call = await model.call()
        call.finish("b")
        kinds = [frame["type"] for frame in await tab.events()]
        assert [kind for kind in kinds if kind != "changed"] == ["start", "token", "done"]
