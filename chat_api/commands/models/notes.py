"""What the client of a model server logs, kept for a sentence in place of log lines."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from structlog.typing import EventDict

Notes = list[EventDict]

_NOTES: ContextVar[Notes | None] = ContextVar("notes", default=None)


def keep_notes() -> None:
    """Write no log lines from now on: they are notes for who listens, see `notes`."""
    structlog.configure(processors=[_note])


@contextmanager
def notes() -> Iterator[Notes]:
    """What is logged within the block, and by the tasks and connections that begin there."""
    kept: Notes = []
    token = _NOTES.set(kept)
    try:
        yield kept
    finally:
        _NOTES.reset(token)


def _note(_: object, __: str, event: EventDict) -> EventDict:
    kept = _NOTES.get()
    if kept is not None:
        kept.append(event)
    raise structlog.DropEvent
