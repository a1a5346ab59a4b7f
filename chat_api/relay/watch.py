"""The watch: who stays in a conversation is told of every generation that begins there, on any worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from chat_api.background import Rounds
from chat_api.errors import describe

if TYPE_CHECKING:
    from chat_api.postgres.database import Database

logger = structlog.get_logger(__name__)

POLL_SECONDS = 1
OVERLAP_SECONDS = 30  # started_at is older than the commit that shows it, by what the statement waited for

Tell = Callable[[UUID], None]


class Watch(Rounds):
    """Tells of generations in the order in which they begin, by their ids; an id may be told more than once.

    This worker's own are told at once; those of others by a notification, or else by one query a second for
    all conversations that are watched. Whoever adds itself removes itself.
    """

    def __init__(self, database: Database, worker_id: UUID) -> None:
        super().__init__("watch")
        self._database = database
        self._worker_id = worker_id
        self._watchers: dict[UUID, list[Tell]] = {}
        self._wanted = asyncio.Event()
        self._looked = 0.0  # when the last look began, by the loop's clock

    def add(self, conversation_id: UUID, tell: Tell) -> None:
        """Call `tell` with each generation that begins from now on."""
        self._watchers.setdefault(conversation_id, []).append(tell)
        self._wanted.set()

    def remove(self, conversation_id: UUID, tell: Tell) -> None:
        """Call it no more."""
        watchers = self._watchers[conversation_id]
        watchers.remove(tell)
        if not watchers:
            del self._watchers[conversation_id]

    def begun(self, conversation_id: UUID, generation_id: UUID) -> None:
        """A generation begins."""
        for tell in self._watchers.get(conversation_id, ()):
            tell(generation_id)

    def hear(self, text: str) -> None:
        """Take a worker's notification: its id, the conversation's and the generation's, by spaces."""
        worker_id, conversation_id, generation_id = map(UUID, text.split())
        # What begins here was told already, or is about to be: told now, before its log is opened, it would
        # be sought in the journal.
        if worker_id != self._worker_id:
            self.begun(conversation_id, generation_id)

    async def _round(self) -> None:
        if self._watchers:
            began = asyncio.get_running_loop().time()
            await self._look(
                began - self._looked + OVERLAP_SECONDS
            )  # after a failure, the next reaches as far back
            self._looked = began

    async def _rest(self) -> None:
        if self._watchers:
            await asyncio.sleep(POLL_SECONDS)
        if not self._watchers:
            self._wanted.clear()
            await self._wanted.wait()
            self._looked = asyncio.get_running_loop().time()

    def _log_failure(self, error: Exception) -> None:
        logger.error("watch_failed", reason=describe(error), exc_info=error)

    async def _look(self, seconds: float) -> None:
        for row in await self._database.rows(
            "generations.begun",
            conversation_ids=list(self._watchers),
            worker_id=self._worker_id,
            seconds=seconds,
        ):
            self.begun(row["conversation_id"], row["generation_id"])
