"""Turns: messages that wait though no answer is being written, because the worker that ended it died."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from chat_api.background import Rounds
from chat_api.errors import describe

if TYPE_CHECKING:
    from chat_api.relay import Relay

logger = structlog.get_logger(__name__)


class Turns(Rounds):
    """Sends them. Each worker looks every few seconds; the database lets each message be sent once."""

    def __init__(
        self, begin_due: Callable[[], Awaitable[None]], relay: Relay, interval_seconds: float
    ) -> None:
        """`begin_due` sends what waits, as `Generations.begin_due` does."""
        super().__init__("turns")
        self._begin_due = begin_due
        self._relay = relay
        self._interval_seconds = interval_seconds

    async def _round(self) -> None:
        await self._relay.lease_held()
        await self._begin_due()

    async def _rest(self) -> None:
        await asyncio.sleep(self._interval_seconds)

    def _log_failure(self, error: Exception) -> None:
        logger.error("turns_failed", reason=describe(error), exc_info=error)
