"""A socket that follows a conversation is told of every change, and only of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from chat_api.http.context import GENERATIONS
from chat_api.relay import watch
from chat_api.settings import Settings
from chat_api.transports.websocket.socket import Socket
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, know_each_other, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events
from tests.support.tab import Frame, Tab, open_tab, words

User = dict[str, str]


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[watch.Watch]:
    """Each look of a worker at the conversations that it watches; they look often."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    done: list[watch.Watch] = []
    look = watch.Watch._look

    async def noted(self: watch.Watch, seconds: float) -> None:
        await look(self, seconds)
        done.append(self)

    monkeypatch.setattr(watch.Watch, "_look", noted)
    return done


@pytest.fixture(params=["notified", "polling"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How workers learn of each other: by notifications alone, or without any."""
    if request.param == "polling":
        monkeypatch.setattr(watch, "POLL_SECONDS", 0.02)
    else:
        monkeypatch.setattr(watch, "POLL_SECONDS", 60)
    return str(request.param)


@pytest.fixture
def settings(settings: Settings, request: pytest.FixtureRequest) -> Settings:
    """Those of all workers."""
    is_off = "way" in request.fixturenames and request.getfixturevalue("way") == "polling"
    return settings.model_copy(update={"database_notifications": "off" if is_off else "on"})


@pytest.fixture
async def other(way: str, client: Client, start: Start, settings: Settings, sql: Sql) -> Client:
    """A second worker; each knows that the other one lives."""
    second: Client = await start(settings.model_copy(update={"worker_lease": 1.0}))
    await know_each_other(sql, client, second, listening=way == "notified")
    return second


@pytest.fixture
async def tabs(other: Client, client: Client, chat: Chat) -> AsyncIterator[list[Tab]]:
    """Two tabs on one worker and one on the other, which all follow the conversation."""
    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(open_tab(each, chat.user)) for each in (client, client, other)
        ]
        for tab in opened:
            assert (await tab.ask("subscribe", chat.path))["type"] == "ack"
        yield opened


def change(chat: Chat) -> Frame:
    return {"type": "changed", "conversation_id": chat.path.rpartition("/")[2]}


async def ends(tab: Tab, chat: Chat) -> None:
    """Nothing more has come."""
    assert (await tab.ask("unsubscribe", chat.path, ref="end")) == {"type": "ack", "ref": "end"}


async def test_each_tab_on_each_worker_is_told_of_a_change_by_either(
    tabs: list[Tab], chat: Chat, other: Client
) -> None:
    there = replace(chat, client=other)
    for number, each in enumerate((chat, there, chat)):
        assert (await each.change(title=f"{number}")).status == 200
        assert [await tab.hear() for tab in tabs] == [change(chat)] * 3
    for tab in tabs:
        await ends(tab, chat)


async def test_what_changes_is_told_whatever_it_is(
    tabs: list[Tab], chat: Chat, model: ModelServer, other: Client
) -> None:
    model.say = ["a"]
    there = replace(chat, client=other)

    async def hear(*kinds: str) -> None:
        """Each tab hears of these, in any order: an answer's events and changes come beside each other."""
        for tab in tabs:
            assert sorted([(await tab.hear())["type"] for _ in kinds]) == sorted(kinds)

    answer = ("start", "token", "done")
    await read_events(await chat.send())
    await hear(*answer)
    await read_events(await there.regenerate())
    await hear(*answer)
    [question, new] = [each["id"] for each in (await chat.get())["messages"]]
    [old] = set((await chat.get())["messages"][1]["siblings"]["ids"]) - {new}
    for fields in (
        {"is_favorited": True},
        {"model_tag": "d20"},
        {"instructions": "Be brief."},
        {"options": {"top_k": 3}},
        {"active_message_id": old},
    ):
        assert (await there.change(**fields)).status == 200
        await hear("changed")
        assert (await chat.change(**fields)).status == 200  # nothing that is new
    await read_events(await there.regenerate(message_id=new))  # which isn't shown
    await hear(*answer, "changed")
    await read_events(await chat.send("Hello", parent_id=None))
    await hear(*answer, "changed")
    assert (await there.take_back(question)).status == 204
    await hear("changed")
    for tab in tabs:
        await ends(tab, chat)


async def test_what_waits_is_told_when_it_comes_and_when_it_goes(
    tabs: list[Tab], chat: Chat, model: ModelServer, other: Client
) -> None:
    async def hear(*kinds: str) -> None:
        for tab in tabs:
            assert sorted([(await tab.hear())["type"] for _ in kinds]) == sorted(kinds)

    there = replace(chat, client=other)
    _, call, _ = await chat.begin(model)
    await hear("start")
    for each in (chat, there, chat):
        waits = await each.send("more", when_running="queue")
        assert waits.status == 202
        await hear("changed")
    first = (await chat.get())["queued"][0]["id"]
    assert (await there.take_back(first)).status == 204
    await hear("changed")
    call.finish("a")
    (await model.call()).say("b")
    await hear("token", "done", "start", "token")
    cleared = await chat.client.post(f"{chat.path}/stop", json={"queue": "clear"}, headers=chat.user)
    assert cleared.status == 200
    await hear("done", "changed")
    for tab in tabs:
        await ends(tab, chat)


@pytest.mark.parametrize("is_large", [False, True])
async def test_a_deletion_is_told(
    tabs: list[Tab], chat: Chat, other: Client, sql: Sql, is_large: bool
) -> None:
    """A large conversation loses its owner at once, and its rows later."""
    if is_large:
        await sql.execute(
            "insert into messages (conversation_id, role, content)"
            " select $1, 'user', 'x' from generate_series(1, 1001)",
            UUID(chat.path.rpartition("/")[2]),
        )
    assert (await other.delete(chat.path, headers=chat.user)).status == 204
    assert await sql.fetchval("select count(*) from conversations") == is_large
    assert [await tab.hear() for tab in tabs] == [change(chat)] * 3
    for tab in tabs:
        answer = await tab.ask("unsubscribe", chat.path, ref="end")
        if answer == change(chat):  # a worker that looks finds that it is gone, and tells it once more
            answer = await tab.hear()
        assert answer == {"type": "ack", "ref": "end"}
        assert (await tab.ask("subscribe", chat.path))["code"] == "conversation_not_found"


async def test_a_change_is_told_in_the_middle_of_an_answer(
    tabs: list[Tab], chat: Chat, model: ModelServer
) -> None:
    response, call, _ = await chat.begin(model, "a")
    for tab in tabs:
        assert [frame["type"] for frame in await tab.events(2)] == ["start", "token"]
    await chat.change(title="Tea")
    for tab in tabs:
        assert await tab.hear() == change(chat)
    call.finish("b")
    await read_events(response)
    for tab in tabs:
        assert words(await tab.events()) == "b"


async def test_who_sends_over_a_socket_is_told_of_what_changes_afterwards(
    other: Client, chat: Chat, model: ModelServer
) -> None:
    model.say = ["a"]
    await chat.change(title="Tea")
    async with open_tab(other, chat.user) as tab:
        await tab.ask("send", chat.path, content="Hi")
        assert words(await tab.events()) == "a"
        await chat.change(title="Chai")
        assert await tab.hear() == change(chat)
        await ends(tab, chat)


@pytest.mark.parametrize("way", ["polling"], indirect=True)
@pytest.mark.parametrize("kind", ["subscribe", "send"])
async def test_what_changes_after_the_acknowledgement_is_told_though_nothing_was_looked_at_before(
    way: str, chat: Chat, model: ModelServer, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    look, may_look = watch.Watch._look, asyncio.Event()

    async def late(self: watch.Watch, seconds: float) -> None:
        await may_look.wait()
        await look(self, seconds)

    model.say = ["a"]
    monkeypatch.setattr(watch.Watch, "_look", late)
    await chat.change(title="Tea")
    async with open_tab(chat.client, chat.user) as tab:
        assert (await tab.ask(kind, chat.path, content="Hi"))["type"] == "ack"
        if kind == "send":
            assert words(await tab.events()) == "a"
        await chat.change(title="Chai")
        may_look.set()
        assert await tab.hear() == change(chat)
        await ends(tab, chat)


async def test_no_change_is_told_where_there_is_none(
    client: Client, chat: Chat, model: ModelServer, looks: list[watch.Watch]
) -> None:
    async def looked() -> bool:
        return len(looks) > 5

    model.say = ["a"]
    await chat.change(title="Tea")
    async with open_tab(client, chat.user) as tab, open_tab(client, chat.user) as second:
        for each in (tab, second):
            await each.ask("subscribe", chat.path)
        await chat.get()
        await chat.change(title="Tea")
        assert (await chat.change(version=0, title="Chai")).status == 412
        assert (await chat.change(active_message_id=str(uuid4()))).status == 404
        assert (await chat.take_back(str(uuid4()))).status == 404
        await read_events(await chat.send())
        assert [frame["type"] for frame in await tab.events()] == ["start", "token", "done"]
        await read_events(await chat.regenerate())
        assert [frame["type"] for frame in await tab.events()] == ["start", "token", "done"]
        await (await open_chat(client, chat.user)).change(title="another conversation")
        looks.clear()
        await until(looked)
        await ends(tab, chat)
        await tab.ask("subscribe", chat.path)  # the version is known from the other tab
        await ends(tab, chat)
        await chat.change(title="Chai")
        assert [(await second.hear())["type"] for _ in range(7)] == [
            *["start", "token", "done"] * 2,
            "changed",
        ]
        looks.clear()
        await until(looked)
        await ends(second, chat)
        await ends(tab, chat)


async def test_another_users_socket_gets_nothing(
    client: Client, chat: Chat, auth: AuthService, looks: list[watch.Watch]
) -> None:
    async def looked() -> bool:
        return len(looks) > 5

    async with open_tab(client, auth.sign_in()) as stranger, open_tab(client, chat.user) as tab:
        theirs = await open_chat(client, auth.sign_in())
        assert (await stranger.ask("subscribe", chat.path))["code"] == "conversation_not_found"
        assert (await stranger.ask("subscribe", theirs.path))["code"] == "conversation_not_found"
        await tab.ask("subscribe", chat.path)
        await chat.change(title="Tea")
        assert await tab.hear() == change(chat)
        looks.clear()
        await until(looked)
        await ends(stranger, chat)


async def test_a_change_is_told_while_the_connection_that_listens_is_gone(
    client: Client, chat: Chat, sql: Sql
) -> None:
    heard = "select pid from pg_stat_activity where datname = current_database() and query like $1"
    listening = await until(lambda: sql.fetchval(heard, 'LISTEN "chat_%'))
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        assert await sql.fetchval("select pg_terminate_backend($1)", listening)
        await until(
            lambda: sql.fetchval("select not exists (select from pg_stat_activity where pid = $1)", listening)
        )
        await chat.change(title="Tea")
        assert await tab.hear() == change(chat)
        await ends(tab, chat)


async def test_a_change_that_a_failover_loses_hides_no_later_one(
    client: Client, chat: Chat, sql: Sql, looks: list[watch.Watch]
) -> None:
    async def looked() -> bool:
        return len(looks) > 2

    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        for title in ("one", "two"):
            await chat.change(title=title)
            assert await tab.hear() == change(chat)
        await sql.execute("update conversations set version = 1, title = 'one'")
        assert await tab.hear() == change(chat)
        await sql.execute("update conversations set version = 2, title = 'three'")
        assert await tab.hear() == change(chat)
        looks.clear()
        await until(looked)
        await ends(tab, chat)


async def test_a_change_that_is_both_seen_and_heard_is_told_once(
    client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "POLL_SECONDS", 60)  # these versions aren't stored
    conversation_id = UUID(chat.path.rpartition("/")[2])
    watching = client.app[GENERATIONS].watch
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        for version in (5, 5, 4):  # the last one is late
            watching.know(conversation_id, version)
            watching.hear_changed(conversation_id, version)
            await asyncio.sleep(0)
        for version in (6, 5):
            watching.hear_changed(conversation_id, version)
            watching.know(conversation_id, version)
            await asyncio.sleep(0)
        assert [await tab.hear() for _ in range(2)] == [change(chat)] * 2
        await ends(tab, chat)


async def test_what_a_slow_client_has_not_taken_is_told_as_one_change(
    client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, takes = Socket.send, asyncio.Event()

    async def slow(self: Socket, frames: bytes) -> None:
        if b"changed" in frames:
            await takes.wait()
        await send(self, frames)

    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        monkeypatch.setattr(Socket, "send", slow)
        for number in range(10):
            assert (await chat.change(title=f"{number}")).status == 200
        takes.set()
        assert [await tab.hear() for _ in range(2)] == [change(chat)] * 2
        await ends(tab, chat)


@pytest.mark.parametrize("way", ["unsubscribes", "leaves"])
async def test_nothing_is_left_of_a_socket_that_is_told_and_goes(
    client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    told = asyncio.Event()
    send = Socket.send

    async def never(self: Socket, frames: bytes) -> None:
        if b"changed" in frames:
            told.set()
            await asyncio.Event().wait()
        await send(self, frames)

    def tasks() -> list[asyncio.Task[None]]:
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("changes-")]

    async def none_is_left() -> bool:
        return not tasks() and not client.app[GENERATIONS].watch._versions

    monkeypatch.setattr(Socket, "send", never)
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        await chat.change(title="Tea")
        async with asyncio.timeout(5):
            await told.wait()
        assert len(tasks()) == 1
        if way == "unsubscribes":
            await ends(tab, chat)
            await until(none_is_left)
    await until(none_is_left)
