"""Responses that are created, streamed or whole, by OpenAI's own library."""

from __future__ import annotations

import asyncio

import openai
import pytest
from openai import AsyncOpenAI

from tests.conftest import Client
from tests.support.chat import Sql
from tests.support.model_server import ModelServer
from tests.support.openai_answers import says
from tests.support.processes import until
from tests.support.reader import read_events
from tests.support.sdk import collect, kinds, text_of


async def test_a_response_streams_in_openais_events(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.say = ["Boil ", "water."]
    events = await collect(await sdk.responses.create(input="Chai?", stream=True))
    assert kinds(events) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [each["sequence_number"] for each in events] == list(range(10))
    assert text_of(events) == events[6]["text"] == "Boil water."
    told = (await sdk.responses.retrieve(events[0]["response"]["id"])).to_dict()
    assert told.pop("completed_at")
    assert told == events[-1]["response"]


async def test_a_response_comes_back_whole_and_says_how_it_was_asked(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    asking = asyncio.create_task(
        thinking.responses.create(
            input="Chai?",
            instructions="Be brief.",
            metadata={"ticket": "4711"},
            temperature=0.5,
            max_output_tokens=77,
            model="tiny",
            user="me",
        )
    )
    call = await model.call()
    assert call.request["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Chai?"},
    ]
    assert (call.request["temperature"], call.request["max_tokens"]) == (0.5, 77)
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "completion_tokens_details": {"reasoning_tokens": 3}}
    says(call, {"reasoning_content": "Hm."}, {"content": "Boil."}, usage=usage)
    response = await asking
    assert (response.status, response.output_text) == ("completed", "Boil.")
    assert [each.type for each in response.output] == ["reasoning", "message"]
    assert response.output[0].to_dict()["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert (response.instructions, response.metadata) == ("Be brief.", {"ticket": "4711"})
    assert (response.temperature, response.max_output_tokens, response.model) == (0.5, 77, "tiny")
    assert response.usage is not None
    counted = response.usage
    assert (counted.input_tokens, counted.output_tokens, counted.total_tokens) == (9, 5, 14)
    assert response.usage.output_tokens_details.reasoning_tokens == 3


async def test_thinking_comes_first_and_is_over_when_the_text_begins(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    stream = await thinking.responses.create(input="Chai?", stream=True)
    says(await model.call(), {"reasoning_content": "H"}, {"reasoning_content": "m"}, {"content": "Boil."})
    events = await collect(stream)
    assert kinds(events)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    assert events[6]["text"] == "Hm"
    assert [each.get("output_index") for each in events[2:]].index(1) == 7
    told = await thinking.responses.retrieve(events[0]["response"]["id"])
    assert told.to_dict()["output"] == events[-1]["response"]["output"]


@pytest.mark.parametrize(
    ("reason", "said", "detail"),
    [
        ("length", "Boil", "max_output_tokens"),
        ("length", "", "max_output_tokens"),
        ("content_filter", "Boil", "content_filter"),
        ("content_filter", "", "content_filter"),
    ],
)
async def test_what_was_cut_is_incomplete(
    thinking: AsyncOpenAI, model: ModelServer, reason: str, said: str, detail: str
) -> None:
    asking = asyncio.create_task(thinking.responses.create(input="Chai?"))
    says(await model.call(), {"content": said}, reason=reason)
    response = await asking
    assert (response.status, response.output_text) == ("incomplete", said)
    assert response.incomplete_details is not None
    assert response.incomplete_details.reason == detail
    stream = await thinking.responses.retrieve(response.id, stream=True)
    events = await collect(stream)
    assert kinds(events)[-1] == "incomplete"
    assert events[-1]["response"] == response.to_dict()


async def test_what_broke_off_has_failed_with_its_text(sdk: AsyncOpenAI, model: ModelServer) -> None:
    stream = await sdk.responses.create(input="Chai?", stream=True)
    call = await model.call()
    call.say("Boil")
    call.close()
    events = await collect(stream)
    assert kinds(events)[-1] == "failed"
    response = events[-1]["response"]
    assert (response["error"]["code"], response["error"]["type"]) == ("server_error", "inference_interrupted")
    assert response["output"][0]["content"][0]["text"] == "Boil"
    assert response["output"][0]["status"] == "incomplete"
    assert (await sdk.responses.retrieve(response["id"])).to_dict() == response


async def test_a_whole_response_that_failed_before_it_said_anything_is_an_error_and_leaves_nothing(
    sdk: AsyncOpenAI, model: ModelServer, sql: Sql
) -> None:
    model.refuse = (500, "no")
    with pytest.raises(openai.InternalServerError) as caught:
        await sdk.responses.create(input="Chai?")
    assert caught.value.code == "inference_error"
    assert await sql.fetchval("select count(*) from conversations") == 0


async def test_a_retry_with_the_same_key_gets_the_same_response(
    sdk: AsyncOpenAI, model: ModelServer, sql: Sql
) -> None:
    model.say = ["Boil."]
    keyed = {"Idempotency-Key": "k"}
    first, second = await asyncio.gather(
        *(sdk.responses.create(input="Chai?", extra_headers=keyed) for _ in range(2))
    )
    assert first == second
    assert len(model.requests) == 1
    assert await sql.fetchval("select count(*) from conversations") == 1


async def test_leaving_is_not_stopping(sdk: AsyncOpenAI, model: ModelServer, sql: Sql) -> None:
    stream = await sdk.responses.create(input="Chai?", stream=True)
    call = await model.call()
    call.say("Boil")
    await collect(stream, 5)
    await stream.close()
    call.finish(" water.")
    assert (
        await until(lambda: sql.fetchval("select content from messages where role = 'assistant'"))
        == "Boil water."
    )


async def test_a_response_is_a_conversation_in_the_chat(
    sdk: AsyncOpenAI, client: Client, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["Boil."]
    response = await sdk.responses.create(input="How is chai made?")
    page = await (await client.get("/api/conversations", headers=user)).json()
    [shown] = page["items"]
    assert shown["title"] == "How is chai made?"
    assert response.conversation is not None
    assert response.conversation.id == f"conv_{shown['id'].replace('-', '')}"
    opened = await (await client.get(f"/api/conversations/{shown['id']}", headers=user)).json()
    assert [each["content"] for each in opened["messages"]] == ["How is chai made?", "Boil."]


async def test_an_answer_of_the_page_is_a_response(
    sdk: AsyncOpenAI, client: Client, user: dict[str, str], model: ModelServer, conversation: str
) -> None:
    model.say = ["Boil."]
    sent = await client.post(f"{conversation}/messages", json={"content": "Chai?"}, headers=user)
    begun = (await read_events(sent))[0].data
    ids = begun["conversation_id"] + begun["generation_id"]
    response = await sdk.responses.retrieve(f"resp_{ids.replace('-', '')}")
    assert (response.status, response.output_text, response.metadata) == ("completed", "Boil.", {})
