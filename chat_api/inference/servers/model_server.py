"""A model server as this worker knows it: its slots, its breaker, and whether it answers at all."""

from __future__ import annotations

import asyncio

import structlog

from chat_api import errors
from chat_api.inference.base import Inference
from chat_api.inference.servers.breaker import Breaker
from chat_api.inference.servers.slots import Slots
from chat_api.settings.models import Server

LOOK_SECONDS = 15.0  # for how long the answer to a look is believed
LOOK_TIMEOUT = 2.0  # a page that waits for the list of models doesn't wait for a server that hangs


class ModelServer:
    """A server of MODELS_FILE, or the one of the environment."""

    def __init__(self, name: str, server: Server) -> None:
        self.name = name
        self.server = server
        self.slots = Slots(server.max_streams)
        self.breaker = Breaker(server.max_failures, server.rest_seconds)
        self._looking = asyncio.Lock()
        self._looked_at = -LOOK_SECONDS
        self._answers = True

    async def is_available(self, inference: Inference) -> bool:
        """Whether the server answers, as its list of models shows. Asked at most every 15 seconds."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if loop.time() - self._looked_at >= LOOK_SECONDS:
                with structlog.contextvars.bound_contextvars(server=self.name):
                    self._answers = await _answers(inference)
                self._looked_at = loop.time()
        return self._answers and not self.breaker.is_open


async def _answers(inference: Inference) -> bool:
    try:
        async with asyncio.timeout(LOOK_TIMEOUT):
            await inference.models()
    except errors.InferenceRejected:
        return True  # it has no list, as Azure's deployments, or keeps it to itself
    except (errors.InferenceError, TimeoutError):
        return False
    return True
