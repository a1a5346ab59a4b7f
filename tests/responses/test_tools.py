"""Functions of the program's own: the model asks for them, and goes on with what they gave."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.chat import Sql
from tests.support.model_server import ModelServer
from tests.support.openai_answers import says
from tests.support.sdk import collect, kinds

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather in a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}


def piece(index: int, call_id: str | None, arguments: str) -> dict[str, Any]:
    """A piece of a call, as an OpenAI-compatible model server sends it."""
    function = {"arguments": arguments, **({"name": "weather"} if call_id else {})}
    call = {"index": index, "function": function, **({"id": call_id, "type": "function"} if call_id else {})}
    return {"tool_calls": [call]}


async def test_a_call_goes_to_the_program_and_its_output_back_to_the_model(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    stream = await thinking.responses.create(
        input="Weather in Pune?",
        tools=[WEATHER],
        tool_choice={"type": "function", "name": "weather"},
        instructions="Use tools.",
        stream=True,
    )
    call = await model.call()
    function = {name: WEATHER[name] for name in ("name", "description", "parameters", "strict")}
    assert call.request["tools"] == [{"type": "function", "function": function}]
    assert call.request["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    says(call, piece(0, "c1", '{"ci'), piece(0, None, 'ty":"Pune"}'), reason="tool_calls")
    events = await collect(stream)
    assert kinds(events)[2:] == [
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "completed",
    ]
    assert (events[5]["name"], json.loads(events[5]["arguments"])) == ("weather", {"city": "Pune"})
    first = await thinking.responses.retrieve(events[0]["response"]["id"])
    assert first.to_dict()["tools"] == [WEATHER]
    assert first.to_dict()["tool_choice"] == {"type": "function", "name": "weather"}
    [made] = first.output
    assert made.type == "function_call"
    assert (made.call_id, made.name, made.arguments) == ("c1", "weather", '{"city":"Pune"}')
    going_on = asyncio.create_task(
        thinking.responses.create(
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": made.call_id, "output": "31 degrees"}],
        )
    )
    call = await model.call()
    # Neither tools nor instructions are carried over.
    assert "tools" not in call.request
    assert [(each["role"], each["content"]) for each in call.request["messages"]] == [
        ("user", "Weather in Pune?"),
        ("assistant", ""),
        ("tool", "31 degrees"),
    ]
    says(call, {"content": "Hot."})
    second = await going_on
    assert (second.output_text, second.previous_response_id) == ("Hot.", first.id)
    [given] = (await thinking.responses.input_items.list(second.id)).data
    assert given.type == "function_call_output"
    assert (given.call_id, given.output) == ("c1", "31 degrees")


async def test_a_program_that_keeps_the_history_itself_sends_it_all_in_its_input(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    history: list[Any] = [{"role": "developer", "content": "Use tools."}]
    history.append({"role": "user", "content": [{"type": "input_text", "text": "Weather in Pune?"}]})
    asking = asyncio.create_task(thinking.responses.create(input=history, tools=[WEATHER]))
    call = await model.call()
    says(call, {"reasoning_content": "Ask."}, piece(0, "c1", "{}"), piece(1, "c2", "{}"), reason="tool_calls")
    history += (await asking).output
    history += [
        {"type": "function_call_output", "call_id": each, "output": f"{each}: hot"} for each in ("c2", "c1")
    ]
    asking = asyncio.create_task(thinking.responses.create(input=history, tools=[WEATHER]))
    call = await model.call()
    assert [(each["role"], each["content"]) for each in call.request["messages"]] == [
        ("system", "Use tools."),
        ("user", "Weather in Pune?"),
        ("assistant", ""),
        ("tool", "c1: hot"),
        ("tool", "c2: hot"),
    ]
    says(call, {"content": "Hot."})
    response = await asking
    assert response.output_text == "Hot."
    history += [*response.output, {"role": "user", "content": "And Delhi?"}]
    asking = asyncio.create_task(thinking.responses.create(input=history))
    call = await model.call()
    assert [each["role"] for each in call.request["messages"]][-2:] == ["assistant", "user"]
    says(call, {"content": "Hotter."})
    assert (await asking).output_text == "Hotter."


async def test_arguments_that_were_cut_off_are_not_said_to_be_whole(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    stream = await thinking.responses.create(input="Weather?", tools=[WEATHER], stream=True)
    says(await model.call(), piece(0, "c1", '{"ci'), reason="length")
    events = await collect(stream)
    assert "function_call_arguments.done" not in kinds(events)
    assert events[-1]["response"]["output"][0]["status"] == "incomplete"
    told = await thinking.responses.retrieve(events[0]["response"]["id"])
    assert told.to_dict() == events[-1]["response"]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ([{"type": "function_call_output", "call_id": "c9", "output": "x"}], "no open call with the id 'c9'"),
        (
            [{"type": "function_call_output", "call_id": "c1", "output": each} for each in "xy"],
            "one output for each call",
        ),
    ],
)
async def test_outputs_that_fit_no_call_are_refused(
    thinking: AsyncOpenAI, model: ModelServer, output: Any, message: str
) -> None:
    asking = asyncio.create_task(thinking.responses.create(input="Weather?", tools=[WEATHER]))
    says(await model.call(), piece(0, "c1", "{}"), reason="tool_calls")
    first = await asking
    with pytest.raises(openai.BadRequestError, match=message) as caught:
        await thinking.responses.create(previous_response_id=first.id, input=output)
    assert caught.value.param == "input"


async def test_outputs_for_an_answer_without_calls_are_refused_and_leave_nothing(
    thinking: AsyncOpenAI, model: ModelServer, sql: Sql
) -> None:
    given: Any = [{"type": "function_call_output", "call_id": "c1", "output": "x"}]
    with pytest.raises(openai.BadRequestError) as caught:
        await thinking.responses.create(input=[{"role": "user", "content": "Hi"}, *given])
    assert (caught.value.param, caught.value.code) == ("input", "no_open_calls")
    assert await sql.fetchval("select count(*) from conversations") == 0
    assert model.requests == []


async def test_tools_that_no_model_can_call_are_refused_by_name(sdk: AsyncOpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.responses.create(input="Weather?", tools=[WEATHER])
    assert (caught.value.param, caught.value.code) == ("tools", "not_supported")
