"""Delete everything that is stored about one user: stop their running answers, then delete in batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from chat_api.commands.data.queries import Queries

STOP_SECONDS = 10
"""How long workers get to stop and store. A slower one finds its conversation gone, and stores nothing."""

_LOOK_SECONDS = 0.1
_ROWS = 100  # conversations, with all their messages
_USAGE_ROWS = 5000
_CLEAR_ROWS = 1000  # of one that is too large for that


@dataclass(slots=True)
class Amount:
    """How much is stored about a user, or was exported or deleted."""

    conversations: int = 0
    messages: int = 0
    generations: int = 0


def erase(session: Queries, user_id: UUID) -> tuple[Amount, int]:
    """Delete everything about a user that isn't on legal hold, in batches that are committed one by one.

    Returns how much was deleted, and how many conversations are held.

    If this is interrupted, it may be run again. It ends when a batch finds nothing more, so it also deletes
    what the user sends meanwhile.
    """
    session.row("keys.forget", user_id=user_id)  # first, so that the user's programs add nothing
    deadline = time.monotonic() + STOP_SECONDS
    while session.rows("users.stop_answers", user_id=user_id) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    amount = Amount()
    while True:
        batch = session.row("users.delete", user_id=user_id, max_rows=_ROWS)
        if not batch["conversations"]:
            break
        amount.conversations += batch["conversations"]
        amount.messages += batch["messages"]
        amount.generations += batch["generations"]
    while session.row("usage.forget", user_id=user_id, max_rows=_USAGE_ROWS)["forgotten"] == _USAGE_ROWS:
        pass
    # What was too much for one statement. If this is interrupted, the service goes on with it.
    while session.rows("retention.clear", max_rows=_CLEAR_ROWS):
        pass
    return amount, batch["held"]


def count(session: Queries, user_id: UUID) -> Amount:
    """Count what is stored about a user, in pieces that are bounded as those of `erase` are."""
    amount = Amount()
    place: dict[str, Any] = {"before_updated_at": None, "before_id": None}
    while True:
        piece = session.row("users.count", user_id=user_id, max_rows=_ROWS, **place)
        if not piece["conversations"]:
            return amount
        amount.conversations += piece["conversations"]
        amount.messages += piece["messages"]
        amount.generations += piece["generations"]
        place = {"before_updated_at": piece["last_updated_at"], "before_id": piece["last_id"]}
