"""What an import took, and what it didn't, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from chat_api.importing.conversation import Conversation

MOST_PROBLEMS = 100


@dataclass(slots=True)
class Report:
    """Counts, and the first problems."""

    source: str | None = None
    """What the file is from; None as long as no conversation was found in it."""
    added: int = 0
    there: int = 0
    left_out: int = 0
    messages_added: int = 0
    messages_left_out: int = 0
    problems: list[tuple[str | None, str]] = field(default_factory=list)
    """The conversation's title, or None if it is about the file; and a sentence."""
    more_problems: int = 0
    is_whole: bool = True
    """Whether the file was read to its end."""

    @property
    def has_found(self) -> bool:
        """Whether there was any conversation in the file."""
        return self.source is not None

    def add(self, conversation: Conversation, messages: int) -> None:
        """Count a conversation that was added, with this many messages, and what isn't as it was."""
        self.added += 1
        self.messages_added += messages
        self.messages_left_out += conversation.left_out
        for what, number in conversation.notes.items():
            self.tell(conversation.title, f"{what}: {number}.")

    def leave_out(self, title: str | None, why: str) -> None:
        """Count a conversation that isn't imported."""
        self.left_out += 1
        self.tell(title, why)

    def tell(self, title: str | None, why: str) -> None:
        """Note a problem."""
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append((title, why))
        else:
            self.more_problems += 1

    def as_json(self) -> dict[str, Any]:
        """The report as callers get it."""
        return {
            "source": self.source,
            "conversations": {"added": self.added, "there": self.there, "left_out": self.left_out},
            "messages": {"added": self.messages_added, "left_out": self.messages_left_out},
            "problems": [{"conversation": title, "why": why} for title, why in self.problems],
            "more_problems": self.more_problems,
            "is_whole": self.is_whole,
        }
