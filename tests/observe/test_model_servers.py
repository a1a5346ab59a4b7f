"""What `/metrics` and the log tell of several model servers: tries, slots, breakers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from chat_api.settings import Settings
from tests.conftest import Start
from tests.docs.page import FOLDER
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.reader import read_events, text_of
from tests.support.unsteady_server import FINE, UnsteadyServer

Servers = dict[str, UnsteadyServer]
Begin = Callable[..., Any]


@pytest.fixture
async def servers() -> AsyncIterator[Servers]:
    """Two servers, both fine until a test says otherwise."""
    async with AsyncExitStack() as stack:
        yield {
            name: await stack.enter_async_context(UnsteadyServer(name, lambda _: (FINE, 3)))
            for name in ("near", "spare")
        }


@pytest.fixture
def begin(start: Start, settings: Settings, servers: Servers, tmp_path: Path, user: dict[str, str]) -> Begin:
    """Start the service with these servers for its one model, and begin a conversation."""

    async def run(server: str = "", only: tuple[str, ...] = ("near", "spare")) -> Chat:
        tables = [f'[servers.{name}]\nurl = "{each.url}"\n{server}' for name, each in servers.items()]
        path = tmp_path / "models.toml"
        path.write_text("\n".join([*tables, f"[models.small]\nservers = {json.dumps(only)}"]))
        client = await start(settings.model_copy(update={"models_file": str(path)}))
        return await open_chat(client, user)

    return run


async def figures(client: Client) -> dict[str, float]:
    """The samples of model servers, by `name{value,…}`, the values sorted by their labels."""
    text = await (await client.get("/metrics")).text()
    return {
        f"{sample.name}{{{','.join(sample.labels[name] for name in sorted(sample.labels))}}}": sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "server" in sample.labels and "le" not in sample.labels
    }


async def ask(chat: Chat) -> str:
    return text_of(await read_events(await chat.send()))


async def test_all_servers_are_there_from_the_beginning(begin: Begin) -> None:
    """Prometheus sees no increase in a series that starts with its first event."""
    seen = await figures((await begin()).client)
    for server in ("near", "spare"):
        for outcome in ("answered", "busy", "stopped", "inference_timeout", "conversation_too_long"):
            assert seen[f"chat_server_tries_total{{small,{outcome},{server}}}"] == 0
        for gauge in ("streams", "waiting", "state"):
            assert seen[f"chat_server_{gauge}{{{server}}}"] == 0


async def test_tries_and_the_breaker_are_told_by_server_and_model(begin: Begin, servers: Servers) -> None:
    servers["near"].script = lambda _: ("500", 0)
    chat = await begin("max_failures = 2\nrest_seconds = 0.5")
    assert [await ask(chat) for _ in range(3)] == ["spare1 spare2 spare3 "] * 3
    seen = await figures(chat.client)
    told = {
        name: value for name, value in seen.items() if value and "_sum" not in name and "_created" not in name
    }
    assert told == {
        "chat_server_tries_total{small,inference_error,near}": 2,
        "chat_server_tries_total{small,answered,spare}": 3,
        "chat_time_to_first_token_seconds_count{small,spare}": 3,
        "chat_time_per_token_seconds_count{small,spare}": 3,
        "chat_server_state{near}": 2,
    }
    await asyncio.sleep(0.5)
    assert (await figures(chat.client))["chat_server_state{near}"] == 1
    servers["near"].script = lambda _: (FINE, 2)
    assert await ask(chat) == "near1 near2 "
    seen = await figures(chat.client)
    assert seen["chat_server_state{near}"] == 0
    assert seen["chat_server_tries_total{small,answered,near}"] == 1
    assert seen["chat_time_to_first_token_seconds_count{small,near}"] == 1


async def test_the_first_token_is_measured_from_the_call_to_the_server_that_sent_it(
    begin: Begin, servers: Servers
) -> None:
    servers["near"].script = lambda _: ("hangs", 0)
    chat = await begin("first_token_timeout = 1")
    assert await ask(chat) == "spare1 spare2 spare3 "
    assert (await figures(chat.client))["chat_time_to_first_token_seconds_sum{small,spare}"] < 0.5


async def test_slots_that_are_taken_and_who_waits_for_one_are_told(begin: Begin, servers: Servers) -> None:
    servers["near"].script = lambda _: ("cut, hangs", 1)
    chat = await begin("max_streams = 1\nwait_seconds = 60", only=("near",))
    holding = await chat.send()
    await read_events(holding, 2)
    second = await open_chat(chat.client, chat.user)
    waiting = await second.send()
    await read_events(waiting, 1)

    async def waits() -> bool:
        seen = await figures(chat.client)
        return (seen["chat_server_streams{near}"], seen["chat_server_waiting{near}"]) == (1, 1)

    await until(waits)
    await second.stop()
    await read_events(waiting)
    await chat.stop()
    await read_events(holding)
    seen = await figures(chat.client)
    assert (seen["chat_server_streams{near}"], seen["chat_server_waiting{near}"]) == (0, 0)
    assert seen["chat_server_tries_total{small,stopped,near}"] == 2


async def test_a_refusal_says_nothing_of_a_server_that_is_tried_again(begin: Begin, servers: Servers) -> None:
    """Else the breaker would stay open for ever, because no other try would come."""
    servers["near"].script = lambda _: ("500", 0)
    chat = await begin("max_failures = 1\nrest_seconds = 0.2")
    await ask(chat)
    await asyncio.sleep(0.2)
    servers["near"].script = lambda _: ("404", 0)
    assert await ask(chat) == "spare1 spare2 spare3 "
    assert (await figures(chat.client))["chat_server_state{near}"] == 1
    servers["near"].script = lambda _: (FINE, 1)
    assert await ask(chat) == "near1 "


async def test_a_server_is_back_with_its_first_word(begin: Begin, servers: Servers) -> None:
    """Long before its answer ends."""
    servers["near"].script = lambda _: ("500", 0)
    chat = await begin("max_failures = 1\nrest_seconds = 0.2")
    await ask(chat)
    await asyncio.sleep(0.2)
    servers["near"].script = lambda _: ("cut, hangs", 1)
    stream = await chat.send()
    await read_events(stream, 2)
    assert (await figures(chat.client))["chat_server_state{near}"] == 0
    servers["near"].script = lambda _: (FINE, 1)
    other = await open_chat(chat.client, chat.user)
    assert await ask(other) == "near1 "
    await chat.stop()
    await read_events(stream)
    assert (await figures(chat.client))["chat_server_state{near}"] == 0


async def test_the_runbooks_query_lists_the_servers_that_were_asked(
    begin: Begin, servers: Servers, sql: Sql
) -> None:
    text = (FOLDER / "runbook.md").read_text().partition("### ChatModelServerFailing")[2]
    query = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)[0]
    assert await sql.fetch(query) == []
    servers["near"].script = lambda _: ("503", 0)
    chat = await begin("max_failures = 9")
    for _ in range(3):
        await ask(chat)
        await asyncio.sleep(1.1)  # it rests for a second, as the 503 says
    servers["near"].script = lambda _: (FINE, 1)
    await ask(chat)
    near, spare = await sql.fetch(query)
    assert (near["server"], near["asked"], near["failed"], near["busy"]) == ("near", 4, 3, 0)
    assert (spare["server"], spare["asked"], spare["failed"]) == ("spare", 3, 0)
    assert near["last_failure"] is not None
    assert near["median_milliseconds"] >= 0
    assert spare["last_failure"] is None


async def test_each_line_of_a_call_names_the_server(begin: Begin, servers: Servers) -> None:
    """A key that is refused is one server's, in an answer and in a look at its list."""
    servers["near"].script = lambda _: ("401", 0)
    servers["spare"].script = lambda _: ("cut", 1)
    chat = await begin()
    with capture_logs(processors=[merge_contextvars]) as lines:
        assert await ask(chat) == "spare1 "
        await servers["near"].__aexit__()
        await (await chat.client.get("/api/models", headers=chat.user)).read()
    told = [(line["event"], line["server"]) for line in lines if line["event"].startswith("inference_")]
    assert told == [
        ("inference_refused", "near"),
        ("inference_try_failed", "near"),
        ("inference_try_failed", "spare"),
        ("inference_unavailable", "near"),
    ]
    assert "MODELS_FILE" in lines[[line["event"] for line in lines].index("inference_refused")]["do"]
    assert [line["server"] for line in lines if line["event"] == "generation_ended"] == ["spare"]
    assert not [line for line in lines if line["event"] == "request" and "server" in line]
