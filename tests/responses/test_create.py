"""Responses that are created: streamed or whole, by OpenAI's own library."""

from __future__ import annotations

from collections.abc import AsyncIterator

from openai import AsyncOpenAI

import pytest

from tests.conftest import Client
from tests.support.model_server import ModelServer
from tests.support.sdk import collect, kinds, sdk_of, text_of


@pytest.fixture
async def sdk(client: Client, user: dict[str, str]) -> AsyncIterator[AsyncOpenAI]:
    async with sdk_of(client, user) as connected:
        yield connected


async def test_a_response_streams_in_openais_events(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.say = ["Boil ", "water."]
    stream = await sdk.responses.create(input="Chai?", stream=True)
    events = await collect(stream)
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
    assert text_of(events) == "Boil water."
    response = await sdk.responses.retrieve(events[0]["response"]["id"])
    assert response.output_text == "Boil water."
    told = response.to_dict()
    assert told.pop("completed_at")
    assert told == events[-1]["response"]


async def test_a_response_comes_back_whole(sdk: AsyncOpenAI, model: ModelServer) -> None:
    model.say = ["Boil ", "water."]
    response = await sdk.responses.create(input="Chai?", metadata={"a": "b"}, instructions="Be brief.")
    assert (response.status, response.output_text, response.metadata) == ("completed", "Boil water.", {"a": "b"})
