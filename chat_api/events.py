"""The data of every event that readers see: docs/contract.md section 2."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from chat_api.errors import ChatError


# The first key names an event's kind, and its first bytes are enough to look it up.
KINDS = {
    b'token"': b"token",
    b'done":': b"done",
    b'error"': b"error",
    b'reset"': b"reset",
    b"genera": b"start",
}
_START = b'{"generation_id":'
_FIRST_KEY = re.compile(rb'\{"(\w+)"')


def kind(data: bytes) -> bytes:
    """The kind of an event: start, token, reset, error or done; of any other, its first key.

    A later release may have written it, so an unknown kind is passed on and isn't an error.
    """
    known = KINDS.get(data[2:8])
    if known is not None and (known != b"start" or data.startswith(_START)):
        return known
    named = _FIRST_KEY.match(data)
    return named[1] if named else b"unknown"


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
