"""The watch: who stays in a conversation is told of what happens there, on any worker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol
from uuid import UUID

import structlog

from chat_api.background import Rounds
from chat_api.errors import describe

if TYPE_CHECKING:
    from chat_api.postgres.database import Database
    from chat_api.relay.notices import Notices

logger = structlog.get_logger(__name__)

POLL_SECONDS = 1
OVERLAP_SECONDS = 30  # started_at is older than the commit that shows it, by what the statement waited for


class Watcher(Protocol):
    """Who is told. Both methods run in between other things, so they must return at once."""

    def begun(self, generation_id: UUID) -> None:
        """A generation begins in the conversation."""

    def changed(self) -> None:
        """Something else has changed, see `conversations.version`, or the conversation was deleted."""


class Watch(Rounds):
    """Tells of generations in the order in which they begin, by their ids, perhaps more than once; and of
    changes, those at about the same time perhaps as one.

    What happens on this worker is told at once, and the others are told with its next tick; all else by a
    notification, or else by one query a second for all conversations that are watched. Whoever adds itself
    removes itself.
    """

    def __init__(self, database: Database, worker_id: UUID, notices: Notices) -> None:
        super().__init__("watch")
        self._database = database
        self._worker_id = worker_id
        self._notices = notices
        self._watchers: dict[UUID, list[Watcher]] = {}
        self._versions: dict[UUID, int] = {}  # of those conversations of which it is known
        self._wanted = asyncio.Event()
        self._looked = 0.0  # when the last look began, by the loop's clock

    def add(self, conversation_id: UUID, watcher: Watcher) -> None:
        """Tell `watcher` of each generation that begins from now on, and of changes after the first version
        that is known, see `know`.
        """
        self._watchers.setdefault(conversation_id, []).append(watcher)
        self._wanted.set()

    def remove(self, conversation_id: UUID, watcher: Watcher) -> None:
        """Tell it nothing more."""
        watchers = self._watchers[conversation_id]
        watchers.remove(watcher)
        if not watchers:
            del self._watchers[conversation_id]
            self._versions.pop(conversation_id, None)

    def begun(self, conversation_id: UUID, generation_id: UUID) -> None:
        """A generation begins here."""
        self._begun(conversation_id, generation_id)
        self._notices.started(conversation_id, generation_id)

    def changed(self, conversation_id: UUID, new_version: int | None) -> None:
        """This worker has counted the version up, or deleted the conversation; neither if it is None."""
        if new_version is not None:
            self.hear_changed(conversation_id, new_version)
            self._notices.changed(conversation_id, new_version)

    def know(self, conversation_id: UUID, version: int) -> None:
        """A conversation was read in this version. If that is newer than the one that was known, tell."""
        if self._versions.get(conversation_id, version) < version:
            self._changed(conversation_id, version)
        elif conversation_id in self._watchers:
            self._versions.setdefault(conversation_id, version)

    def hear_begun(self, worker_id: UUID, conversation_id: UUID, generation_id: UUID) -> None:
        """Take a notice of a worker, perhaps of this one: a generation begins there."""
        if worker_id != self._worker_id:
            self._begun(conversation_id, generation_id)

    def hear_changed(self, conversation_id: UUID, version: int) -> None:
        """Take a notice of a worker, perhaps of this one: a conversation has this version."""
        if self._versions.get(conversation_id, -1) < version:
            self._changed(conversation_id, version)

    def _begun(self, conversation_id: UUID, generation_id: UUID) -> None:
        for watcher in self._watchers.get(conversation_id, ()):
            watcher.begun(generation_id)

    def _changed(self, conversation_id: UUID, version: int) -> None:
        for watcher in self._watchers.get(conversation_id, ()):
            self._versions[conversation_id] = version
            watcher.changed()

    def _deleted(self, conversation_id: UUID) -> None:
        if self._versions.pop(conversation_id, None) is not None:
            for watcher in self._watchers.get(conversation_id, ()):
                watcher.changed()

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
        known = {conversation_id: self._versions.get(conversation_id) for conversation_id in self._watchers}
        for row in await self._database.rows(
            "generations.begun",
            conversation_ids=list(known),
            versions=list(known.values()),
            worker_id=self._worker_id,
            seconds=seconds,
        ):
            conversation_id, version = row["conversation_id"], row["version"]
            before = known[conversation_id]
            if version is None:
                self._deleted(conversation_id)
                continue
            if before is not None and version < before == self._versions.get(conversation_id):
                self._changed(conversation_id, version)  # a failover has lost the newer ones
            self.know(conversation_id, version)
            if row["generation_id"] is not None:
                self._begun(conversation_id, row["generation_id"])
