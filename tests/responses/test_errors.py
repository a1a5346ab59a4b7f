"""Errors as OpenAI's library knows them: its own exceptions, the parameter, whether a retry helps."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import openai
import pytest
from openai import AsyncOpenAI

from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import Sql
from tests.support.model_server import ModelServer
from tests.support.queries import dump
from tests.support.sdk import sdk_of

LONG = "x" * 8001
Body = dict[str, Any]
TEXT = {"type": "input_text", "text": "x"}
PICTURE = {"type": "input_image", "image_url": "https://example.com/x.png"}
OUTPUT = {"type": "function_call_output", "call_id": "c", "output": "x"}


REFUSED: list[tuple[Body, str]] = [
    ({}, "input"),
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": None}, "input"),
    ({"input": 7}, "input"),
    ({"input": {"role": "user"}}, "input"),
    ({"input": LONG}, "input"),
    ({"input": "a\0b"}, "input"),
    ({"input": [{"role": "user", "content": LONG}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": "a\0b"}]}, "input[0].content"),
    ({"input": [{"role": "user", "content": "x" * 5000}] * 2}, "input"),
    (
        {"input": [{"role": "user", "content": [TEXT, PICTURE]}]},
        "input[0].content[1].type",
    ),
    ({"input": [{"role": "user", "content": ["x"]}]}, "input[0].content[0]"),
    ({"input": [{"role": "user"}]}, "input[0].content"),
    ({"input": [{"role": "king", "content": "x"}]}, "input[0].role"),
    ({"input": [{"role": ["user"], "content": "x"}]}, "input[0].role"),
    ({"input": ["x"]}, "input[0]"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input[0].type"),
    ({"input": [{"type": ["message"]}]}, "input[0].type"),
    ({"input": [{"role": "assistant", "content": "x"}]}, "input"),
    ({"input": [{"role": "system", "content": "x"}]}, "input"),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "", "output": "x"}]}, "input[0].call_id"),
    ({"input": [{"type": "function_call_output", "call_id": "c", "output": 7}]}, "input[0].output"),
    (
        {"input": [{**OUTPUT, "output": "x" * 65537}]},
        "input[0].output",
    ),
    ({"store": False}, "store"),
    ({"parallel_tool_calls": False}, "parallel_tool_calls"),
    ({"truncation": "disabled"}, "truncation"),
    ({"include": ["reasoning.encrypted_content"]}, "include"),
    ({"text": {"format": {"type": "json_object"}}}, "text.format.type"),
    ({"text": {"format": {"type": "json_schema", "name": "x", "schema": {}}}}, "text.format.type"),
    ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
    ({"tools": [{"type": "function", "name": "a b"}]}, "tools[0].name"),
    ({"tools": [{"type": "function", "name": "x"}] * 129}, "tools"),
    ({"tool_choice": "always"}, "tool_choice"),
    ({"tool_choice": {"type": "file_search"}}, "tool_choice.type"),
    ({"tool_choice": 7}, "tool_choice"),
    ({"top_p": 0.5}, "top_p"),
    ({"prompt": {"id": "x"}}, "prompt"),
    ({"max_tool_calls": 3}, "max_tool_calls"),
    ({"moderation": {"model": "x"}}, "moderation"),
    ({"nonsense": True}, "nonsense"),
    ({"temperature": 3}, "temperature"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"max_output_tokens": 5000}, "max_output_tokens"),
    ({"instructions": LONG}, "instructions"),
    ({"instructions": "a\0b"}, "instructions"),
    ({"metadata": {str(number): "x" for number in range(17)}}, "metadata"),
    ({"metadata": {"k": 7}}, "metadata"),
    ({"metadata": {"k": "v" * 513}}, "metadata"),
    ({"metadata": {"k" * 65: "v"}}, "metadata"),
    ({"metadata": {"k": "\0"}}, "metadata"),
    ({"reasoning": {"effort": "utmost"}}, "reasoning.effort"),
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"previous_response_id": "x\0"}, "previous_response_id"),
    ({"previous_response_id": "resp_" + "0" * 64}, "previous_response_id"),
    ({"model": "a\0b"}, "model"),
    ({"stream": "perhaps"}, "stream"),
    ({"conversation": 7}, "conversation"),
]


async def test_what_isnt_supported_or_wrong_is_refused_by_name_and_leaves_nothing(
    client: Client, user: dict[str, str], sql: Sql, model: ModelServer
) -> None:
    for body, parameter in REFUSED:
        given = body if not body or "input" in body else {"input": "Hi", **body}
        response = await client.post("/v1/responses", json=given, headers=user)
        told = await response.json()
        assert response.status == 400, (body, told)
        error = told["error"]
        assert (error["param"], error["type"]) == (parameter, "invalid_request_error"), (body, error)
        assert set(error) == {"message", "type", "param", "code"}
    assert not any((await dump(sql)).values())
    assert model.requests == []


async def test_nulls_are_as_left_out(client: Client, user: dict[str, str], model: ModelServer) -> None:
    model.say = ["a"]
    names = ("tools", "store", "text", "metadata", "prompt", "max_tool_calls", "stream", "conversation")
    body = {"input": "Hi", **dict.fromkeys(names)}
    response = await client.post("/v1/responses", json=body, headers=user)
    assert response.status == 200, await response.text()


async def test_conversation_and_previous_response_exclude_each_other(
    client: Client, user: dict[str, str]
) -> None:
    body = {"input": "Hi", "conversation": "conv_1", "previous_response_id": "resp_1"}
    response = await client.post("/v1/responses", json=body, headers=user)
    assert response.status == 400
    assert "not both" in (await response.json())["error"]["message"]


async def test_a_token_that_isnt_valid_is_an_authentication_error(client: Client) -> None:
    async with sdk_of(client, {"Authorization": "Bearer nobody's"}) as sdk:
        with pytest.raises(openai.AuthenticationError) as caught:
            await sdk.responses.create(input="Hi")
    assert (caught.value.code, caught.value.type) == ("invalid_token", "authentication_error")


@pytest.mark.parametrize("response_id", ["resp_" + "a" * 64, "resp_1", "x", "resp_" + "A" * 64])
async def test_a_response_that_isnt_there_is_not_found(sdk: AsyncOpenAI, response_id: str) -> None:
    for asked in (
        sdk.responses.retrieve(response_id),
        sdk.responses.cancel(response_id),
        sdk.responses.delete(response_id),
        sdk.responses.input_items.list(response_id),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await asked
        assert caught.value.code == "response_not_found"


@pytest.mark.parametrize("conversation", ["conv_" + "a" * 32, "conv_1", str(UUID(int=1))])
async def test_a_conversation_that_isnt_there_is_not_found(sdk: AsyncOpenAI, conversation: str) -> None:
    for asked in (
        sdk.responses.create(input="Hi", conversation=conversation),
        sdk.responses.create(input="Hi", conversation=conversation, model="m1"),
        sdk.conversations.retrieve(conversation),
        sdk.conversations.update(conversation, metadata={}),
        sdk.conversations.delete(conversation),
        sdk.conversations.items.list(conversation),
        sdk.conversations.items.create(conversation, items=[{"role": "user", "content": "x"}]),
    ):
        with pytest.raises(openai.NotFoundError) as caught:
            await asked
        assert caught.value.code == "conversation_not_found"


async def test_a_path_and_a_method_that_arent_there_are_told_in_openais_form(
    client: Client, user: dict[str, str]
) -> None:
    for method, path, status, code in (
        ("GET", "/v1/chat", 404, "not_found"),
        ("PUT", "/v1/models", 405, "method_not_allowed"),
    ):
        response = await client.request(method, path, headers=user)
        error = (await response.json())["error"]
        assert (response.status, error["code"], error["param"]) == (status, code, None)


async def test_over_a_limit_the_library_waits_as_it_is_told_and_tries_again(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    limited = await start(settings.model_copy(update={"sends_per_user": "30/minute"}))
    sent = 0
    async with sdk_of(limited, user) as once:

        async def send() -> None:
            nonlocal sent
            while True:  # more come free meanwhile
                await once.responses.create(input="Hi", background=True)
                sent += 1

        with pytest.raises(openai.RateLimitError) as caught:
            await asyncio.wait_for(send(), 60)
        assert caught.value.code == "sending_too_fast"
        assert int(caught.value.response.headers["Retry-After"]) in (1, 2)
    assert sent >= 30
    assert await sql.fetchval("select count(*) from conversations") == sent
    async with sdk_of(limited, user, max_retries=3) as patient:
        assert (await patient.responses.create(input="Hi")).output_text == "a"
    assert await sql.fetchval("select count(*) from conversations") == sent + 1


async def test_while_the_auth_service_is_away_it_is_the_services_fault(
    start: Start, settings: Settings, user: dict[str, str], auth: AuthService
) -> None:
    away = await start(settings.model_copy(update={"auth_service_url": "http://127.0.0.1:9"}))
    async with sdk_of(away, user) as sdk:
        with pytest.raises(openai.InternalServerError) as caught:
            await sdk.responses.create(input="Hi")
    assert (caught.value.status_code, caught.value.code) == (503, "auth_unavailable")
    assert caught.value.response.headers["Retry-After"] == "5"


async def test_what_the_model_server_refuses_isnt_tried_again(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.refuse = (400, "no")
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk.responses.create(input="Hi")
    assert (caught.value.code, caught.value.response.headers["x-should-retry"]) == (
        "inference_rejected",
        "false",
    )
