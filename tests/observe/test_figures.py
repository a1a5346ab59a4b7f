"""The metrics that operators look at when something is wrong show what is wrong."""

from __future__ import annotations

import asyncio
import re
import time

import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, until
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

NOWHERE = "postgresql://127.0.0.1:1/none"


async def read(client: Client) -> dict[str, float]:
    """Every sample, by `name{label=value,…}` with sorted labels."""
    text = await (await client.get("/metrics")).text()
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f"{name}={sample.labels[name]}" for name in sorted(sample.labels))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def test_statements_are_timed_by_their_names(chat: Chat, client: Client) -> None:
    for _ in range(3):
        await chat.get()
    seen = await read(client)
    assert seen["chat_database_statement_duration_seconds_count{query=conversations.get}"] == 3
    assert 0 < seen["chat_database_statement_duration_seconds_sum{query=conversations.get}"] < 3
    assert seen["chat_database_statement_duration_seconds_count{query=generations.stop}"] == 0
    assert seen["chat_database_connection_wait_seconds_count{}"] >= 1, "the first one is made"


async def test_a_database_that_is_away_is_counted(
    start: Start, settings: Settings, user: dict[str, str]
) -> None:
    client: Client = await start(settings.model_copy(update={"database_url": NOWHERE}))
    assert (await client.get("/api/conversations", headers=user)).status == 503
    seen = await read(client)
    assert seen["chat_database_errors_total{error=unavailable}"] >= 1
    assert seen["chat_errors_total{code=database_unavailable}"] == 1
    assert seen["chat_database_errors_total{error=failed}"] == 0
    assert seen["chat_housekeeping_last_run_timestamp_seconds{}"] == 0


async def test_a_statement_that_fails_is_counted_apart(
    chat: Chat, client: Client, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    await sql.execute("alter table conversations add constraint no_title check (title <> 'x')")
    response = await client.put(chat.path, json={"title": "x"}, headers=chat.user)
    assert response.status == 500
    seen = await read(client)
    assert seen["chat_database_errors_total{error=failed}"] == 1
    assert seen["chat_database_errors_total{error=unavailable}"] == 0


async def test_what_is_under_way_is_told_while_it_is(chat: Chat, client: Client, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "one")
    seen = await read(client)
    assert seen["chat_streams{}"] == 1
    assert seen["chat_requests_in_flight{}"] == 2, "the stream, and this very question"
    assert seen["chat_live_generations{}"] == 1
    call.finish("two", "three")
    await read_events(response)

    async def over() -> bool:
        return (await read(client))["chat_requests_in_flight{}"] == 1

    await until(over)
    assert (await read(client))["chat_streams{}"] == 0


async def test_the_journals_events_are_counted_before_the_answer_ends(
    chat: Chat, client: Client, model: ModelServer
) -> None:
    response, call, _ = await chat.begin(model, *"abcdefgh")

    async def counted() -> bool:
        return (await read(client))["chat_journal_events_total{}"] == 9  # including the start event

    await until(counted)
    seen = await read(client)
    assert seen["chat_tokens_total{}"] == 0
    assert abs(seen["chat_journal_last_tick_timestamp_seconds{}"] - time.time()) < 5
    assert seen["chat_cluster_workers{}"] == 1
    call.finish()
    await read_events(response)


async def test_a_loop_that_was_blocked_shows(client: Client) -> None:
    await asyncio.sleep(0)
    time.sleep(0.6)  # noqa: ASYNC251 - that is the point
    await asyncio.sleep(0.01)
    seen = await read(client)
    assert seen["chat_event_loop_lag_seconds_count{}"] >= 1
    late = seen["chat_event_loop_lag_seconds_count{}"] - seen["chat_event_loop_lag_seconds_bucket{le=0.25}"]
    assert late == 1


async def test_an_answers_pace_is_told(chat: Chat, client: Client, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model, "one")
    await asyncio.sleep(0.1)
    call.finish("two", "three")
    await read_events(response)
    seen = await read(client)
    assert seen["chat_time_per_token_seconds_count{model=default,server=inference}"] == 1
    assert 0.05 <= seen["chat_time_per_token_seconds_sum{model=default,server=inference}"] < 1, (
        "two gaps, of which one took 0.1 s"
    )
    assert seen["chat_generation_duration_seconds_sum{}"] >= 0.1


async def test_housekeeping_is_seen_to_run(client: Client) -> None:
    async def ran() -> bool:
        return abs((await read(client))["chat_housekeeping_last_run_timestamp_seconds{}"] - time.time()) < 60

    await until(ran)


async def test_what_tells_of_trouble_is_there_from_the_beginning(client: Client) -> None:
    """Prometheus sees no increase in a series that starts with its first event."""
    seen = await read(client)
    for name in (
        "chat_generations_total{reason=inference_unavailable,status=failed}",
        "chat_generations_total{reason=inference_timeout,status=interrupted}",
        "chat_generations_total{reason=worker_lost,status=interrupted}",
        "chat_errors_total{code=database_unavailable}",
        "chat_auth_calls_total{outcome=auth_unavailable}",
        "chat_readers_cut_total{transport=websocket}",
        "chat_database_errors_total{error=unavailable}",
        "chat_database_errors_total{error=not_migrated}",
        "chat_database_errors_total{error=right_missing}",
        "chat_refusals_total{limit=sends_per_user}",
        "chat_refusals_total{limit=max_frame_bytes}",
    ):
        assert seen[name] == 0, name


async def test_no_label_holds_what_callers_choose(client: Client, user: dict[str, str]) -> None:
    for path in ("/api/conversations/klaatu", "/klaatu", "/api/klaatu?klaatu=1"):
        await client.get(path, headers={**user, "X-Trace-Id": "klaatu", "User-Agent": "klaatu"})
    await client.request("KLAATU", "/api/conversations", headers=user)
    text = await (await client.get("/metrics")).text()
    assert not re.search("klaatu", text, re.IGNORECASE)


@pytest.mark.parametrize("labels", [("klaatu",), ("a", "b", "c")])
def test_series_that_are_expected_have_the_metrics_labels(labels: tuple[str, ...]) -> None:
    metrics = Metrics()
    with pytest.raises(ValueError, match="label count"):
        metrics.expect(metrics.generations, labels)
