"""The service's events as OpenAI's: a pure function of a log from its first event on.

So any worker gives the same events the same numbers, and `starting_after` needs nothing but the log.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

import orjson

from chat_api import errors, events
from chat_api.responses.growing import Call, Growing, Made, Text, Thinking
from chat_api.responses.response import STATUSES, Response, end

BEGINNINGS = ("response.created", "response.in_progress")
ENDS = {"completed": "response.completed", "failed": "response.failed"}
AT_AN_END = "response.incomplete"  # also of a response that was cancelled: OpenAI has no event for that


class Translation:
    """Translates one log for one reader: the events with numbers above `starting_after`.

    `response` is the response as it began. A reader may have seen more than was kept of an answer whose
    worker died, and a log that is told anew, after the replay window, is shorter than what it saw. Then
    numbers don't say what the reader has: it gets the end, which holds the whole, under new numbers.
    """

    def __init__(self, of: UUID, response: Response, starting_after: int = -1) -> None:
        self._of = of
        self._response = response
        self._after = starting_after
        self._next = 0
        self._items: list[Growing] = []
        self._failure: tuple[str, str] | None = None
        self._is_told_anew = False

    def __call__(self, data: Sequence[bytes]) -> bytes:
        """The next events of the log, as server-sent events."""
        return b"".join(self._frame(*made) for each in data for made in self._translate(each))

    def _frame(self, kind: str, event: dict[str, Any]) -> bytes:
        number = self._next
        self._next += 1
        if number <= self._after:
            return b""
        told = orjson.dumps({"type": kind, "sequence_number": number, **event})
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), told)

    def _translate(self, data: bytes) -> Iterable[Made]:
        kind = events.kind(data)
        match kind:
            case b"start":
                return [(each, {"response": self._response}) for each in BEGINNINGS]
            case b"token" | b"reasoning":
                said = orjson.loads(data)[kind.decode()]
                return self._say(Text if kind == b"token" else Thinking, said)
            case b"tool_call":
                return self._call(orjson.loads(data)["tool_call"])
            case b"error":
                told = orjson.loads(data)
                self._failure = told["error"], told["detail"]
                self._is_told_anew |= told["error"] == errors.WorkerLost.code
            case b"reset":
                return self._reset(orjson.loads(data))
            case b"done":
                return self._end(orjson.loads(data))
        return ()  # the model server's own, or of a later release

    def _say(self, kind: type[Text | Thinking], said: str) -> list[Made]:
        item, made = self._item(kind)
        return [*made, *item.add(said)] if said else made

    def _call(self, piece: dict[str, Any]) -> list[Made]:
        item, made = self._item(Call, piece["index"], piece)
        return [*made, *item.add(piece["arguments"])] if piece["arguments"] else made

    def _item(
        self, kind: type[Growing], key: int = 0, piece: dict[str, Any] | None = None
    ) -> tuple[Growing, list[Made]]:
        """The item of this kind and key. If it is new, its beginning; thinking that was before it is over."""
        alike = [each for each in self._items if isinstance(each, kind)]
        for item in alike:
            if item.key == key:
                return item, []
        over = [made for each in self._items if isinstance(each, Thinking) for made in each.close()]
        item = kind(self._of, len(self._items), len(alike), key, piece)
        self._items.append(item)
        return item, [*over, *item.open()]

    def _reset(self, told: dict[str, Any]) -> list[Made]:
        """All that was said, in place of what was said so far: what is only longer is told as the rest."""
        self._is_told_anew = True
        made: list[Made] = []
        for kind, said in ((Thinking, told["reasoning"]), (Text, told["content"])):
            if said or any(isinstance(each, kind) for each in self._items):
                item, opened = self._item(kind)
                made += [*opened, *item.become(said or "")]
        calls = [each for each in self._items if isinstance(each, Call)]
        stored = told["tool_calls"] or []
        for place, call in enumerate(stored):
            item, opened = (calls[place], []) if place < len(calls) else self._item(Call, -1 - place, call)
            made += [*opened, *item.become(call["arguments"])]
        self._items = [each for each in self._items if each not in calls[len(stored) :]]
        return made

    def _end(self, told: dict[str, Any]) -> list[Made]:
        if self._is_told_anew:
            self._next = max(self._next, self._after + 1)
        is_whole = STATUSES.get(told["finish_reason"]) == "completed"
        status = "completed" if is_whole else "incomplete"
        closed = [made for each in self._items for made in each.close(status)]
        response = end(
            self._response,
            told["finish_reason"],
            [item.whole(status) for item in self._items if item.said or isinstance(item, Call)],
            self._failure,
            told["usage"],
            told["token_count"],
        )
        return [*closed, (ENDS.get(response["status"], AT_AN_END), {"response": response})]
