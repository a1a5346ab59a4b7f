"""What workers tell each other goes with a tick, in one notification, or in none where they only poll."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import UUID, uuid4

import asyncpg
import pytest

from chat_api.http.context import GENERATIONS
from chat_api.relay import journal, watch
from chat_api.relay.notices import MANY, MOST_IDS, MOST_WAITING, Notices
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, know_each_other, open_chat, somebody_waits, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

LISTENING = (
    "select count(*) from pg_stat_activity where datname = current_database() and query like 'LISTEN %'"
)
A, B, C = (UUID(int=number) for number in (1, 2, 3))


class Ear:
    """All that the workers of a database notify of."""

    def __init__(self, listener: Sql) -> None:
        self._listener = listener
        self.payloads: list[tuple[str, str]] = []  # each with its channel

    async def listen(self) -> None:
        """Listen from now on."""
        for channel in ("chat_journal", "chat_started", "chat_changed", "chat_stop", "last"):
            await self._listener.add_listener(
                channel, lambda _, __, name, payload: self.payloads.append((name, str(payload)))
            )

    async def heard(self, sql: Sql) -> list[str]:
        """All payloads by now."""
        await sql.execute("notify last")  # notifications arrive in the order of commits

        async def is_last() -> bool:
            return ("last", "") in self.payloads

        await until(is_last)
        self.payloads.remove(("last", ""))
        assert {channel for channel, _ in self.payloads} <= {"chat_journal"}
        return [payload for _, payload in self.payloads]


@pytest.fixture
async def ear(database_url: str) -> AsyncIterator[Ear]:
    """It listens."""
    listener = await asyncpg.connect(database_url)
    found = Ear(listener)
    await found.listen()
    yield found
    await listener.close()


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[journal.Journal]:
    """The worker of each tick, in the order in which they began."""
    begun: list[journal.Journal] = []
    tick = journal.Journal._tick

    async def noted(self: journal.Journal) -> None:
        begun.append(self)
        await tick(self)

    monkeypatch.setattr(journal.Journal, "_tick", noted)
    return begun


@pytest.fixture
def settings(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Idle workers tick every 12 minutes, and look at no conversation: what is told is told by a notice."""

    async def look(*_: object) -> None:
        pass

    monkeypatch.setattr(watch.Watch, "_look", look)
    return settings.model_copy(update={"worker_lease": 3600.0})


@pytest.fixture
async def other(start: Start, settings: Settings, client: Client, sql: Sql) -> Client:
    """A second worker; each knows that the other one lives."""
    second: Client = await start(settings)
    await know_each_other(sql, client, second)
    return second


async def answer(client: Client, user: dict[str, str], chats: int) -> set[str]:
    """Have questions answered in so many new conversations at once; returns the generations' ids."""

    async def one() -> str:
        chat = await open_chat(client, user)
        *_, done = await read_events(await chat.send())
        assert done.data["done"]
        return str(done.id).partition(":")[0]

    return set(await asyncio.gather(*(one() for _ in range(chats))))


async def test_a_worker_notifies_once_a_tick_however_much_there_is_to_tell(
    client: Client,
    other: Client,
    user: dict[str, str],
    model: ModelServer,
    sql: Sql,
    ear: Ear,
    ticks: list[journal.Journal],
) -> None:
    model.say = ["a", "b"]
    ended: set[str] = set()
    for _ in range(5):
        ended |= await answer(client, user, 20)
    told = ended

    async def all_is_told() -> bool:
        notices = {each for payload in await ear.heard(sql) for each in payload.split(",")}
        return {each.split(" ")[-1] for each in notices if each.startswith("started ")} == told <= notices

    await until(all_is_told)
    assert len(await ear.heard(sql)) <= len(ticks) <= 100


async def test_a_worker_that_is_alone_tells_nobody(
    client: Client, chat: Chat, model: ModelServer, sql: Sql, ear: Ear, ticks: list[journal.Journal]
) -> None:
    await client.app[GENERATIONS]._relay.lease_held()
    ticks.clear()
    for title in "abc":
        assert (await chat.change(title=title)).status == 200
    await asyncio.sleep(2 * journal.TICK_SECONDS)
    assert ticks == []
    model.say = ["a"]
    await read_events(await chat.send())
    assert await ear.heard(sql) == []


async def test_an_idle_worker_makes_a_tick_to_tell_what_is_done_there_and_no_more(
    client: Client, other: Client, chat: Chat, sql: Sql, ear: Ear, ticks: list[journal.Journal]
) -> None:
    async with open_tab(other, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        assert (await chat.change(title="Tea")).status == 200
        assert (await tab.hear())["type"] == "changed"

    async def is_told() -> bool:
        return await ear.heard(sql) == [f"changed {chat.path.rpartition('/')[2]} 1"]

    await until(is_told)
    await asyncio.sleep(2 * journal.TICK_SECONDS)  # what was under way
    ticks.clear()
    await asyncio.sleep(3 * journal.TICK_SECONDS)
    assert ticks == []


async def test_what_is_done_while_a_tick_waits_is_told_by_the_next(
    client: Client, other: Client, chat: Chat, sql: Sql
) -> None:
    async with open_tab(other, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        await asyncio.sleep(2 * journal.TICK_SECONDS)  # what was under way
        async with sql.transaction():
            await sql.execute("lock table journal")
            client.app[GENERATIONS]._relay._journal._added.set()
            await somebody_waits(sql)
            assert (await chat.change(title="Tea")).status == 200
        assert (await tab.hear())["type"] == "changed"


async def test_a_tab_of_the_same_worker_needs_no_tick(
    client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: journal.Journal) -> None:
        raise AssertionError("it ticked")

    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        monkeypatch.setattr(journal.Journal, "_tick", fail)
        assert (await chat.change(title="Tea")).status == 200
        assert (await tab.hear())["type"] == "changed"


@pytest.mark.parametrize("act", ["stop", "delete"])
async def test_another_worker_has_an_answer_stopped(
    client: Client, other: Client, chat: Chat, model: ModelServer, act: str
) -> None:
    response, call, _ = await chat.begin(model, "Once ")
    there = replace(chat, client=other)
    if act == "stop":
        assert (await there.stop())["stopped"]
    else:
        assert (await other.delete(chat.path, headers=chat.user)).status == 204
    await asyncio.wait_for(call.closed.wait(), 5)
    *_, last = await read_events(response)
    assert last.data["finish_reason"] == "stopped"


async def test_nothing_is_notified_and_nobody_listens_where_workers_only_poll(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql, ear: Ear
) -> None:
    polling = settings.model_copy(update={"database_notifications": "off"})
    workers = [await start(polling) for _ in range(2)]
    await know_each_other(sql, *workers, listening=False)
    chat = await open_chat(workers[0], user)
    response, call, seen = await chat.begin(model, "a")
    there = replace(chat, client=workers[1])
    remote = await there.attach()
    assert (await there.stop())["stopped"]
    await asyncio.wait_for(call.closed.wait(), 5)
    assert await read_events(remote) == seen + await read_events(response)
    model.say = ["a"]
    for worker in workers:
        await answer(worker, user, 3)
    assert await ear.heard(sql) == []
    assert await sql.fetchval(LISTENING) == 1  # the test's own


async def test_notifications_of_the_release_before_are_understood(
    client: Client, chat: Chat, model: ModelServer, sql: Sql
) -> None:
    await until(lambda: sql.fetchval(LISTENING))
    conversation_id, worker_id, generation_id = chat.path.rpartition("/")[2], uuid4(), uuid4()
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        await sql.execute("select pg_notify('chat_changed', $1)", f"{conversation_id} 1")
        assert (await tab.hear())["type"] == "changed"
        ack = await tab.ask("send", chat.path, content="Hi")
        call = await model.call()
        call.say("a")
        await tab.events(2)
        await sql.execute("select pg_notify('chat_stop', $1)", ack["generation_id"])
        assert (await tab.events())[-1]["finish_reason"] == "stopped"
        begun: list[UUID] = []
        relay = client.app[GENERATIONS]._relay
        [watcher] = relay.watch._watchers[UUID(conversation_id)]
        watcher.begun = begun.append  # type: ignore[method-assign]
        await sql.execute(
            "select pg_notify('chat_started', $1)", f"{worker_id} {conversation_id} {generation_id}"
        )

        async def is_told() -> bool:
            return begun == [generation_id]

        await until(is_told)


async def test_a_notice_of_a_kind_that_only_a_later_release_knows_is_passed_over(
    client: Client, chat: Chat, sql: Sql
) -> None:
    await until(lambda: sql.fetchval(LISTENING))
    conversation_id = chat.path.rpartition("/")[2]
    async with open_tab(client, chat.user) as tab:
        await tab.ask("subscribe", chat.path)
        payload = f"later {uuid4()} x,changed {conversation_id} 1 more,,changed {conversation_id} 1"
        await sql.execute("select pg_notify('chat_journal', $1)", payload)
        assert (await tab.hear())["type"] == "changed"


def made(*, is_on: bool = True) -> Notices:
    """Notices of a worker that isn't alone."""
    notices = Notices(A, is_on=is_on, on_wait=lambda: None)
    notices.told([], other_workers=1)
    return notices


def test_what_waits_is_told_once_and_again_if_a_tick_fails() -> None:
    notices = made()
    notices.started(B, C)
    notices.changed(B, 7)
    notices.ended(C)
    notices.stop(A)
    for _ in range(2):
        waiting, payloads = notices.for_tick([C])
        assert payloads == [f"{C},started {A} {B} {C},changed {B} 7,stop {A}"]
    notices.changed(B, 8)
    notices.told(waiting, other_workers=1)
    assert notices.for_tick([])[1] == [f"changed {B} 8"]
    notices.told([], other_workers=0)
    assert not notices.are_waiting


@pytest.mark.parametrize("ids", [MOST_IDS, MOST_IDS + 1])
def test_each_piece_fits_into_a_notification(ids: int) -> None:
    notices = made()
    for _ in range(2 * MOST_WAITING):
        notices.started(uuid4(), uuid4())
    waiting, payloads = notices.for_tick(uuid4() for _ in range(ids))
    assert len(waiting) == MOST_WAITING
    assert all(len(payload.encode()) < 8000 for payload in payloads)
    notices_told = ",".join(payloads).split(",")
    assert set(waiting) <= set(notices_told)
    assert (MANY in payloads, len(notices_told)) == (
        (False, MOST_WAITING + ids) if ids == MOST_IDS else (True, MOST_WAITING + 1)
    )


def test_nothing_waits_where_workers_only_poll() -> None:
    notices = made(is_on=False)
    notices.changed(B, 7)
    assert not notices.are_waiting
    assert notices.for_tick([C]) == ([], [])
