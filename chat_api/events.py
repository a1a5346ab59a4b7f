"""The data of every event that readers see: docs/contract.md section 2."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from chat_api.errors import ChatError


# Each event is told by its first key, of which five bytes are enough: one on its way needs no second look.
KINDS = {
    b"gener": b"start",  # generation_id
    b"token": b"token",
    b"reset": b"reset",
    b"error": b"error",
    b'done"': b"done",
}


def kind(data: bytes) -> bytes:
    """What an event is: start, token, reset, error or done."""
    return KINDS[data[2:7]]


def dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON in no more memory than it needs: orjson's own result keeps the 4 KB it was made in."""
    return b"%b" % orjson.dumps(value)


def start(generation_id: UUID, conversation_id: UUID, user_message_id: UUID) -> bytes:
    """The first event, number 0: what this answer is and what it answers."""
    return dump(
        {
            "generation_id": str(generation_id),
            "conversation_id": str(conversation_id),
            "user_message_id": str(user_message_id),
        }
    )


def token(text: str, fields: Mapping[str, Any]) -> bytes:
    """One chunk of the answer, with whatever else the model server sent along."""
    return dump({"token": text, **fields})


def error(problem: ChatError) -> bytes:
    """Why the answer ends here; `done` follows."""
    return dump({"error": problem.code, "detail": problem.detail})


def reset(content: str) -> bytes:
    """The whole text so far: readers replace what they show."""
    return dump({"reset": True, "content": content})


def done(message_id: UUID | None, finish_reason: str, token_count: int, inference_time_ms: int) -> bytes:
    """The last event: the answer is stored as `message_id` (null: there was no text)."""
    return dump(
        {
            "done": True,
            "message_id": None if message_id is None else str(message_id),
            "finish_reason": finish_reason,
            "token_count": token_count,
            "inference_time_ms": inference_time_ms,
        }
    )
