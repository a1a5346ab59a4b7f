"""The items of an answer while it is written: which of OpenAI's events begin, lengthen and end each."""

from __future__ import annotations

import abc
from typing import Any, ClassVar
from uuid import UUID

from chat_api.responses import items

Made = tuple[str, dict[str, Any]]


class Growing(abc.ABC):
    """An item of the output; `index` is its place there.

    A call also has its `place` among the calls, the `key` by which its pieces are known, and what its first
    `piece` says of it.
    """

    delta: ClassVar[str]
    part: ClassVar[dict[str, int]] = {}  # which part of the item is written: it has only one

    def __init__(
        self, of: UUID, index: int, place: int = 0, key: int = 0, piece: dict[str, Any] | None = None
    ) -> None:
        self.of = of
        self.index = index
        self.place = place
        self.key = key
        self.piece = piece or {}
        self._said: list[str] = []
        self._told: int | None = None  # how many pieces there were when its end was told
        self.where = {"item_id": self.whole()["id"], "output_index": index, **self.part}

    @property
    def said(self) -> str:
        """All that was said in it."""
        self._said = ["".join(self._said)]
        return self._said[0]

    @abc.abstractmethod
    def whole(self, status: str = "completed") -> items.Item:
        """The item with all that was said; `in_progress`: without."""

    @abc.abstractmethod
    def done(self, status: str) -> list[Made]:
        """The events that end its content."""

    def open(self) -> list[Made]:
        """The events that begin it."""
        item = self.whole("in_progress")
        return [("response.output_item.added", {"output_index": self.index, "item": item})]

    def add(self, said: str) -> list[Made]:
        """The event that adds to it. NUL is told as it is stored, see `said.Said`."""
        said = said.replace("\0", "\ufffd")
        self._said.append(said)
        self._told = None
        return [(self.delta, {**self.where, "delta": said})]

    def become(self, said: str) -> list[Made]:
        """Say this instead: it tells the rest, if what was said is its beginning."""
        before = self.said
        if said.startswith(before) and said != before:
            return self.add(said[len(before) :])
        if said != before:
            self._said, self._told = [said], None
        return []

    def close(self, status: str = "completed") -> list[Made]:
        """The events that end it; once, unless more was said since."""
        if self._told is not None:
            return []
        self._told = len(self._said)
        ended = ("response.output_item.done", {"output_index": self.index, "item": self.whole(status)})
        return [*self.done(status), ended]


class Text(Growing):
    """What the model says to the reader."""

    delta = "response.output_text.delta"
    part: ClassVar[dict[str, int]] = {"content_index": 0}

    def whole(self, status: str = "completed") -> items.Item:
        """See Growing."""
        return items.text(self.of, None if status == "in_progress" else self.said, status)

    def open(self) -> list[Made]:
        """See Growing."""
        part = {**self.where, "part": items.text_part("")}
        return [*super().open(), ("response.content_part.added", part)]

    def add(self, said: str) -> list[Made]:
        """See Growing."""
        return [(kind, {**event, "logprobs": []}) for kind, event in super().add(said)]

    def done(self, status: str) -> list[Made]:
        """See Growing."""
        return [
            ("response.output_text.done", {**self.where, "text": self.said, "logprobs": []}),
            ("response.content_part.done", {**self.where, "part": items.text_part(self.said)}),
        ]


class Thinking(Growing):
    """What the model thinks, as a summary with one part."""

    delta = "response.reasoning_summary_text.delta"
    part: ClassVar[dict[str, int]] = {"summary_index": 0}

    def whole(self, status: str = "completed") -> items.Item:
        """See Growing."""
        return items.thinking(self.of, None if status == "in_progress" else self.said)

    def open(self) -> list[Made]:
        """See Growing."""
        part = {**self.where, "part": items.summary_part("")}
        return [*super().open(), ("response.reasoning_summary_part.added", part)]

    def done(self, status: str) -> list[Made]:
        """See Growing."""
        return [
            ("response.reasoning_summary_text.done", {**self.where, "text": self.said}),
            ("response.reasoning_summary_part.done", {**self.where, "part": items.summary_part(self.said)}),
        ]


class Call(Growing):
    """A call of one of the caller's functions."""

    delta = "response.function_call_arguments.delta"

    def whole(self, status: str = "completed") -> items.Item:
        """See Growing."""
        name, call_id = self.piece.get("name") or "", self.piece.get("id") or ""
        arguments = "" if status == "in_progress" else self.said
        return items.call(self.of, self.place, {"id": call_id, "name": name, "arguments": arguments}, status)

    def done(self, status: str) -> list[Made]:
        """See Growing. Of arguments that were cut off, nothing says that they are whole."""
        if status != "completed":
            return []
        told = {**self.where, "name": self.piece.get("name") or "", "arguments": self.said}
        return [("response.function_call_arguments.done", told)]
