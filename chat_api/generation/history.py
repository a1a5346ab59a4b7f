"""Which messages of a conversation the model is sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import orjson

from chat_api.inference import Room


class Message(NamedTuple):
    """A stored message; `position` is None for a question or results that are stored only now.

    `reasoning` is there only for models that get their thinking back.
    """

    role: str
    content: str
    tool_calls: list[dict[str, str]] | None
    tool_call_id: str | None
    position: int | None
    reasoning: str | None = None

    @property
    def characters(self) -> int:
        """What it takes of the model's room."""
        calls = len(orjson.dumps(self.tool_calls)) if self.tool_calls else 0
        return len(self.content) + len(self.reasoning or "") + calls


@dataclass(frozen=True, slots=True)
class History:
    """What is sent, oldest first, and how many earlier messages are left out because they don't fit."""

    messages: Sequence[Message]
    left_out: int

    @property
    def counts(self) -> dict[str, int]:
        """What readers are told of it."""
        return {"sent": len(self.messages), "left_out": self.left_out}

    @property
    def has_one_question(self) -> bool:
        """Whether the conversation has no other question."""
        return not self.left_out and [each.role for each in self.messages].count("user") == 1

    @property
    def question(self) -> str:
        """The newest question's text."""
        return next(each.content for each in reversed(self.messages) if each.role == "user")


def read(
    text: str,
    unread: int,
    room: Room,
    max_messages: int,
    results: Sequence[tuple[str, str]] = (),
    *,
    with_reasoning: bool = False,
) -> History:
    """Read what `generations.start` returns, a JSON list, newest first, and cut it to the model's room.

    `unread`: how many earlier messages it didn't return. `results`: what came with this request, oldest
    first, the call's id and what it gave. The newest question is kept however long it is, with what belongs
    to it.
    """
    stored: list[list[Any]] = orjson.loads(text)
    newest_first = [Message("tool", content, None, call_id, None) for call_id, content in reversed(results)]
    newest_first += [Message(*(each if with_reasoning else each[:5])) for each in stored]
    kept = _fitting(newest_first, max_messages, room.characters)
    is_cut = unread > 0 or kept < len(newest_first)
    if is_cut and room.in_steps:
        kept = _step(newest_first, kept, _fitting(newest_first, max_messages // 2, room.characters // 2))
    messages = _from_question(newest_first[:kept][::-1])
    return History(messages, unread + len(newest_first) - len(messages) if is_cut else 0)


def _fitting(newest_first: Sequence[Message], max_messages: int, max_characters: int) -> int:
    """How many of the newest messages fit; at least those back to the newest question."""
    characters = 0
    has_question = False
    for place, message in enumerate(newest_first):
        characters += message.characters
        if has_question and (place >= max_messages or characters > max_characters):
            return place
        has_question = has_question or message.role == "user"
    return len(newest_first)


def _step(newest_first: Sequence[Message], kept: int, half: int) -> int:
    """How many of the newest messages are sent so that the first of them changes rarely.

    Servers keep what they computed for a prompt's beginning as long as the beginning stays the same. So the
    history begins at the roundest of the questions that fit but wouldn't fit into half the room. That one
    stays the roundest until it doesn't fit any more, or a rounder one is old enough: nothing has to be
    remembered from one answer to the next.
    """
    questions = [place for place, each in enumerate(newest_first) if each.role == "user"]
    before = dict(pairwise(questions))
    old = [place for place in questions if half <= place < kept]
    if not old:
        return kept

    def roundness(place: int) -> int:
        """The highest power of two that has a multiple between the question before and this one."""
        position, last = newest_first[place].position, before.get(place)
        if position is None or last is None:
            return 0
        return (position ^ (newest_first[last].position or 0)).bit_length()

    return 1 + max(old, key=lambda place: (roundness(place), place))


def _from_question(messages: Sequence[Message]) -> list[Message]:
    """Without the answers at the beginning: models want the user to begin."""
    first = next((place for place, each in enumerate(messages) if each.role == "user"), len(messages))
    return [*(each for each in messages[:first] if each.role == "system"), *messages[first:]]
