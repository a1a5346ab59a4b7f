"""What may be observed of generations, by tracing for one; an Observer itself observes nothing."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.generation.answer import Answer
    from chat_api.relay import Log


class Observer:
    """Its methods are called around what they are named after; nothing is called for a token."""

    def command(self, name: str) -> AbstractContextManager[object]:
        """Around what a caller asked for: send, regenerate, stop, subscribe."""
        return nullcontext(name)

    def run(self, answer: Answer) -> AbstractContextManager[object]:
        """Around an answer's life on this worker; in the end `answer.summary` says what became of it."""
        return nullcontext(answer)

    def read(self, log: Log) -> None:
        """The current request or command reads this log."""
