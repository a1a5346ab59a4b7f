"""The lines around an export: JSON Lines, UTF-8, each with its `type` first (docs/api.md, Export)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterable
from typing import Any
from uuid import UUID

import orjson

FORMAT = 3
"""The version of the format. It is counted up when earlier releases can't import an export any more."""

NAMES = {
    "conversation": "conversations",
    "message": "messages",
    "queued_message": "queued_messages",
    "generation": "generations",
    "usage": "usage",
}
"""The types of the lines between the first and the last, in their order, and what several are called."""


def first_line(user_id: UUID, conversation_id: UUID | None = None) -> str:
    """What the lines below are. It has no time, so that exports of the same are equal, byte for byte."""
    return orjson.dumps(
        {
            "type": "export",
            "format": FORMAT,
            "service": "chat-api",
            "user_id": str(user_id),  # the driver has a class of its own
            "conversation_id": None if conversation_id is None else str(conversation_id),
        }
    ).decode()


def kind_of(line: str) -> str:
    """A line's type. PostgreSQL writes it first: {"type":"…"."""
    return line.split('"', 4)[3]


def parsed(line: str) -> dict[str, Any]:
    """A line's object. PostgreSQL's `json` may name half a surrogate pair, which orjson refuses."""
    try:
        value: dict[str, Any] = orjson.loads(line)
    except orjson.JSONDecodeError:
        value = json.loads(line)
    return value


class Counted:
    """Counts an export's lines, for the last one: a file without that one isn't whole."""

    def __init__(self) -> None:
        self.of: Counter[str] = Counter()

    def add(self, line: str) -> None:
        """Count a line."""
        self.of[kind_of(line)] += 1

    def last_line(self) -> str:
        """How many lines of each type there were."""
        return orjson.dumps({"type": "end", **{name: self.of[kind] for kind, name in NAMES.items()}}).decode()


async def as_lines(
    lines: AsyncIterable[str], user_id: UUID, conversation_id: UUID | None = None
) -> AsyncGenerator[str, None]:
    """A whole export, line by line, from the lines between the first and the last."""
    counted = Counted()
    yield f"{first_line(user_id, conversation_id)}\n"
    async for line in lines:
        counted.add(line)
        yield f"{line}\n"
    yield f"{counted.last_line()}\n"
