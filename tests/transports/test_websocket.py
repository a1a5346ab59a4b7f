"""One socket for all of a user's conversations: its answers, and who gets which events."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient

from chat_api import events
from chat_api.http.context import GENERATIONS
from chat_api.relay import Log, watch
from chat_api.settings import Settings
from chat_api.transports.websocket.socket import SOCKETS, framed
from tests.support.auth_service import AuthService
from tests.support.chat import Sql, know_each_other, somebody_waits, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import Tab, as_sse, open_tab, words

Client = TestClient[web.Request, web.Application]
Start = Callable[[Settings], Awaitable[Client]]
User = dict[str, str]


@pytest.fixture
async def tab(client: Client, user: User) -> AsyncIterator[Tab]:
    """A signed-in tab."""
    async with open_tab(client, user) as opened:
        yield opened


@pytest.fixture
async def second(client: Client, user: User) -> AsyncIterator[Tab]:
    """Another tab of the same user."""
    async with open_tab(client, user) as opened:
        yield opened


@pytest.fixture
async def other(start: Start, settings: Settings) -> Client:
    """A second worker."""
    return await start(settings)


async def new_conversation(client: Client, user: User) -> str:
    response = await client.post("/api/conversations", headers=user)
    return str((await response.json())["id"])


async def test_a_message_is_acknowledged_and_then_its_answer_comes(
    client: Client, tab: Tab, conversation: str, user: User, model: ModelServer
) -> None:
    ack = await tab.ask("send", conversation, "r1", content="hi", temperature=0.1)
    assert (ack["type"], ack["ref"]) == ("ack", "r1")
    call = await model.call()
    assert call.request["temperature"] == 0.1
    call.say("one ", "two ")
    begun = await tab.events(3)
    sse = await client.get(f"{conversation}/stream", headers=user)
    call.finish("three")
    frames = begun + await tab.events()
    assert [frame["type"] for frame in frames] == ["start", "token", "token", "token", "done"]
    assert [frame["seq"] for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame["generation_id"] for frame in frames} == {ack["generation_id"]}
    assert {frame["conversation_id"] for frame in frames} == {conversation.rpartition("/")[2]}
    assert frames[0]["user_message_id"] == ack["user_message_id"]
    assert words(frames) == "one two three"
    # The same events, however they are read.
    assert [as_sse(frame) for frame in frames] == [(seen.id, seen.data) for seen in await read_events(sse)]
    messages = (await (await client.get(conversation, headers=user)).json())["messages"]
    assert [message["id"] for message in messages] == [ack["user_message_id"], frames[-1]["message_id"]]


async def test_a_failure_comes_as_an_error_event_and_done(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    model.refuse = (500, "out of order")
    await tab.ask("send", conversation, content="hi")
    frames = await tab.events()
    assert [frame["type"] for frame in frames] == ["start", "error", "done"]
    assert "ref" not in frames[1]
    assert (frames[1]["error"], frames[2]["finish_reason"]) == ("inference_error", "error")


async def test_what_the_model_server_sends_along_does_not_pass_for_the_events_own_fields(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    await tab.ask("send", conversation, content="hi")
    call = await model.call()
    call.send({"token": "x", "type": "done", "seq": 99, "generation_id": "?", "conversation_id": "?"})
    start, token = await tab.events(2)
    assert (token["type"], token["seq"], token["token"]) == ("token", 1, "x")
    assert (token["generation_id"], token["conversation_id"]) == (
        start["generation_id"],
        start["conversation_id"],
    )


@pytest.mark.parametrize(
    "fields",
    [
        {"type": "done"},
        {"seq": 99, "gpu": 1},
        {"gpu": {"type": "h100"}},
        {"generation_id": "?"},
        {"note": "type"},
    ],
    ids=str,
)
def test_no_name_is_twice_in_a_frame(fields: dict[str, object]) -> None:
    generation_id, conversation_id = uuid4(), uuid4()
    wire = framed(generation_id, conversation_id)(7, events.token('say "type": now', fields))
    payload = wire[2:] if wire[1] < 126 else wire[4:]
    pairs: list[tuple[str, object]] = json.loads(payload, object_pairs_hook=list)
    names = [name for name, _ in pairs]
    assert sorted(names) == sorted(set(names))
    frame = dict(pairs)
    assert (frame["type"], frame["seq"], frame["token"]) == ("token", 7, 'say "type": now')
    assert (frame["generation_id"], frame["conversation_id"]) == (str(generation_id), str(conversation_id))
    assert set(fields) <= set(frame)


@pytest.mark.parametrize("name", ["reasoning", "tool_call", "token_usage", "done_so_far", "generated"])
def test_an_event_of_an_unknown_kind_is_passed_on_by_its_first_name(name: str) -> None:
    event = events.dump({name: "a", "more": 1})
    frame = json.loads(framed(uuid4(), uuid4())(3, event).partition(b"{")[2].join((b"{", b"")))
    assert (frame["type"], frame[name], frame["more"], frame["seq"]) == (name, "a", 1, 3)


async def test_frames_of_every_length_come_whole(tab: Tab, conversation: str, model: ModelServer) -> None:
    tokens = ["ß" * length for length in (1, 60, 15_000, 40_000)]
    model.say = tokens
    await tab.ask("send", conversation, content="hi")
    assert [frame["token"] for frame in (await tab.events())[1:-1]] == tokens


async def test_every_tab_that_subscribed_sees_the_same_events_also_of_later_answers(
    tab: Tab, second: Tab, conversation: str, model: ModelServer
) -> None:
    assert await second.ask("subscribe", conversation, 7) == {"type": "ack", "ref": 7, "generation_id": None}
    for answer in ("first", "second"):
        await tab.ask("send", conversation, content="hi")
        (await model.call()).finish(answer)
        frames = await tab.events()
        assert words(frames) == answer
        assert await second.events() == frames


async def test_a_tab_that_comes_in_the_middle_sees_everything_from_the_start(
    tab: Tab, second: Tab, conversation: str, model: ModelServer
) -> None:
    sent = await tab.ask("send", conversation, content="hi")
    call = await model.call()
    call.say("so ", "far")
    await tab.events(3)
    ack = await second.ask("subscribe", conversation)
    assert ack["generation_id"] == sent["generation_id"]
    call.finish()
    frames = await second.events()
    assert ([frame["seq"] for frame in frames], words(frames)) == ([0, 1, 2, 3], "so far")


async def test_after_continues_an_answer_also_a_finished_one_and_then_the_next(
    tab: Tab, second: Tab, conversation: str, model: ModelServer
) -> None:
    await tab.ask("send", conversation, content="hi")
    (await model.call()).finish("a", "b")
    frames = await tab.events()
    await tab.ask("send", conversation, content="more")
    call = await model.call()
    after = f"{frames[1]['generation_id']}:{frames[1]['seq']}"
    ack = await second.ask("subscribe", conversation, after=after)
    assert ack["generation_id"] == frames[1]["generation_id"]
    assert await second.events() == frames[2:]
    call.finish("c")
    assert words(await second.events()) == "c"


async def test_a_finished_answer_is_not_told_again_to_who_asks_without_after(
    tab: Tab, second: Tab, conversation: str, model: ModelServer
) -> None:
    model.say = ["a"]
    await tab.ask("send", conversation, content="hi")
    await tab.events()
    ack = await second.ask("subscribe", conversation)
    assert ack["generation_id"] is None
    await tab.ask("send", conversation, content="hi")
    assert await second.events() == await tab.events()


async def test_who_subscribes_twice_begins_anew_and_gets_nothing_double_afterwards(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    await tab.ask("send", conversation, content="hi")
    call = await model.call()
    call.say("a")
    begun = await tab.events(2)
    await tab.ask("subscribe", conversation)
    assert await tab.events(2) == begun
    call.finish("b")
    assert words(await tab.events()) == "b"
    assert await tab.ask("stop", conversation, 9) == {
        "type": "ack",
        "ref": 9,
        "generation_id": None,
        "stopped": False,
    }


async def test_unsubscribe_is_safe_to_repeat_and_ends_the_events_not_the_answer(
    client: Client, tab: Tab, conversation: str, user: User, model: ModelServer
) -> None:
    await tab.ask("send", conversation, content="hi")
    call = await model.call()
    call.say("a")
    await tab.events(2)
    for ref in (2, 3):
        await tab.say("unsubscribe", conversation, ref)
        ack = await tab.hear()
        assert (ack["type"], ack["ref"]) == ("ack", ref)
    call.finish("b")
    sse = await read_events(await client.get(f"{conversation}/stream", headers=user))
    assert sse[-1].data["finish_reason"] == "stop"
    assert (await tab.ask("unsubscribe", conversation, 4))["ref"] == 4  # and no event before it


async def test_stop_ends_the_answer_and_keeps_its_text(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    sent = await tab.ask("send", conversation, content="hi")
    call = await model.call()
    call.say("so far")
    await tab.events(2)
    await tab.say("stop", conversation, "s")
    heard = [await tab.hear(), await tab.hear()]
    ack = {"type": "ack", "ref": "s", "generation_id": sent["generation_id"], "stopped": True}
    assert ack in heard
    [done] = [frame for frame in heard if frame != ack]
    assert done["finish_reason"] == "stopped"
    assert done["message_id"] is not None
    await asyncio.wait_for(call.closed.wait(), 5)


async def test_regenerate_answers_again_where_there_is_something_to_answer(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    assert (await tab.ask("regenerate", conversation))["code"] == "nothing_to_regenerate"
    model.say = ["one"]
    sent = await tab.ask("send", conversation, content="hi")
    await tab.events()
    model.say = ["two"]
    again = await tab.ask("regenerate", conversation, 2, top_k=3)
    assert again["user_message_id"] == sent["user_message_id"]
    assert words(await tab.events()) == "two"
    assert model.requests[-1].request["top_k"] == 3


async def test_a_message_is_refused_while_an_answer_runs_and_nothing_is_disturbed(
    tab: Tab, conversation: str, model: ModelServer
) -> None:
    sent = await tab.ask("send", conversation, content="hi")
    call = await model.call()
    await tab.events(1)
    refused = await tab.ask("send", conversation, "again", content="hi")
    assert (refused["type"], refused["ref"]) == ("error", "again")
    assert (refused["code"], refused["generation_id"]) == ("generation_running", sent["generation_id"])
    call.finish("x")
    assert words(await tab.events()) == "x"


async def test_a_retry_with_the_same_key_stores_once_and_tells_each_tab_the_answer_once(
    tab: Tab, second: Tab, conversation: str, model: ModelServer
) -> None:
    model.say = ["once"]
    ack = await tab.ask("send", conversation, content="hi", idempotency_key="k")
    frames = await tab.events()
    assert await tab.ask("send", conversation, content="hi", idempotency_key="k") == ack
    assert await second.ask("send", conversation, content="hi", idempotency_key="k") == ack
    assert await second.events() == frames
    assert (await tab.ask("stop", conversation))["type"] == "ack"  # no event before it
    assert len(model.requests) == 1
    other_content = await tab.ask("send", conversation, content="ho", idempotency_key="k")
    assert other_content["code"] == "validation_failed"


async def test_many_conversations_share_a_socket_up_to_the_limit(
    client: Client, start: Start, settings: Settings, user: User, model: ModelServer
) -> None:
    limited = await start(settings.model_copy(update={"max_subscriptions": 2}))
    conversations = [await new_conversation(limited, user) for _ in range(3)]
    async with open_tab(limited, user) as tab:
        calls = {}
        for conversation in conversations[:2]:
            await tab.ask("send", conversation, content="hi")
            await tab.events(1)
            calls[conversation] = await model.call()
        for kind in ("send", "subscribe"):
            refused = await tab.ask(kind, conversations[2], content="hi")
            assert refused["code"] == "too_many_subscriptions"
        for conversation in reversed(conversations[:2]):
            calls[conversation].finish(conversation)
            frames = await tab.events()
            assert {frame["conversation_id"] for frame in frames} == {conversation} == {words(frames)}
        assert (await tab.ask("subscribe", conversations[0]))["type"] == "ack"  # and no more
        await tab.ask("unsubscribe", conversations[0])
        assert (await tab.ask("subscribe", conversations[2]))["type"] == "ack"
    assert len(model.requests) == 2


@pytest.mark.parametrize("kind", ["send", "regenerate", "subscribe", "stop"])
async def test_anothers_conversation_is_one_that_does_not_exist(
    tab: Tab, client: Client, auth: AuthService, kind: str
) -> None:
    foreign = await new_conversation(client, auth.sign_in())
    answers = [
        await tab.ask(kind, conversation, content="hi")
        for conversation in (foreign, str(uuid4()), "nonsense")
    ]
    assert answers[0]["code"] == "conversation_not_found"
    assert answers.count(answers[0]) == 3


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[watch.Watch]:
    """Records each time a worker has looked for answers that other workers began; they look often."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    done: list[watch.Watch] = []
    look = watch.Watch._look

    async def noted(self: watch.Watch, seconds: float) -> None:
        await look(self, seconds)
        done.append(self)

    monkeypatch.setattr(watch.Watch, "_look", noted)
    return done


@pytest.mark.parametrize("way", ["notified", "polling"])
async def test_answers_of_another_worker_come_too_running_or_begun_later(
    client: Client,
    start: Start,
    settings: Settings,
    conversation: str,
    user: User,
    model: ModelServer,
    sql: Sql,
    way: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if way == "polling":
        settings = settings.model_copy(update={"database_notifications": "off"})
    else:
        monkeypatch.setattr(watch, "POLL_SECONDS", 60)
    other = await start(settings)
    if way == "notified":
        await know_each_other(sql, client, other)
    async with open_tab(client, user) as local, open_tab(other, user) as remote:
        await local.ask("send", conversation, content="hi")
        call = await model.call()
        call.say("a")
        begun = await local.events(2)
        ack = await remote.ask("subscribe", conversation)
        assert ack["generation_id"] == begun[0]["generation_id"]
        call.finish("b")
        assert await remote.events() == begun + await local.events()
        await local.ask("send", conversation, content="more")
        (await model.call()).finish("c")
        later = await local.events()
        assert await remote.events() == later
        # It is notified of the generation and finds it by polling, too, but sends it once.
        ack = await remote.ask("send", conversation, content="and")
        (await model.call()).finish("d")
        assert ack["type"] == "ack"
        assert words(await remote.events()) == "d"


async def test_a_send_follows_its_own_answer_and_not_one_that_another_worker_began_before(
    client: Client,
    other: Client,
    conversation: str,
    user: User,
    model: ModelServer,
    sql: Sql,
    looks: list[watch.Watch],
) -> None:
    async def looked() -> bool:
        return bool(looks)

    sent = await client.post(f"{conversation}/messages", json={"content": "Hi"}, headers=user)
    (await model.call()).finish("old")
    assert text_of(await read_events(sent)) == "old"
    model.say = ["new"]
    async with open_tab(other, user) as tab:
        async with sql.transaction():
            await sql.execute("select from conversations for update")
            await tab.say("send", conversation, content="And now?")
            # It waits for that row, and meanwhile its worker is notified of the old one.
            await somebody_waits(sql)
            await until(looked)
        assert (await tab.hear())["type"] == "ack"
        assert words(await tab.events()) == "new"


async def test_an_answer_that_another_worker_ended_before_is_not_told_by_polling(
    client: Client,
    other: Client,
    conversation: str,
    user: User,
    model: ModelServer,
    looks: list[watch.Watch],
) -> None:
    async def looked_again() -> bool:
        return len(looks) > 3

    model.say = ["a"]
    async with open_tab(client, user) as local, open_tab(other, user) as remote:
        for _ in range(2):
            await remote.ask("send", conversation, content="hi")
            await remote.events()
        assert (await local.ask("subscribe", conversation))["generation_id"] is None
        looks.clear()
        await until(looked_again)
        ack = await remote.ask("send", conversation, content="hi")
        assert {frame["generation_id"] for frame in await local.events()} == {ack["generation_id"]}


async def test_an_answer_of_this_worker_is_read_from_its_own_log_whatever_is_notified(
    client: Client, tab: Tab, conversation: str, model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def follow(*_: object) -> None:
        raise AssertionError("it was sought in the journal")

    monkeypatch.setattr("chat_api.relay.follower.Follower.follow", follow)
    for _ in range(3):
        ack = await tab.ask("send", conversation, content="hi")
        (await model.call()).finish("x")
        frames = await tab.events()
        assert (ack["type"], frames[0]["type"]) == ("ack", "start")


async def test_a_socket_that_waits_holds_no_finished_answer_and_one_that_left_nothing(
    client: Client, conversation: str, user: User, model: ModelServer
) -> None:
    model.say = ["a"]
    async with open_tab(client, user) as tab:
        ack = await tab.ask("send", conversation, content="hi")
        await tab.events()
        await tab.ask("stop", conversation)
        gc.collect()
        held = [str(found.generation_id) for found in gc.get_objects() if isinstance(found, Log)]
        assert ack["generation_id"] not in held

    async def none_is_left() -> bool:
        return not client.app[SOCKETS]

    await until(none_is_left)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("subscription-")]
    assert not client.app[GENERATIONS].watch._watchers


async def test_sockets_and_commands_are_counted_and_a_sockets_life_is_no_answers_time(
    client: Client, user: User, conversation: str
) -> None:
    async with open_tab(client, user) as tab:
        await tab.ask("subscribe", conversation)
        await tab.ask("nonsense")
        figures = await (await client.get("/metrics")).text()
    assert "chat_sockets 1.0" in figures
    for kind in ("auth", "subscribe", "unknown"):
        assert f'chat_socket_commands_total{{type="{kind}"}} 1.0' in figures

    async def closed() -> str:
        figures = await (await client.get("/metrics")).text()
        return (
            figures if 'chat_requests_total{method="GET",route="/api/ws",status="101"} 1.0' in figures else ""
        )

    figures = await until(closed)
    assert "chat_sockets 0.0" in figures
    assert 'chat_request_duration_seconds_count{route="/api/ws"}' not in figures


async def test_a_broken_subscription_ends_the_socket_with_1011_and_says_so_in_the_log(
    tab: Tab, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> list[bytes]:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr(Log, "read", broken)
    await tab.ask("send", conversation, content="hi")
    assert await tab.close_code() == 1011
