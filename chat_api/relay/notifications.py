"""PostgreSQL's notifications, which bring other workers' news and stop requests sooner than polling."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import structlog

from chat_api.background import Background
from chat_api.errors import describe
from chat_api.postgres.database import UNREACHABLE

if TYPE_CHECKING:
    import asyncpg

    from chat_api.postgres.database import Database

logger = structlog.get_logger(__name__)

CHECK_SECONDS = 30
LONGEST_RETRY_SECONDS = 30


class Notifications(Background):
    """Listens on one connection of its own, and opens another whenever it breaks.

    Nothing depends on a notification: without them (a pooler in transaction mode, a connection that is being
    replaced) polling finds everything, a fraction of a second later.
    """

    def __init__(self, database: Database, channels: Mapping[str, Callable[[str], None]]) -> None:
        super().__init__("notifications")
        self._database = database
        self._channels = channels

    async def _run(self) -> None:
        delay = 1
        while True:
            try:
                async with self._database.session() as connection:
                    await self._listen(connection)
                    delay = 1
                    while True:  # here a connection that died silently is found out
                        await asyncio.sleep(CHECK_SECONDS)
                        await connection.fetchval("select 1 -- notifications", timeout=CHECK_SECONDS)
            except UNREACHABLE as error:
                logger.debug("not_listening", reason=describe(error), retry_in_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    async def _listen(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        for channel, call in self._channels.items():

            def heard(
                _: object, __: int, ___: str, payload: object, call: Callable[[str], None] = call
            ) -> None:
                call(str(payload))

            await connection.add_listener(channel, heard)
