"""A picky model server, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import aiohttp
import pytest

from chat_api.inference import OpenAI
from chat_api.settings import Settings
from tests.support.endpoints import only_endpoint
from tests.support.picky_server import PickyServer

Connect = Callable[..., OpenAI]


@pytest.fixture
async def server() -> AsyncIterator[PickyServer]:
    async with PickyServer() as picky:
        yield picky


@pytest.fixture
async def connect(server: PickyServer) -> AsyncIterator[Connect]:
    """Make a client of the server, with these settings."""
    async with aiohttp.ClientSession() as session:

        def make(**settings: Any) -> OpenAI:
            given = {"inference_protocol": "openai", "inference_service_url": f"{server.url}/v1", **settings}
            return OpenAI(only_endpoint(Settings(_env_file=None, **given)), session)

        yield make
