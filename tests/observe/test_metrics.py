"""The metrics after an exchange, from `/metrics`."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Client
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

Headers = dict[str, str]
LIST = "/api/conversations"


async def figures(client: Client) -> dict[str, float]:
    """Every sample, by `name{label,…}`."""
    response = await client.get("/metrics")
    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    return {
        f"{sample.name}{{{','.join(sample.labels.values())}}}": sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }


async def test_the_figures_of_an_exchange(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    async with client.post(f"{conversation}/messages", headers=user, json={"content": "a"}) as stream:
        call = await model.call()
        call.say("one", "two")
        await read_events(stream, 3)
        assert (await figures(client))["chat_live_generations{}"] == 1
        call.finish("three")
        await read_events(stream)
    model.refuse = (500, "broken")
    stream = await client.post(f"{conversation}/messages", headers=user, json={"content": "b"})
    await read_events(stream)
    await client.get(LIST, headers={"Authorization": "Bearer unknown"})
    await client.get(LIST)
    await client.get("/nowhere/a", headers=user)
    await client.get("/nowhere/b", headers=user)

    seen = await figures(client)
    expected = {
        "chat_live_generations{}": 0,
        "chat_generations_total{stop,completed}": 1,
        "chat_generations_total{inference_error,failed}": 1,
        "chat_tokens_total{}": 3,
        "chat_time_to_first_token_seconds_count{default,inference}": 1,
        "chat_time_per_token_seconds_count{default,inference}": 1,
        "chat_server_tries_total{default,answered,inference}": 1,
        "chat_server_tries_total{default,inference_error,inference}": 1,
        "chat_server_streams{inference}": 0,
        "chat_server_waiting{inference}": 0,
        "chat_server_state{inference}": 0,
        "chat_generation_duration_seconds_count{}": 2,
        "chat_errors_total{unauthorized}": 1,
        "chat_errors_total{invalid_token}": 1,
        "chat_errors_total{not_found}": 2,
        "chat_requests_total{POST,/api/conversations,201}": 1,
        "chat_requests_total{POST,/api/conversations/{id}/messages,200}": 2,
        "chat_requests_total{GET,/api/conversations,401}": 2,
        "chat_requests_total{GET,unknown,404}": 2,
        "chat_auth_calls_total{valid}": 1,
        "chat_auth_calls_total{refused}": 1,
        "chat_auth_lookups_total{service}": 2,
        "chat_auth_lookups_total{cache}": 4,
        "chat_request_duration_seconds_count{/api/conversations}": 3,
    }
    assert {name: seen.get(name) for name in expected} == expected
    assert "chat_request_duration_seconds_count{/api/conversations/{id}/messages}" not in seen, (
        "a stream's length"
    )
    # The lease may be renewed at this moment.
    assert seen["chat_database_connections{busy}"] in (0, 1)
    assert seen["chat_database_connections{idle}"] + seen["chat_database_connections{busy}"] >= 1
