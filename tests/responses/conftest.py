"""OpenAI's own library, connected to a service in this process or to processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from openai import AsyncOpenAI

from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.model_server import ModelServer
from tests.support.sdk import sdk_of


@pytest.fixture
async def sdk(client: Client, user: dict[str, str]) -> AsyncIterator[AsyncOpenAI]:
    """A program of that user's."""
    async with sdk_of(client, user) as connected:
        yield connected


@pytest.fixture
def openai(settings: Settings, model: ModelServer) -> Settings:
    """Settings for an OpenAI-compatible model server."""
    changes = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return settings.model_copy(update=changes)


@pytest.fixture
async def thinking(start: Start, openai: Settings, user: dict[str, str]) -> AsyncIterator[AsyncOpenAI]:
    """A program whose service asks such a server: one that thinks, and calls tools."""
    async with sdk_of(await start(openai), user) as connected:
        yield connected
