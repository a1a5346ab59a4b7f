"""GET /api/usage, and budgets as callers meet them: over HTTP, a WebSocket, in the queue, with titles."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from structlog.testing import capture_logs

from chat_api.generation import queue
from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.models_file import ModelsFile
from tests.support.reader import read_events
from tests.support.tab import open_tab
from tests.support.unsteady_server import FINE, HEAD, UnsteadyServer

SAID = (
    HEAD + b'data: {"choices":[{"delta":{"content":"Well"}}]}\n\n'
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1000,'
    b'"completion_tokens":300,"prompt_tokens_details":{"cached_tokens":400},"completion_tokens_details":{"reasoning_tokens":100}}}\n\n'
    b"data: [DONE]\n\n"
)
PRICE = {"currency": "EUR", "prompt": 2.0, "cached": 0.5, "completion": 8.0}
WHOLE = {"stream": False}


@pytest.fixture
async def near() -> AsyncIterator[UnsteadyServer]:
    async with UnsteadyServer("near", lambda _: (FINE, 2)) as server:
        server.answer_with(SAID)
        yield server


@pytest.fixture
async def client(start: Start, settings: Settings, near: UnsteadyServer, tmp_path: Path) -> Client:
    """A service whose default model has a price; another one has none."""
    file = ModelsFile(
        tmp_path / "models.toml",
        servers={"near": {"url": near.url}},
        models={"qwen": {"servers": ["near"], "price": PRICE}, "free": {"servers": ["near"]}},
    )
    started: Client = await start(file.settings(settings))
    return started


async def usage(chat: Chat, **query: str) -> dict[str, Any]:
    response = await chat.client.get("/api/usage", headers=chat.user, params=query)
    assert response.status == 200, await response.text()
    body: dict[str, Any] = await response.json()
    return body


async def budget(sql: Sql, amount: float, unit: str = "answers", **changes: Any) -> None:
    given = {"scope": "each", "period": "day", "currency": None, **changes}
    await sql.execute(
        "insert into budgets (scope, period, unit, amount, currency) values ($1, $2, $3, $4, $5)",
        given["scope"],
        given["period"],
        unit,
        amount,
        given["currency"],
    )


def today() -> datetime:
    return datetime.now(UTC)


async def test_it_shows_ones_own_by_day_and_model(client: Client, chat: Chat, auth: AuthService) -> None:
    stranger = await open_chat(client, auth.sign_in())
    assert (await stranger.send(**WHOLE)).status == 200
    for _ in range(2):
        assert (await chat.send(**WHOLE)).status == 200
    await chat.change(model_tag="free")
    assert (await chat.send(**WHOLE)).status == 200
    counted = {
        "prompt_tokens": 1000,
        "cached_tokens": 400,
        "reasoning_tokens": 100,
        "completion_tokens": 300,
        "is_estimated": False,
    }
    day = f"{today():%Y-%m-%d}"
    assert await usage(chat) == {
        "from": f"{today():%Y-%m}-01",
        "to": day,
        "days": [
            {"day": day, "model": "free", "answers": 1, **counted, "cost": None, "currency": None},
            {
                "day": day,
                "model": "qwen",
                "answers": 2,
                **{name: 2 * count for name, count in counted.items()},
                "is_estimated": False,
                "cost": 0.0076,
                "currency": "EUR",
            },
        ],
        "budgets": [],
    }
    nobody = await open_chat(client, auth.sign_in())
    assert (await usage(nobody))["days"] == []


async def test_it_shows_the_days_that_are_asked_for(chat: Chat, sql: Sql) -> None:
    await chat.send(**WHOLE)
    await sql.execute("update usage set day = '2026-02-28'")
    days = {"from": "2026-02-28", "to": "2026-02-28"}
    assert len((await usage(chat, **days))["days"]) == 1
    assert (await usage(chat, **days)) | {"days": [], "budgets": []} == {**days, "days": [], "budgets": []}
    assert (await usage(chat, to="2026-02-28"))["from"] == "2026-02-01"
    assert len((await usage(chat, to="2026-02-28"))["days"]) == 1
    for query in ({"from": "2026-03-01"}, {"from": "2026-02-01", "to": "2026-02-27"}):
        assert (await usage(chat, **query))["days"] == []


@pytest.mark.parametrize(
    "query",
    [
        {"from": "yesterday"},
        {"to": "2026-13-01"},
        {"from": "2026-02-30"},
        {"from": "2026-03-01", "to": "2026-02-28"},
        {"from": "2025-01-01", "to": "2026-12-31"},
        {"from": "-infinity"},
        {"from": "2000-01-01"},
        {"to": ""},
    ],
    ids=str,
)
async def test_days_that_are_none_are_refused(chat: Chat, query: dict[str, str]) -> None:
    response = await chat.client.get("/api/usage", headers=chat.user, params=query)
    assert response.status == 422
    assert (await response.json())["code"] == "validation_failed"


async def test_it_is_there_after_all_is_deleted(chat: Chat) -> None:
    await chat.send(**WHOLE)
    before = await usage(chat)
    await chat.client.delete(chat.path, headers=chat.user)
    assert await usage(chat) == before


async def test_what_a_deleted_conversations_answer_used_is_known_in_the_end(
    chat: Chat, near: UnsteadyServer, sql: Sql
) -> None:
    """The deletion notes it before the worker knows what was said."""
    near.script = lambda _: ("cut, hangs", 5)
    response = await chat.send()
    await until(lambda: sql.fetchval("select exists (select from journal)"))
    async with asyncio.timeout(30):
        await response.content.readuntil(b"near5")
    await chat.client.delete(chat.path, headers=chat.user)
    row = await until(lambda: sql.fetchrow("select * from usage where completion_tokens > 0"))
    assert (row["status"], row["server"], row["completion_tokens"]) == ("stopped", "near", 5)
    assert row["is_estimated"]
    assert row["cost"] > 0


async def test_a_budget_that_is_used_up_is_told_with_when_it_begins_anew(chat: Chat, sql: Sql) -> None:
    await budget(sql, 1)
    assert (await chat.send(**WHOLE)).status == 200
    response = await chat.send()
    body = await response.json()
    tomorrow = today().replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    begins_anew = f"{tomorrow:%Y-%m-%dT%H:%M:%SZ}"
    assert (response.status, body) == (
        429,
        {
            "detail": f"Your budget is used up for this day. It begins anew at {begins_anew}.",
            "code": "budget_exhausted",
            "begins_anew": begins_anew,
        },
    )
    assert 0 < int(response.headers["Retry-After"]) <= 86400
    async with open_tab(chat.client, chat.user) as tab:
        frame = await tab.ask("send", chat.path, content="Hi")
        assert (frame["code"], frame["begins_anew"], frame["status"]) == (
            "budget_exhausted",
            begins_anew,
            429,
        )
    [state] = (await usage(chat))["budgets"]
    assert 0 < state.pop("seconds") <= 86400
    assert state == {
        "scope": "each",
        "model": None,
        "period": "day",
        "unit": "answers",
        "currency": None,
        "amount": 1,
        "spent": 1,
        "reserved": 0,
        "left": 0,
        "begins_anew": begins_anew,
    }


async def test_what_running_answers_may_use_is_told_with_a_short_wait(
    chat: Chat, client: Client, near: UnsteadyServer, sql: Sql
) -> None:
    await budget(sql, 10, "tokens", scope="everybody")
    near.script = lambda _: ("cut, hangs", 1)
    await chat.send()
    other = await open_chat(client, chat.user)
    response = await other.send()
    body = await response.json()
    assert (response.status, response.headers["Retry-After"]) == (429, "5")
    assert body["detail"].startswith("Answers that are being written may use all that is left of it")
    [state] = (await usage(chat))["budgets"]
    assert (state["spent"], state["left"], state["reserved"] > 10) == (0, 0, True)
    await chat.stop()
    assert (await other.send(**WHOLE)).status in (200, 502)


@pytest.mark.parametrize("path", ["messages", "regenerate", "continue", "tool_results"])
async def test_it_holds_every_way_to_ask(chat: Chat, sql: Sql, path: str, near: UnsteadyServer) -> None:
    near.answer_with(
        HEAD + b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"c","function":{"name":"f",'
        b'"arguments":"{}"}}]},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
        if path == "tool_results"
        else HEAD
        + b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
    )
    assert (await chat.send(**WHOLE)).status == 200
    await budget(sql, 1)
    bodies: dict[str, Any] = {
        "messages": {"content": "Hi"},
        "tool_results": {"results": [{"tool_call_id": "c", "content": "x"}]},
    }
    response = await chat.client.post(f"{chat.path}/{path}", json=bodies.get(path, {}), headers=chat.user)
    assert (response.status, (await response.json())["code"]) == (429, "budget_exhausted")
    assert len(near.requests) == 1


async def test_a_message_in_the_queue_waits_until_there_is_something_left(
    chat: Chat, near: UnsteadyServer, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "REST_SECONDS", 0.1)
    await budget(sql, 1)
    near.script = lambda _: ("cut, hangs", 1)
    await chat.send()
    assert (await chat.send("later", when_running="queue", stream=False)).status == 202
    near.answer_with(SAID)
    await chat.stop()
    await until(lambda: sql.fetchval("select not exists (select from generations where status = 'running')"))
    assert await sql.fetchval("select count(*) from queued_messages") == 1
    await sql.execute("update budgets set amount = 2")
    await until(lambda: sql.fetchval("select not exists (select from queued_messages)"))


async def wait(chat: Chat, sql: Sql, content: str = "later") -> None:
    """Let a message wait, though no answer is being written."""
    await sql.execute(
        "insert into queued_messages (conversation_id, content, request) values ($1, $2, '{}')",
        chat.path.rpartition("/")[2],
        content,
    )


async def test_a_message_without_a_budget_is_tried_once_a_minute_and_told_once(
    chat: Chat, client: Client, near: UnsteadyServer, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    await budget(sql, 0)
    near.answer_with(SAID)
    await wait(chat, sql)
    begin_due, began = client.app[GENERATIONS].begin_due, time.monotonic()
    with capture_logs() as lines:
        await begin_due()
        monkeypatch.setattr(queue, "time", SimpleNamespace(monotonic=lambda: began + 1000))
        await begin_due()
        await sql.execute("update budgets set amount = 1")
        monkeypatch.setattr(queue, "time", SimpleNamespace(monotonic=lambda: began + 1059))
        await begin_due()
        assert await sql.fetchval("select count(*) from queued_messages") == 1, "the minute isn't over"
        monkeypatch.setattr(queue, "time", SimpleNamespace(monotonic=lambda: began + 1061))
        await begin_due()
        await until(lambda: sql.fetchval("select not exists (select from queued_messages)"))
    assert [line["reason"] for line in lines if line["event"] == "turn_put_off"] == ["budget_exhausted"]


async def test_messages_without_a_budget_keep_no_other_one_waiting(
    chat: Chat, client: Client, user: dict[str, str], near: UnsteadyServer, sql: Sql,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(queue, "MAX_DUE", 1)
    near.answer_with(SAID)
    other = await open_chat(client, user)
    await budget(sql, 0)
    await sql.execute("update budgets set model_tag = 'free'")
    await sql.execute(
        "update conversations set model_tag = 'free' where id = $1", chat.path.rpartition("/")[2]
    )
    for each in (chat, other):
        await wait(each, sql)
    for _ in range(2):
        await client.app[GENERATIONS].begin_due()
    await until(lambda: sql.fetchval("select count(*) = 1 from queued_messages"))


async def test_a_title_is_usage_and_no_answer(
    start: Start, settings: Settings, auth: AuthService, sql: Sql, tmp_path: Path, near: UnsteadyServer
) -> None:
    file = ModelsFile(
        tmp_path / "titled.toml",
        servers={"near": {"url": near.url}},
        models={"qwen": {"servers": ["near"]}, "small": {"servers": ["near"], "price": PRICE}},
    )
    chat = await open_chat(await start(file.settings(settings, title_model="small")), auth.sign_in())
    await chat.send(**WHOLE)
    row = await until(lambda: sql.fetchrow("select * from usage where kind = 'title'"))
    assert (row["model_tag"], row["server"], row["status"]) == ("small", "near", "completed")
    assert (row["completion_tokens"], row["currency"], row["is_estimated"]) == (300, "EUR", False)
    assert str(row["conversation_id"]) == chat.path.rpartition("/")[2]
    days = {day["model"]: day for day in (await usage(chat))["days"]}
    assert {model: day["answers"] for model, day in days.items()} == {"qwen": 1, "small": 0}
    assert days["small"]["completion_tokens"] == 300


@pytest.mark.parametrize("fate", ["500", "a head"])
async def test_a_title_that_failed_leaves_its_row_too(
    start: Start,
    settings: Settings,
    auth: AuthService,
    sql: Sql,
    model: ModelServer,
    tmp_path: Path,
    near: UnsteadyServer,
    fate: str,
) -> None:
    near.script = lambda _: (fate, 0)
    model.say = ["Hello"]
    file = ModelsFile(
        tmp_path / "titled.toml",
        servers={"near": {"url": near.url}, "nano": {"url": model.url, "protocol": "nanochat"}},
        models={"qwen": {"servers": ["nano"]}, "small": {"servers": ["near"]}},
    )
    chat = await open_chat(await start(file.settings(settings, title_model="small")), auth.sign_in())
    await read_events(await chat.send())
    row = await until(lambda: sql.fetchrow("select * from usage where kind = 'title'"))
    assert (row["status"], row["prompt_tokens"], row["completion_tokens"]) == ("failed", 0, 0)
    assert row["error_code"].startswith("inference_")


async def test_it_wants_a_token(client: Client) -> None:
    assert (await client.get("/api/usage")).status == 401
    assert (await client.get("/api/usage", headers={"Authorization": f"Bearer {uuid4()}"})).status == 401
