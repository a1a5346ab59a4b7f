"""OpenAI's conversations: the chat's own, with items in place of messages."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import openai
import pytest
from openai import AsyncOpenAI

from tests.conftest import Client
from tests.support.chat import Sql
from tests.support.model_server import ModelServer
from tests.support.openai_answers import says


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """What the chat shows."""
    return [each["content"] for each in messages]


def uuid_of(conversation_id: str) -> str:
    """The chat's id of a conversation."""
    return str(UUID(conversation_id.removeprefix("conv_")))


async def test_a_conversation_goes_on_over_three_turns_and_the_page_shows_it(
    sdk: AsyncOpenAI, client: Client, user: dict[str, str], model: ModelServer
) -> None:
    conversation = await sdk.conversations.create(metadata={"ticket": "1"})
    for turn in (1, 2, 3):
        model.say = [f"answer {turn}"]
        response = await sdk.responses.create(input=f"question {turn}", conversation=conversation.id)
        assert response.output_text == f"answer {turn}"
        assert response.conversation is not None
        assert response.conversation.id == conversation.id
    said = [f"{each} {turn}" for turn in (1, 2, 3) for each in ("question", "answer")]
    assert [each["content"] for each in model.requests[-1].request["messages"]] == said[:-1]
    path = f"/api/conversations/{uuid_of(conversation.id)}"
    shown = await (await client.get(path, headers=user)).json()
    assert (texts(shown["messages"]), shown["title"]) == (said, "question 1")
    items = [each async for each in sdk.conversations.items.list(conversation.id, order="asc", limit=4)]
    assert [each.to_dict()["content"][0]["text"] for each in items] == said
    newest = await sdk.conversations.items.list(conversation.id, limit=1)
    assert newest.data[0].to_dict()["content"][0]["text"] == "answer 3"
    assert newest.has_more


async def test_a_response_after_another_that_has_successors_is_its_sibling(
    sdk: AsyncOpenAI, client: Client, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["a1"]
    first = await sdk.responses.create(input="q1")
    model.say = ["a2"]
    second = await sdk.responses.create(input="q2", previous_response_id=first.id)
    model.say = ["a3"]
    third = await sdk.responses.create(input="q3", previous_response_id=first.id)
    assert texts(model.requests[-1].request["messages"]) == ["q1", "a1", "q3"]
    model.say = ["a4"]
    await sdk.responses.create(input="q4", previous_response_id=second.id)
    assert texts(model.requests[-1].request["messages"]) == ["q1", "a1", "q2", "a2", "q4"]
    assert third.conversation is not None
    path = f"/api/conversations/{uuid_of(third.conversation.id)}"
    shown = await (await client.get(path, headers=user)).json()
    assert texts(shown["messages"]) == ["q1", "a1", "q2", "a2", "q4", "a4"]
    assert shown["messages"][2]["siblings"]["index"] == 0
    assert (await sdk.responses.retrieve(third.id)).output_text == "a3"


async def test_what_is_noted_on_a_conversation_is_kept_and_replaced(sdk: AsyncOpenAI, sql: Sql) -> None:
    conversation = await sdk.conversations.create()
    assert conversation.metadata == {}
    await sdk.conversations.update(conversation.id, metadata={"a": "1", "b": "2"})
    changed = await sdk.conversations.update(conversation.id, metadata={"c": "3"})
    assert await sdk.conversations.retrieve(conversation.id) == changed
    assert changed.metadata == {"c": "3"}
    deleted = await sdk.conversations.delete(conversation.id)
    assert (deleted.id, deleted.deleted, deleted.object) == (conversation.id, True, "conversation.deleted")
    assert await sql.fetchval("select count(*) from conversations") == 0
    with pytest.raises(openai.NotFoundError) as caught:
        await sdk.conversations.retrieve(conversation.id)
    assert caught.value.code == "conversation_not_found"


async def test_items_that_were_said_elsewhere_are_what_the_model_is_told(
    sdk: AsyncOpenAI, model: ModelServer
) -> None:
    conversation = await sdk.conversations.create(
        items=[{"role": "user", "content": "q1"}, {"role": "assistant", "content": "a1"}]
    )
    added = await sdk.conversations.items.create(
        conversation.id,
        items=[
            {"role": "user", "content": "q2"},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a2"}]},
        ],
    )
    model.say = ["a3"]
    await sdk.responses.create(input="q3", conversation=conversation.id)
    assert texts(model.requests[-1].request["messages"]) == ["q1", "a1", "q2", "a2", "q3"]
    assert (
        added.data
        == (
            await sdk.conversations.items.list(conversation.id, order="asc", after=added.data[0].id, limit=1)
        ).data[:0]
        + added.data
    )
    [one] = [await sdk.conversations.items.retrieve(added.data[1].id, conversation_id=conversation.id)]
    assert one == added.data[1]


async def test_an_item_is_found_by_its_id_in_the_response_and_in_the_list(
    thinking: AsyncOpenAI, model: ModelServer
) -> None:
    asking = asyncio.create_task(thinking.responses.create(input="Chai?"))
    says(await model.call(), {"reasoning_content": "Hm."}, {"content": "Boil."})
    response = await asking
    assert response.conversation is not None
    of = response.conversation.id
    listed = (await thinking.conversations.items.list(of)).data
    assert [each.type for each in listed] == ["message", "reasoning", "message"]
    for item in [*response.output, *listed]:
        found = await thinking.conversations.items.retrieve(item.id, conversation_id=of)
        assert found.to_dict() == item.to_dict()
    with pytest.raises(openai.NotFoundError):
        await thinking.conversations.items.retrieve(listed[2].id.replace("msg", "fc"), conversation_id=of)


async def test_only_the_last_message_can_be_deleted(sdk: AsyncOpenAI, model: ModelServer, sql: Sql) -> None:
    model.say = ["a"]
    response = await sdk.responses.create(input="q")
    assert response.conversation is not None
    of = response.conversation.id
    answer, question = (await sdk.conversations.items.list(of)).data
    with pytest.raises(openai.ConflictError) as caught:
        await sdk.conversations.items.delete(question.id, conversation_id=of)
    assert (caught.value.code, caught.value.response.headers["x-should-retry"]) == ("followed", "false")
    for item in (answer, question):
        await sdk.conversations.items.delete(item.id, conversation_id=of)
    assert (await sdk.conversations.items.list(of)).data == []


async def test_a_deleted_response_is_gone_with_its_input_and_the_conversation_that_it_began(
    sdk: AsyncOpenAI, model: ModelServer, sql: Sql
) -> None:
    model.say = ["a"]
    first = await sdk.responses.create(input="q1")
    second = await sdk.responses.create(input="q2", previous_response_id=first.id)
    third = await sdk.responses.create(input="q3", previous_response_id=first.id)
    with pytest.raises(openai.ConflictError):
        await sdk.responses.delete(first.id)
    await sdk.responses.delete(second.id)
    with pytest.raises(openai.NotFoundError):
        await sdk.responses.retrieve(second.id)
    assert (await sdk.responses.retrieve(third.id)).output_text == "a"
    await sdk.responses.delete(third.id)
    assert await sql.fetchval("select count(*) from messages") == 2
    await sdk.responses.delete(first.id)
    assert await sql.fetchval("select count(*) from conversations") == 0


async def test_a_response_that_is_written_isnt_deleted(sdk: AsyncOpenAI, model: ModelServer) -> None:
    response = await sdk.responses.create(input="q", background=True)
    with pytest.raises(openai.ConflictError) as caught:
        await sdk.responses.delete(response.id)
    assert caught.value.code == "generation_running"
    assert response.conversation is not None
    with pytest.raises(openai.ConflictError):
        await sdk.conversations.items.create(
            response.conversation.id, items=[{"role": "user", "content": "q2"}]
        )
    with pytest.raises(openai.ConflictError):
        await sdk.responses.create(input="q2", conversation=response.conversation.id)
    with pytest.raises(openai.ConflictError):
        await sdk.responses.create(input="q2", previous_response_id=response.id)
    (await model.call()).finish("a")


async def test_the_models_are_listed(sdk: AsyncOpenAI) -> None:
    assert [each.id async for each in sdk.models.list()] == ["m1", "m2"]
    assert (await sdk.models.retrieve("m2")).id == "m2"
    assert (await sdk.models.retrieve("default")).id == "default", "as responses name it"
    with pytest.raises(openai.NotFoundError):
        await sdk.models.retrieve("m3")
