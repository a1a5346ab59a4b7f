"""Reading a generation: from where a reader continues, and what is told once its events are gone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from chat_api import errors, events
from chat_api.relay import Log

if TYPE_CHECKING:
    import asyncpg


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
    """A log and the place in it where a reader continues."""

    log: Log
    place: int = 0


def retold(row: asyncpg.Record, conversation_id: UUID, seq: int) -> Log:
    """A finished generation whose events are gone: its start, its whole text, why it failed, its end."""
    log = Log(row["generation_id"])
    log.append(events.start(row["generation_id"], conversation_id, row["user_message_id"]))
    worker_lost = row["error_code"] == errors.WorkerLost.code
    ending = [
        events.done(row["message_id"], row["finish_reason"], row["token_count"], row["inference_time_ms"])
    ]
    if row["error_code"] is not None:
        ending.insert(0, events.error(errors.from_code(row["error_code"])))
    if row["content"] or worker_lost:
        ending.insert(0, events.reset(row["content"]))
    last_seq = max(row["last_seq"], len(ending))
    if worker_lost:  # readers may have seen more than was ever written down
        last_seq = max(last_seq, seq + len(ending))
    for place, data in enumerate(ending, last_seq - len(ending) + 1):
        log.append(data, seq=place, last=place == last_seq)
    return log
