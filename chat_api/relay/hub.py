"""The hub: where a generation's log is found, here or with another worker."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from chat_api.relay.log import Log

if TYPE_CHECKING:
    from chat_api.relay.follower import Follower


class Hub:
    """The logs that grow on this worker; every other one comes from the journal.

    A finished log is kept only by those who still read it: who comes later gets it from the journal, as on
    any other worker, so that memory holds what is running and nothing more.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._logs: dict[UUID, Log] = {}

    def open(self, generation_id: UUID, conversation_id: UUID) -> Log:
        """Make a new, empty log for a generation that starts here."""
        log = self._logs[generation_id] = Log(generation_id, conversation_id)
        return log

    def drop(self, log: Log) -> None:
        """Forget a log that grows no more."""
        self._logs.pop(log.generation_id, None)

    def get(self, generation_id: UUID) -> Log | None:
        """The log of a generation that runs here."""
        return self._logs.get(generation_id)

    async def find(self, generation_id: UUID, conversation_id: UUID, seen: int = -1) -> Log:
        """Any generation's log, for a reader that has seen up to a number. Raises DatabaseUnavailable."""
        log = self._logs.get(generation_id)
        return log or await self._follower.follow(generation_id, conversation_id, seen)
