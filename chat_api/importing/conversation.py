"""What every format becomes: a conversation, as this service would store it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

EMPTY = "Messages without a text were left out"
NOBODY = "Messages of nobody who is known here were left out"
FILES = "Pictures or files are named in their place"
TOOLS = "Calls or outputs of tools were left out"

Role = Literal["user", "assistant", "system", "tool"]


@dataclass(slots=True)
class Message:
    """What one side said. The text is storable, and so are the other fields."""

    role: Role
    text: str
    reasoning: str | None = None
    model: str | None = None
    created_at: datetime | None = None
    finish_reason: str | None = None
    more: dict[str, Any] = field(default_factory=dict)
    """Columns that only this service's own exports have."""


@dataclass(slots=True)
class Node:
    """A place in the tree of a source; without a message, it only holds together what is around it."""

    key: str
    parent: str | None
    message: Message | None
    rank: int = 0
    """Its place among its siblings, where the source says that elsewhere than by its order."""
    joins: bool = False
    """Whether it is a piece of the message above, if that joins, too, and has nothing else below it."""


@dataclass(slots=True)
class Placed:
    """A message in its place. Those that come after it are behind it in the list."""

    message: Message
    parent: int
    """The number of the message that it comes after, from 1; 0: it begins the conversation."""
    is_active: bool = False
    has_versions: bool = False


@dataclass(slots=True)
class Conversation:
    """A conversation of a file."""

    source: str
    external_id: str
    """What the source calls it; the same file gives the same."""
    title: str
    nodes: list[Node]
    current: str | None = None
    """The key of the node whose path is shown."""
    created_at: datetime | None = None
    updated_at: datetime | None = None
    model_tag: str | None = None
    is_favorited: bool = False
    instructions: str | None = None
    options: dict[str, Any] | None = None
    metadata: dict[str, str] | None = None
    notes: Counter[str] = field(default_factory=Counter)
    """What wasn't taken as it was, in words, and how often."""

    @property
    def left_out(self) -> int:
        """How many of its messages weren't taken, but for the hidden ones."""
        return self.notes[EMPTY] + self.notes[NOBODY]
