"""The caller's tools: told to the model, and repeated when a message is answered again."""

from __future__ import annotations

from typing import Any

import pytest

from chat_api.bodies import Regenerate
from chat_api.generation import prompt
from chat_api.generation.history import History, Message
from chat_api.inference import ToolCall, Turn
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, open_chat
from tests.support.endpoints import chosen
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "strict": True,
    },
}
CALL = {"id": "c1", "name": "weather", "arguments": '{"city":"Pune"}'}


@pytest.fixture
async def chat(start: Start, settings: Settings, user: dict[str, str], model: ModelServer) -> Chat:
    """A conversation with an OpenAI-compatible model server."""
    openai = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return await open_chat(await start(settings.model_copy(update=openai)), user)


def says(call: Call, text: str) -> None:
    """The whole answer."""
    call.send({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()


def calls_weather(call: Call, arguments: str = CALL["arguments"]) -> None:
    """The model asks for the weather."""
    function = {"name": "weather", "arguments": arguments}
    delta = {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}
    call.send({"choices": [{"index": 0, "delta": delta, "finish_reason": "tool_calls"}]})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()


async def test_they_reach_the_model_as_given_and_are_repeated(chat: Chat, model: ModelServer) -> None:
    response = await chat.send(tools=[WEATHER], tool_choice="auto")
    for _ in range(2):
        call = await model.call()
        assert (call.request["tools"], call.request["tool_choice"]) == ([WEATHER], "auto")
        says(call, "x")
        await read_events(response)
        response = await chat.regenerate()
    says(await model.call(), "x")
    await read_events(response)
    await chat.regenerate(tools=[])
    call = await model.call()
    assert not {"tools", "tool_choice"} & call.request.keys()
    says(call, "x")


async def test_a_plain_message_closes_open_calls(chat: Chat, model: ModelServer) -> None:
    response = await chat.send(tools=[WEATHER])
    calls_weather(await model.call())
    await read_events(response)
    await chat.send("Never mind")
    call = await model.call()
    assert [message["role"] for message in call.request["messages"]] == ["user", "assistant", "tool", "user"]
    assert call.request["messages"][2] == {
        "role": "tool",
        "content": prompt.NOT_RUN,
        "tool_call_id": "c1",
    }
    assert "tools" not in call.request
    says(call, "x")
    assert [role for role, _, _ in await chat.messages()][:3] == ["user", "assistant", "user"]


def built(history: list[list[Any]], protocol: str = "openai") -> list[Turn]:
    """The turns for a history, oldest first."""
    settings = Settings(inference_protocol=protocol)
    return prompt.build(
        History([Message(*each) for each in history], 0), chosen(settings), Regenerate(), settings
    ).turns


ASKED = [["user", "Hi", None, None, 1], ["assistant", "", [CALL, {**CALL, "id": "c2"}], None, 2]]


def test_only_what_has_no_result_is_closed() -> None:
    turns = built([*ASKED, ["tool", "30 degrees", None, "c2", 3], ["user", "And?", None, None, None]])
    assert turns[1].tool_calls == tuple(ToolCall(each, "weather", CALL["arguments"]) for each in ("c1", "c2"))
    assert [(turn.content, turn.tool_call_id) for turn in turns[2:]] == [
        ("30 degrees", "c2"),
        (prompt.NOT_RUN, "c1"),
        ("And?", None),
    ]


@pytest.mark.parametrize("arguments", ['{"city":"Pu', "[]", "x"])
def test_a_call_that_was_cut_off_goes(arguments: str) -> None:
    cut = ["assistant", "", [{**CALL, "arguments": arguments}], None, 2]
    question = ["user", "And?", None, None, None]
    assert built([ASKED[0], cut, question]) == [Turn("user", "Hi\n\nAnd?")]


def test_results_whose_call_was_left_out_go() -> None:
    assert built([["tool", "30", None, "c1", 3], ["user", "And?", None, None, None]]) == [
        Turn("user", "And?")
    ]


def test_nanochat_gets_none_of_it() -> None:
    turns = built([*ASKED, ["tool", "30", None, "c2", 3], ["user", "And?", None, None, None]], "nanochat")
    assert turns == [Turn("user", "Hi\n\nAnd?")]


@pytest.mark.parametrize("kind", ["send", "regenerate"])
async def test_a_server_without_tools_says_so(
    client: Client, user: dict[str, str], model: ModelServer, kind: str
) -> None:
    chat = await open_chat(client, user)
    ask = chat.send if kind == "send" else chat.regenerate
    response = await ask(tools=[WEATHER])
    assert (response.status, (await response.json())["code"]) == (501, "not_supported")
    assert await chat.messages() == []
    async with open_tab(client, user) as tab:
        refused = await tab.ask("send", chat.path, content="Hi", tools=[WEATHER])
        assert (refused["code"], refused["status"]) == ("not_supported", 501)


@pytest.mark.parametrize(
    "given",
    [
        {"tools": [{"type": "function"}]},
        {"tools": [{"type": "code", "function": {"name": "x"}}]},
        {"tools": [{"type": "function", "function": {"name": "no spaces"}}]},
        {"tools": [{"type": "function", "function": {"name": ""}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": []}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "description": "y" * 65_536}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"\0": 1}}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"a": 2**70}}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"a": float("nan")}}}]},
        {"tools": [{"type": "function", "function": {"name": "x", "parameters": {"a": float("-inf")}}}]},
        {"tools": [WEATHER] * 129},
        {"tools": WEATHER},
        {"tool_choice": "sometimes"},
        {"tool_choice": {"type": "function"}},
        {"tool_choice": {"type": "function", "function": {"name": "x", "\0": 1}}},
        {"tool_choice": {"type": "function", "function": {"name": "x", "a": float("inf")}}},
    ],
)
async def test_what_is_no_tool_is_refused(chat: Chat, given: dict[str, Any]) -> None:
    response = await chat.send(**given)
    assert response.status == 422
    assert await chat.messages() == []
