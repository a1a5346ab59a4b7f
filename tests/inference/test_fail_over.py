"""Promise 12: another model server is asked only while no reader has seen a word; every try is kept."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Sql, open_chat
from tests.support.reader import Seen, read_events, text_of
from tests.support.unsteady_server import CUT, FINE, SILENT, UnsteadyServer

ANSWERS = 500
AT_ONCE = 12
NAMES = "abc"
SECONDS = 0.5  # of silence
LONG = 1.5  # the same where many answers are written at once
TIME_OUTS = ("inference_first_token_timeout", "inference_token_timeout")
PATIENT = dict.fromkeys(TIME_OUTS, 60.0)  # where no test waits for one, and a busy machine may
# What a try is called that ended so.
OUTCOMES = {
    **dict.fromkeys(SILENT, "inference_interrupted"),
    **dict.fromkeys(["hangs", "a head, hangs", "a role, hangs"], "inference_timeout"),
    **dict.fromkeys(["no http", "a page"], "inference_broken"),
    **dict.fromkeys(["401", "403", "404"], "inference_rejected"),
    **dict.fromkeys(["408", "429", "502", "503", "529"], "inference_unavailable"),
    **dict.fromkeys(["500", "an error"], "inference_error"),
    "nothing": "answer_empty",
    "cut": "inference_interrupted",
    "cut, reset": "inference_interrupted",
    "cut, hangs": "inference_timeout",
    "cut, an error": "inference_error",
    FINE: "answered",
}

Begin = Callable[..., Any]


@pytest.fixture
async def servers() -> AsyncIterator[dict[str, UnsteadyServer]]:
    """Three servers, all fine until a test says otherwise."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(UnsteadyServer(name, lambda _: (FINE, 3))) for name in NAMES
        }


@pytest.fixture
def begin(
    start: Start, settings: Settings, servers: dict[str, UnsteadyServer], tmp_path: Path, user: dict[str, str]
) -> Begin:
    """Start the service with these servers for its one model, and begin a conversation."""

    async def run(server: str = "", model: str = "", **update: Any) -> Chat:
        tables = [f'[servers.{name}]\nurl = "{each.url}"\n{server}' for name, each in servers.items()]
        path = tmp_path / "models.toml"
        path.write_text("\n".join([*tables, f"[models.default]\nservers = {json.dumps(list(NAMES))}", model]))
        given = {"models_file": str(path), **dict.fromkeys(TIME_OUTS, SECONDS), **update}
        client = await start(settings.model_copy(update=given))
        return await open_chat(client, user)

    return run


async def tries(sql: Sql, generation_id: str) -> list[tuple[str, str]]:
    """The servers that were asked, each with what became of it."""
    kept = await sql.fetchval("select tries from generations where id = $1", generation_id)
    return [(each["server"], each["outcome"]) for each in json.loads(kept)]


async def ask(chat: Chat, content: str = "Hi") -> list[Seen]:
    return await read_events(await chat.send(content), seconds=20)  # three silences, on a busy machine


async def test_of_500_answers_each_has_one_servers_words_and_every_try_is_kept(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql, start: Start
) -> None:
    chance = random.Random(12)
    fates = [FINE] * 10 + [*SILENT, *CUT]
    plan = [{name: (chance.choice(fates), chance.randint(1, 9)) for name in NAMES} for _ in range(ANSWERS)]
    for name, server in servers.items():
        server.script = lambda asked, name=name: plan[int(asked["messages"][-1]["content"])][name]
    chat: Chat = await begin("max_failures = 3\nrest_seconds = 0.2", **dict.fromkeys(TIME_OUTS, LONG))
    turn = asyncio.Semaphore(AT_ONCE)
    given = 0

    async def check(number: int) -> None:
        nonlocal given
        async with turn:
            own = await open_chat(chat.client, chat.user)
            seen = await ask(own, str(number))
            kept = await tries(sql_, seen[0].data["generation_id"])
            stored = (await own.get())["messages"]
        fate = plan[number]
        assert [outcome for _, outcome in kept] == [OUTCOMES[fate[name][0]] for name, _ in kept]
        said = text_of(seen)
        spoke = [name for name, _ in kept if fate[name][0] not in SILENT]
        if not spoke:
            assert said == ""
            assert sorted(name for name, _ in kept) == list(NAMES), "every server was asked"
            return
        (name,) = spoke  # nobody was asked after it
        assert name == kept[-1][0]
        how, words = fate[name]
        assert said == "".join(f"{name}{word} " for word in range(1, words + 1))
        assert (stored[1]["content"], seen[-1].data.get("finish_reason")) == (
            said, "stop" if how == FINE else "error" if how == "cut, an error" else "interrupted",
        )  # fmt: skip
        given += how == FINE

    sql_ = _Locked(sql)
    async with asyncio.TaskGroup() as group:
        for number in range(ANSWERS):
            group.create_task(check(number))
    assert given > ANSWERS / 3
    assert await sql.fetchval("select count(*) from generations where tries is null") == 0


class _Locked:
    """A connection that several tasks use, one after the other."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._lock = asyncio.Lock()

    async def fetchval(self, query: str, *values: Any) -> Any:
        async with self._lock:
            return await self._sql.fetchval(query, *values)


@pytest.mark.parametrize("fate", SILENT)
async def test_whatever_silences_a_server_the_next_one_answers(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql, fate: str
) -> None:
    servers["a"].script = lambda _: (fate, 0)
    seen = await ask(await begin())
    assert text_of(seen) == "b1 b2 b3 "
    assert [event.data for event in seen if event.data.get("error")] == []
    assert await tries(sql, seen[0].data["generation_id"]) == [("a", OUTCOMES[fate]), ("b", "answered")]


@pytest.mark.parametrize("fate", CUT)
async def test_after_a_word_no_other_server_is_asked(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql, fate: str
) -> None:
    servers["a"].script = lambda _: (fate, 2)
    seen = await ask(await begin())
    assert text_of(seen) == "a1 a2 "
    assert servers["b"].requests == servers["c"].requests == []
    assert await tries(sql, seen[0].data["generation_id"]) == [("a", OUTCOMES[fate])]


@pytest.mark.parametrize(
    ("status", "refusal"),
    [
        (400, {"error": {"message": "your words are not allowed", "param": "messages"}}),
        (403, {"error": {"message": "flagged by moderation"}}),
    ],
)
async def test_messages_that_one_server_refuses_are_not_taken_to_the_next(
    begin: Begin, servers: dict[str, UnsteadyServer], status: int, refusal: dict[str, Any]
) -> None:
    body = json.dumps(refusal).encode()
    head = b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    servers["a"].answer_with(head % (status, len(body)) + body)
    seen = await ask(await begin())
    assert [event.data["error"] for event in seen if event.data.get("error")] == ["inference_rejected"]
    assert servers["b"].requests == []


async def test_what_is_too_long_for_one_server_is_taken_to_the_next(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql
) -> None:
    servers["a"].answer_with(b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    seen = await ask(await begin())
    assert text_of(seen) == "b1 b2 b3 "
    assert (await tries(sql, seen[0].data["generation_id"]))[0] == ("a", "conversation_too_long")


async def test_when_all_fail_the_reader_is_told_of_the_last(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql
) -> None:
    for name, fate in zip(NAMES, ("500", "hangs", "429"), strict=True):
        servers[name].script = lambda _, fate=fate: (fate, 0)
    seen = await ask(await begin())
    (error,) = [event.data for event in seen if event.data.get("error")]
    assert (error["error"], error["retry_after"]) == ("inference_unavailable", 1)
    assert [outcome for _, outcome in await tries(sql, seen[0].data["generation_id"])] == [
        "inference_error",
        "inference_timeout",
        "inference_unavailable",
    ]


class TestBreaker:
    async def test_after_failures_in_a_row_others_are_asked_first_until_one_try_succeeds(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        servers["a"].script = lambda _: ("500", 0)
        chat = await begin("max_failures = 3\nrest_seconds = 0.5")
        for _ in range(5):
            assert text_of(await ask(chat)) == "b1 b2 b3 "
        assert len(servers["a"].requests) == 3
        servers["a"].script = lambda _: (FINE, 1)
        await asyncio.sleep(0.5)
        assert [text_of(await ask(chat)) for _ in range(2)] == ["a1 ", "a1 "]

    async def test_of_many_that_come_at_once_one_tries_whether_it_is_back(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        servers["a"].script = lambda _: ("hangs", 0)
        chat = await begin("max_failures = 1\nrest_seconds = 0.5")
        await ask(chat)
        await asyncio.sleep(0.5)
        others = [await open_chat(chat.client, chat.user) for _ in range(5)]
        assert {text_of(seen) for seen in await asyncio.gather(*map(ask, others))} == {"b1 b2 b3 "}
        assert len(servers["a"].requests) == 2

    async def test_an_open_one_refuses_nothing_if_all_others_fail(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        for server in servers.values():
            server.script = lambda _: ("500", 0)
        chat = await begin("max_failures = 1\nrest_seconds = 60")
        await ask(chat)
        servers["c"].script = lambda _: (FINE, 1)
        assert text_of(await ask(chat)) == "c1 "

    async def test_a_server_that_has_too_much_to_do_rests_as_long_as_it_says(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        servers["a"].script = lambda _: ("429", 0)  # Retry-After: 1
        chat = await begin()
        await ask(chat)
        servers["a"].script = lambda _: (FINE, 1)
        assert text_of(await ask(chat)) == "b1 b2 b3 "
        await asyncio.sleep(1)
        assert text_of(await ask(chat)) == "a1 "

    async def test_a_stop_is_no_failure(
        self, begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql
    ) -> None:
        servers["a"].script = lambda _: ("cut, hangs", 1)
        chat = await begin("max_failures = 1", inference_token_timeout=60.0)
        response = await chat.send()
        await read_events(response, 2)
        await chat.stop()
        assert (await read_events(response))[-1].data["finish_reason"] == "stopped"
        assert json.loads(await sql.fetchval("select tries from generations"))[0]["outcome"] == "stopped"
        servers["a"].script = lambda _: (FINE, 1)
        assert text_of(await ask(chat)) == "a1 "


class TestSlots:
    async def test_a_server_has_no_more_streams_than_it_takes_and_who_waits_comes_in_order(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        servers["a"].script = lambda _: (FINE, 5)
        chat = await begin("max_streams = 2\nwait_seconds = 60", **PATIENT)
        others = [await open_chat(chat.client, chat.user) for _ in range(10)]
        said = [text_of(seen) for seen in await asyncio.gather(*map(ask, others))]
        assert said == ["a1 a2 a3 a4 a5 "] * 10
        assert servers["a"].most == 2

    async def test_who_waits_too_long_goes_to_the_next_server_and_in_the_end_is_told(
        self, begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql
    ) -> None:
        for server in servers.values():
            server.script = lambda _: ("cut, hangs", 1)
        chat = await begin("max_streams = 1\nwait_seconds = 0.1", **PATIENT)
        open_ = [await open_chat(chat.client, chat.user) for _ in NAMES]
        streams = []
        for each, word in zip(open_, ["a1 ", "b1 ", "c1 "], strict=True):
            streams.append(await each.send())
            assert text_of(await read_events(streams[-1], 2)) == word
        seen = await ask(chat)
        (error,) = [event.data for event in seen if event.data.get("error")]
        assert error["detail"].startswith("The model server has too much to do just now.")
        assert await tries(sql, seen[0].data["generation_id"]) == [(name, "busy") for name in NAMES]
        await open_[1].stop()
        await read_events(streams[1])  # to its end: a slot is given back then
        servers["b"].script = lambda _: (FINE, 1)
        assert text_of(await ask(chat)) == "b1 ", "a slot is given back by a stop"

    async def test_a_stop_while_it_waits_takes_no_slot(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        servers["a"].script = lambda _: ("cut, hangs", 1)
        chat = await begin("max_streams = 1\nwait_seconds = 60", **PATIENT)
        holding = await open_chat(chat.client, chat.user)
        stream = await holding.send()
        await read_events(stream, 2)
        waiting = await chat.send()
        await read_events(waiting, 1)
        await chat.stop()
        assert (await read_events(waiting))[-1].data["finish_reason"] == "stopped"
        await holding.stop()
        await read_events(stream)
        servers["a"].script = lambda _: (FINE, 1)
        assert text_of(await ask(chat)) == "a1 "

    async def test_the_least_busy_server_is_asked(
        self, begin: Begin, servers: dict[str, UnsteadyServer]
    ) -> None:
        for server in servers.values():
            server.script = lambda _: ("cut, hangs", 1)
        chat = await begin("max_streams = 4", 'order = "least_busy"', **PATIENT)
        chats = [await open_chat(chat.client, chat.user) for _ in range(6)]
        for each, word in zip(chats, ["a1 ", "b1 ", "c1 "] * 2, strict=True):
            assert text_of(await read_events(await each.send(), 2)) == word
        for each in chats:
            await each.stop()


async def test_the_time_outs_of_a_server_win_over_the_settings(
    begin: Begin, servers: dict[str, UnsteadyServer], sql: Sql
) -> None:
    servers["a"].script = lambda _: ("hangs", 0)
    chat = await begin("first_token_timeout = 1", **PATIENT)
    assert text_of(await ask(chat)) == "b1 b2 b3 "
    (first, _) = json.loads(await sql.fetchval("select tries from generations"))
    assert 1000 <= first["milliseconds"] < 30_000


async def test_an_answer_that_goes_on_and_gets_nothing_more_is_not_asked_elsewhere(
    begin: Begin, servers: dict[str, UnsteadyServer]
) -> None:
    servers["a"].script = lambda _: ("cut", 2)
    chat = await begin()
    await ask(chat)
    servers["a"].script = lambda _: ("nothing", 0)
    await read_events(await chat.go_on())
    assert servers["b"].requests == []


async def test_a_retry_of_what_no_server_took_tries_again(
    begin: Begin, servers: dict[str, UnsteadyServer]
) -> None:
    for server in servers.values():
        server.script = lambda _: ("503", 0)
    chat = await begin()
    await read_events(await chat.send(key="k"))
    servers["b"].script = lambda _: (FINE, 1)
    assert text_of(await read_events(await chat.send(key="k"))) == "b1 "
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "b1 "]


async def test_an_answer_that_met_no_failure_has_one_try(begin: Begin, sql: Sql) -> None:
    seen = await ask(await begin())
    assert await tries(sql, seen[0].data["generation_id"]) == [("a", "answered")]
