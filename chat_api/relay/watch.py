"""The watch: who stays in a conversation is told of every generation that begins there, on any worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from chat_api.background import Background
from chat_api.errors import DatabaseUnavailable, describe

if TYPE_CHECKING:
    from chat_api.postgres.database import Database

logger = structlog.get_logger(__name__)

POLL_SECONDS = 1
OVERLAP_SECONDS = 30  # started_at is older than the commit that shows it, by what the statement waited for

Tell = Callable[[UUID], None]


class Watch(Background):
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

    def hint(self, text: str) -> None:
        """Some worker notified: its id, the conversation's, the generation's."""
        worker_id, conversation_id, generation_id = map(UUID, text.split())
        # What begins here was told already, or is about to be: told now, before its log is opened, it would
        # be sought in the journal.
        if worker_id != self._worker_id:
            self.begun(conversation_id, generation_id)

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        looked = loop.time()
        while True:
            if not self._watchers:
                self._wanted.clear()
                await self._wanted.wait()
                looked = loop.time()
            try:
                began = loop.time()
                await self._look(began - looked + OVERLAP_SECONDS)
                looked = began
            except DatabaseUnavailable:
                pass  # logged by the database; the next look reaches as far back
            except Exception as error:  # the task must outlive what nobody foresaw
                logger.exception("watch_failed", reason=describe(error))
            await asyncio.sleep(POLL_SECONDS)

    async def _look(self, seconds: float) -> None:
        for row in await self._database.rows(
            "generations.begun",
            conversation_ids=list(self._watchers),
            worker_id=self._worker_id,
            seconds=seconds,
        ):
            self.begun(row["conversation_id"], row["generation_id"])
