"""Reading a generation: from where a reader continues."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from chat_api.relay import Log


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
