"""Delete everything that is stored about one user: stop their running answers, then delete in batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from uuid import UUID

from chat_api.commands.data.queries import Queries

STOP_SECONDS = 10
"""How long workers get to stop and store. A slower one finds its conversation gone, and stores nothing."""

_LOOK_SECONDS = 0.1
_ROWS = 100  # conversations, with all their messages
_USAGE_ROWS = 5000


@dataclass(slots=True)
class Amount:
    """How much is stored about a user, or was exported or deleted."""

    conversations: int = 0
    messages: int = 0
    generations: int = 0


def erase(session: Queries, user_id: UUID) -> Amount:
    """Delete everything about a user, in batches that are committed one by one. Returns how much was deleted.

    If this is interrupted, it may be run again. It ends when a batch finds nothing more, so it also deletes
    what the user sends meanwhile.
    """
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
    return amount
