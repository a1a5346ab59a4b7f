"""Reading a generation: from where a reader continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from chat_api import errors

if TYPE_CHECKING:
    import asyncpg

    from chat_api.generation.observer import Observer
    from chat_api.postgres.database import Database
    from chat_api.relay import Log, Relay


@dataclass(frozen=True, slots=True)
class Cursor:
    """The last event that a reader has: `<generation id>:<seq>` on the wire."""

    generation_id: UUID
    seq: int

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Read the wire form. Raises ValueError."""
        generation_id, _, seq = text.rpartition(":")
        if len(generation_id) != 36 or not (seq.isascii() and seq.isdigit() and len(seq) < 10):
            raise ValueError("must look like <generation id>:<number>, as in a stream's id: lines")
        return cls(UUID(generation_id), int(seq))

    def __str__(self) -> str:
        return f"{self.generation_id}:{self.seq}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A log and the place in it where a reader continues; from `start`, the question's id too."""

    log: Log
    place: int = 0
    user_message_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Resumption:
    """What a reader who stays in a conversation reads first, and the newest generation there, if any."""

    readings: list[Reading]
    newest: UUID | None

    @property
    def generation_id(self) -> UUID | None:
        """The one whose events come first."""
        return self.readings[0].log.generation_id if self.readings else None


class Readers:
    """Where the readers of any generation continue, on whichever worker that runs.

    Each method raises ConversationNotFound where the conversation isn't the user's, and DatabaseUnavailable.
    """

    def __init__(self, database: Database, relay: Relay, replay_seconds: float, observer: Observer) -> None:
        self._database = database
        self._relay = relay
        self._observer = observer
        self._replay_seconds = replay_seconds

    async def attach(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Reading | None:
        """Where a reader that (re)connects continues; None where there is nothing for it.

        With a cursor: what its generation has beyond it, or else the running generation. Without: the newest
        generation from its first event, while it runs or its events are still kept.
        """
        reading = await self._attach(user_id, conversation_id, after)
        if reading is not None:
            self._observer.read(reading.log)
        return reading

    async def _attach(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Reading | None:
        if after is not None and (rest := await self._rest(user_id, conversation_id, after)) is not None:
            return rest
        newest = await self._look(user_id, conversation_id, None)
        generation_id: UUID | None = newest["generation_id"]
        if generation_id is None or (after is not None and generation_id == after.generation_id):
            return None
        age: float | None = newest["seconds_since_end"]  # None while it runs
        if age is not None and (after is not None or age > self._replay_seconds):
            return None
        return Reading(await self._relay.find_log(generation_id, conversation_id))

    async def resume(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Resumption:
        """Where a reader who stays continues: with the rest of what it knows, then with what runs now.

        What begins or changes later, `watch` tells.
        """
        with self._observer.command("subscribe"):
            readings = []
            if after is not None and (rest := await self._rest(user_id, conversation_id, after)) is not None:
                readings.append(rest)
            row = await self._look(user_id, conversation_id, None)
            self._relay.watch.know(conversation_id, row["version"])
            newest: UUID | None = row["generation_id"]
            runs = newest is not None and row["seconds_since_end"] is None
            if newest is not None and runs and (after is None or newest != after.generation_id):
                readings.append(Reading(await self._relay.find_log(newest, conversation_id)))
            for reading in readings:
                self._observer.read(reading.log)
            return Resumption(readings, newest)

    async def find(self, generation_id: UUID, conversation_id: UUID) -> Log:
        """The log of a generation that the watch told of. Raises DatabaseUnavailable."""
        return await self._relay.find_log(generation_id, conversation_id)

    async def _rest(self, user_id: UUID, conversation_id: UUID, after: Cursor) -> Reading | None:
        """What a generation has, or will have, beyond a reader's last event."""
        row = await self._look(user_id, conversation_id, after.generation_id)
        if row["generation_id"] is None:
            return None
        log = await self._relay.find_log(after.generation_id, conversation_id, after.seq)
        place = log.place_after(after.seq)
        if self._relay.running_log(after.generation_id) is log:
            place = min(place, log.count)  # nobody has seen more of it than it has
        return Reading(log, place) if place < log.count or not log.closed else None

    async def _look(self, user_id: UUID, conversation_id: UUID, generation_id: UUID | None) -> asyncpg.Record:
        row = await self._database.row(
            "generations.attach",
            conversation_id=conversation_id,
            user_id=user_id,
            generation_id=generation_id,
        )
        if row is None:
            raise errors.ConversationNotFound
        return row
