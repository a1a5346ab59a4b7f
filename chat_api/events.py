"""The data of every event that readers see: docs/contract.md section 2."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

if TYPE_CHECKING:
    from chat_api.errors import ChatError


# What is counted of an answer, in tokens.
USAGE = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
# The first key names an event's kind, and its first bytes are enough to look it up.
KINDS = {
    b'token"': b"token",
    b'done":': b"done",
    b'error"': b"error",
    b'reset"': b"reset",
    b"reason": b"reasoning",
    b"tool_c": b"tool_call",
    b"genera": b"start",
}
# Of those whose first bytes other words have too.
_WHOLE = {b"start": b'{"generation_id":', b"reasoning": b'{"reasoning":', b"tool_call": b'{"tool_call":'}
_FIRST_KEY = re.compile(rb'\{"(\w+)"')
# Names by which readers know the service's own events, and types of its frames.
_OWN_NAMES = frozenset({"token", "done", "error", "reset", "reasoning", "tool_call", "generation_id"})
_OWN_TYPES = frozenset({"start", "ready", "ack"})


def is_forged(event: Mapping[str, Any]) -> bool:
    """Whether readers could take an event of a model server's own, which isn't empty, for the service's."""
    return not _OWN_NAMES.isdisjoint(event) or next(iter(event)) in _OWN_TYPES


def kind(data: bytes) -> bytes:
    """The kind of an event: start, token, reasoning, tool_call, reset, error or done; else its first key.

    An event of an unknown kind may come from a later release, so it is passed on and isn't an error.
    """
    known = KINDS.get(data[2:8])
    if known is not None and ((whole := _WHOLE.get(known)) is None or data.startswith(whole)):
        return known
    named = _FIRST_KEY.match(data)
    return named[1] if named else b"unknown"


def dump(value: Mapping[str, Any]) -> bytes:
    """Compact JSON in no more memory than it needs. orjson's own result keeps its 4 KB buffer."""
    return b"%b" % orjson.dumps(value)


def start(
    generation_id: UUID,
    conversation_id: UUID,
    user_message_id: UUID,
    history: Mapping[str, int] | None = None,
) -> bytes:
    """The first event, number 0: which answer this is, and which question it answers.

    `history`: how many messages the model is sent, and how many didn't fit; None where that isn't known.
    """
    ids = {
        "generation_id": str(generation_id),
        "conversation_id": str(conversation_id),
        "user_message_id": str(user_message_id),
    }
    return dump(ids if history is None else {**ids, "history": history})


def token(text: str, fields: Mapping[str, Any]) -> bytes:
    """One chunk of the answer, with whatever else the model server sent along."""
    return dump({"token": text, **fields})


def reasoning(text: str, fields: Mapping[str, Any]) -> bytes:
    """One chunk of the model's thinking, with whatever else the model server sent along."""
    return dump({"reasoning": text, **fields})


def tool_call(index: int, call_id: str | None, name: str | None, arguments: str) -> bytes:
    """A piece of a tool call: the id and name come with the first of an index, the arguments are appended."""
    call: dict[str, Any] = {"index": index}
    if call_id is not None:
        call["id"] = call_id
    if name is not None:
        call["name"] = name
    return dump({"tool_call": {**call, "arguments": arguments}})


def error(problem: ChatError) -> bytes:
    """Why the answer ends here; `done` follows. `retry_after` is there if the model server named a time."""
    told = {"retry_after": problem.retry_after} if "retry_after" in vars(problem) else {}
    return dump({"error": problem.code, "detail": problem.detail, **told})


def read_failure(data: Iterable[bytes]) -> dict[str, Any] | None:
    """What the last `error` event among these says; None if there is none."""
    failures = [each for each in data if kind(each) == b"error"]
    return orjson.loads(failures[-1]) if failures else None


def reset(content: str, reasoning: str | None = None, tool_calls: Sequence[Any] | None = None) -> bytes:
    """All that was said so far: readers replace what they show. None: no thinking, no tool calls."""
    return dump({"reset": True, "content": content, "reasoning": reasoning, "tool_calls": tool_calls})


def done(
    message_id: UUID | None,
    finish_reason: str,
    token_count: int,
    inference_time_ms: int,
    usage: Mapping[str, int | None] | None = None,
) -> bytes:
    """The last event: the answer is stored as `message_id` (null: nothing was said).

    `usage`: what the model server counted, by the words of USAGE; what it lacks is told as null.
    """
    return dump(
        {
            "done": True,
            "message_id": None if message_id is None else str(message_id),
            "finish_reason": finish_reason,
            "token_count": token_count,
            "inference_time_ms": inference_time_ms,
            "usage": {each: (usage or {}).get(each) for each in USAGE},
        }
    )
