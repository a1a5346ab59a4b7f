"""Behind a real pgbouncer in transaction mode: no prepared statements, no notifications."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest

from chat_api.cli import main
from chat_api.postgres.queries import load_queries
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.pgbouncer import pooled
from tests.support.processes import Service, open_conversation
from tests.support.reader import read_events
from tests.support.tab import open_tab


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """This test's database through pgbouncer."""
    with pooled(database_url) as url:
        yield url


async def test_readers_on_other_workers_are_served_by_polling_alone(
    pooled_url: str, settings: Settings, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    settings = settings.model_copy(update={"database_url": pooled_url, "worker_lease": 15.0})
    async with Service(settings) as one, Service(settings) as other:
        path = await open_conversation(one.session, user)
        for number in range(3):
            ask = one.session.post(f"{path}/messages", json={"content": "hi"}, headers=user)
            async with ask as local:
                call = await model.call()
                call.say("a ")
                begun = await read_events(local, 2)
                async with other.session.get(f"{path}/stream", headers=user) as remote:
                    assert await read_events(remote, 2) == begun
                    for word in ("b ", "c "):
                        call.say(word)
                        assert await read_events(remote, 1) == await read_events(local, 1)
                    if number == 2:
                        async with other.session.post(f"{path}/stop", headers=user) as stopped:
                            assert (await stopped.json())["stopped"]
                    else:
                        call.finish("d")
                    assert await read_events(remote) == await read_events(local)
        rows = await sql.fetch("select content from messages where role = 'assistant' order by created_at")
        assert [row["content"] for row in rows] == ["a b c d", "a b c d", "a b c "]
    # The sessions are shared with other clients, so none of them has the service's limit.
    with ExitStack() as stack:
        for _ in range(3):
            session = stack.enter_context(psycopg.connect(pooled_url.partition("?")[0]))
            assert session.execute("show statement_timeout").fetchone() == ("0",)


async def test_sockets_are_told_of_changes_by_polling_alone(
    pooled_url: str, settings: Settings, user: dict[str, str]
) -> None:
    settings = settings.model_copy(update={"database_url": pooled_url})
    async with Service(settings) as one, Service(settings) as other:
        path = await open_conversation(one.session, user)
        async with open_tab(one.session, user) as near, open_tab(other.session, user) as far:
            for tab in (near, far):
                await tab.ask("subscribe", path)
            for session in (one.session, other.session):
                async with session.put(path, json={"title": f"{id(session)}"}, headers=user) as changed:
                    assert changed.status == 200
                for tab in (near, far):
                    assert (await tab.hear())["type"] == "changed"
            for tab in (near, far):
                assert (await tab.ask("unsubscribe", path))["type"] == "ack"


@pytest.mark.parametrize("options", [(), ("--generic",)])
def test_a_dba_looks_at_the_queries_through_it(
    pooled_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    monkeypatch.setenv("DATABASE_URL", pooled_url)
    for _ in range(3):  # a statement left prepared by one call would fail the next one
        assert main(["sql", "check"]) == 0, capsys.readouterr()
        for name in load_queries():
            assert main(["sql", "explain", name, *options]) == 0, capsys.readouterr()
    with psycopg.connect(pooled_url.partition("?")[0], prepare_threshold=None) as connection:
        assert connection.execute("select name from pg_prepared_statements").fetchall() == []


def test_a_dba_is_told_of_one_that_the_url_does_not_announce(
    pooled_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", pooled_url.partition("?")[0])
    assert main(["sql", "check"]) == 1
    assert "add ?pgbouncer=true to DATABASE_URL" in capsys.readouterr().out
    monkeypatch.setenv("DATABASE_URL", pooled_url.replace("=true", "=false"))
    assert main(["sql", "check"]) == 0


async def test_one_that_the_url_does_not_announce_costs_a_503_and_a_line_that_says_what_to_do(
    pooled_url: str, settings: Settings, user: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    settings = settings.model_copy(update={"database_url": pooled_url.partition("?")[0]})
    statuses: Counter[int] = Counter()
    async with Service(settings) as one, Service(settings) as other:

        async def use(number: int) -> None:
            session = (one, other)[number % 2].session
            for _ in range(5):
                async with session.post("/api/conversations", headers=user) as response:
                    statuses[response.status] += 1
                async with session.get("/api/conversations", headers=user) as response:
                    statuses[response.status] += 1

        await asyncio.gather(*(use(number) for number in range(12)))
    assert set(statuses) <= {200, 201, 503}
    assert statuses[503]
    lines = [line for line in capfd.readouterr().err.splitlines() if "database_pooler_unmarked" in line]
    assert lines
    assert all("?pgbouncer=true" in line for line in lines)


async def test_limits_are_exact_through_it(
    pooled_url: str, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["a"]
    limits = {"sends_per_user": "7/hour", "max_answers_per_user": 3, "database_url": pooled_url}
    settings = settings.model_copy(update=limits)
    async with Service(settings) as one, Service(settings) as other:
        paths = [await open_conversation(one.session, user) for _ in range(20)]

        async def ask(number: int, path: str) -> int:
            session = (one, other)[number % 2].session
            body = {"content": "hi", "stream": False}
            async with session.post(f"{path}/messages", json=body, headers=user) as response:
                await response.read()
                return response.status

        statuses = []
        for _ in range(4):
            statuses += await asyncio.gather(*(ask(*each) for each in enumerate(paths)))
        assert Counter(statuses) == {200: 7, 429: 73}
