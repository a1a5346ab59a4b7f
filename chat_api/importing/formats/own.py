"""This service's own exports: JSON Lines, each a row; a conversation's messages stand behind it.

Records of answers and what was used aren't taken: they are the operator's (`chat-api user import`).
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from chat_api.bodies.conversations import ConversationOptions
from chat_api.importing.conversation import EMPTY, NOBODY, Conversation, Message, Node
from chat_api.importing.limits import MOST_INSTRUCTIONS, MOST_ITEM_BYTES, MOST_MODEL, UnreadableError
from chat_api.importing.values import date_of, dict_of, key_of, list_of, short, storable, text_of, title_of

SOURCE = "own"
FORMAT = 3
"""The newest that is read: chat_api/exports/lines.py writes it."""
KINDS = ("export", "conversation", "message", "queued_message", "generation", "usage", "end")
_RECORDS = ("generation", "usage")
_ROLES = ("user", "assistant", "system", "tool")
_REASONS = ("stop", "length", "tool_calls", "content_filter", "stopped", "interrupted", "error")
_COUNTS = ("prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens")
_MOST_COUNT = 2**31 - 1
_MOST_PAIRS, _MOST_PAIR_KEY, _MOST_PAIR_VALUE = 16, 64, 512  # as OpenAI's API has it
_WAITING = "Messages that waited for their turn were left out"
_ELSEWHERE = "Messages of another conversation were left out"


class Lines:
    """Takes the lines of an export, and gives its conversations."""

    def __init__(self) -> None:
        self._open: Conversation | None = None
        self._size = 0
        self._has_end = False  # and hasn't come yet
        self.records = 0
        """How many records of answers and rows of usage were left out."""

    def take(self, line: dict[str, Any], size: int, now: datetime) -> Conversation | None:
        """The conversation that a line ends, if any. `size`: of the line, in bytes."""
        kind = line["type"]
        if kind == "conversation":
            ended, self._open = self._open, _conversation(line, now)
            self._size = size
            return ended
        if kind == "export":
            self._has_end = True  # from format 3 on
            if not isinstance(line.get("format"), int) or line["format"] > FORMAT:
                raise UnreadableError(f"It is of a later release: this one reads format {FORMAT} at most.")
        if kind == "end":
            self._has_end = False
            return self.finish()
        if kind in _RECORDS:
            self.records += 1
        elif kind in ("message", "queued_message") and self._open is not None:
            self._size += size
            if self._size <= MOST_ITEM_BYTES:
                _add(self._open, line, now)
            else:
                self._open.notes["Messages beyond what a conversation may have were left out"] += 1
        return None

    def finish(self) -> Conversation | None:
        """The last conversation.

        Raises:
            UnreadableError: the file was cut, so that messages of it may be missing.
        """
        ended, self._open = self._open, None
        if self._has_end:
            title = f" of “{ended.title}”" if ended is not None else ""
            raise UnreadableError(
                f"The file ends in the middle{title}: its last line is missing. Export it again."
            )
        return ended

    def drop(self) -> Conversation | None:
        """Forget the conversation that isn't whole, because the file was cut or a line can't be read."""
        ended, self._open = self._open, None
        return ended


def is_line(item: dict[str, Any]) -> bool:
    """Whether this is a line of an export of this service's."""
    return item.get("type") in KINDS


def _conversation(line: dict[str, Any], now: datetime) -> Conversation:
    notes: Counter[str] = Counter()
    try:
        options = ConversationOptions.model_validate(line.get("options")) if line.get("options") else None
    except ValidationError:
        options = None
        notes["Settings that aren't valid were left out"] += 1
    pairs = dict_of(line.get("metadata"))
    is_fit = len(pairs) <= _MOST_PAIRS and all(
        isinstance(value, str) and len(key) <= _MOST_PAIR_KEY and len(value) <= _MOST_PAIR_VALUE
        for key, value in pairs.items()
    )
    told = line.get("instructions")
    return Conversation(
        SOURCE,
        key_of(line.get("id")) or "",
        title_of(line.get("title"), ""),
        [],
        created_at=date_of(line.get("created_at"), now),
        updated_at=date_of(line.get("updated_at"), now),
        model_tag=short(line.get("model_tag"), MOST_MODEL),
        is_favorited=line.get("is_favorited") is True,
        instructions=text_of(told, notes)[:MOST_INSTRUCTIONS] if isinstance(told, str) else None,
        options=options.model_dump(exclude_none=True) if options is not None else None,
        metadata={storable(key): storable(value) for key, value in pairs.items()}
        if pairs and is_fit
        else None,
        notes=notes,
    )


def _add(conversation: Conversation, line: dict[str, Any], now: datetime) -> None:
    if line["type"] == "queued_message":
        conversation.notes[_WAITING] += 1
        return
    if key_of(line.get("conversation_id")) != conversation.external_id:
        conversation.notes[_ELSEWHERE] += 1
        return
    message = _message(line, conversation.notes, now)
    key = key_of(line.get("id")) or f"#{len(conversation.nodes)}"
    if line.get("is_active") is not False and message is not None:
        conversation.current = key
    conversation.nodes.append(Node(key, key_of(line.get("parent_id")), message))


def _message(line: dict[str, Any], notes: Counter[str], now: datetime) -> Message | None:
    role = line.get("role")
    if role not in _ROLES:
        notes[NOBODY] += 1
        return None
    is_answer = role == "assistant"
    text = text_of(line.get("content"), notes)
    reasoning = text_of(line.get("reasoning"), notes) or None
    calls = [call for call in map(_call, list_of(line.get("tool_calls"))) if call is not None]
    if not text and not reasoning and not calls and role != "tool":
        notes[EMPTY] += 1
        return None
    usage = dict_of(line.get("usage"))
    answered = line.get("tool_call_id")
    if role == "tool" and not isinstance(answered, str):
        notes[NOBODY] += 1
        return None
    reason = line.get("finish_reason")
    if reason == "tool_calls" and not calls:
        reason = "stop"
    more = {
        "token_count": _count(line.get("token_count")),
        "inference_time_ms": _count(line.get("inference_time_ms")),
        "tool_calls": calls or None,
        "tool_call_id": storable(answered) if isinstance(answered, str) else None,
        "usage": {name: _count(usage.get(name)) for name in _COUNTS} if usage else None,
        "is_refused": True if line.get("is_refused") is True else None,
    }
    return Message(
        role,
        text,
        reasoning,
        short(line.get("model_tag"), MOST_MODEL),
        date_of(line.get("created_at"), now),
        reason if is_answer and reason in _REASONS else None,
        {name: value for name, value in more.items() if value is not None},
    )


def _call(given: Any) -> dict[str, str] | None:
    call = dict_of(given)
    fields = {name: call.get(name) for name in ("id", "name", "arguments")}
    if not all(isinstance(value, str) for value in fields.values()):
        return None
    return {name: storable(str(value)) for name, value in fields.items()}


def _count(value: Any) -> int | None:
    is_one = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_COUNT
    return value if is_one else None
