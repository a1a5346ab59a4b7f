"""What the model has said so far: its text, its thinking, and its tool calls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from chat_api.inference import ToolCall

if TYPE_CHECKING:
    import asyncpg

    from chat_api.inference import CallPiece


@dataclass(frozen=True, slots=True)
class Words:
    """All that was said in an answer, as it is stored: "" and () where there is none.

    A call whose answer broke off may have only a part of its arguments.
    """

    content: str = ""
    reasoning: str = ""
    calls: tuple[ToolCall, ...] = ()

    @classmethod
    def stored(cls, row: asyncpg.Record) -> Words:
        """What a row of `generations.finish` says is stored."""
        calls = orjson.loads(row["tool_calls"] or "[]")
        return cls(
            row["content"] or "",
            row["reasoning"] or "",
            tuple(map(ToolCall.stored, calls)),
        )

    @classmethod
    def begun(cls, text: str) -> Words:
        """What a row of `generations.start` says of the answer that goes on."""
        said = orjson.loads(text)
        return cls(said["content"] or "", said["reasoning"] or "")

    def __bool__(self) -> bool:
        return bool(self.content or self.reasoning or self.calls)

    def since(self, begun: Words) -> Words:
        """What was added to `begun`, with which these words begin."""
        return Words(self.content[len(begun.content) :], self.reasoning[len(begun.reasoning) :], self.calls)

    @property
    def is_only_thinking(self) -> bool:
        """Whether the model thought, and said nothing else."""
        return bool(self.reasoning) and not self.content and not self.calls

    def continues(self, earlier: Words) -> bool:
        """Whether these are the same words, or more of each kind."""
        return (
            self.content.startswith(earlier.content)
            and self.reasoning.startswith(earlier.reasoning)
            and len(self.calls) >= len(earlier.calls)
            and all(
                more.startswith(less)
                for call, begun in zip(self.calls, earlier.calls, strict=False)
                for more, less in zip(call, begun, strict=True)
            )
        )

    def tool_calls(self) -> list[dict[str, Any]] | None:
        """The calls as readers get them, None without any."""
        calls = [{"id": call.call_id, "name": call.name, "arguments": call.arguments} for call in self.calls]
        return calls or None

    def columns(self) -> dict[str, str | None]:
        """The same as parameters of the statements that store them."""
        calls = self.tool_calls()
        return {
            "content": self.content,
            "reasoning": self.reasoning or None,
            "tool_calls": None if calls is None else orjson.dumps(calls).decode(),
        }


@dataclass(slots=True)
class _Growing:
    """A tool call whose arguments come in pieces."""

    call_id: str = ""
    name: str = ""
    arguments: bytearray = field(default_factory=bytearray)


class Said:
    """Kept as UTF-8: many short strings would take ten times as much."""

    __slots__ = ("_calls", "_reasoning", "_text", "characters")

    def __init__(self) -> None:
        self._text = bytearray()
        self._reasoning = bytearray()
        self._calls: dict[int, _Growing] = {}
        self.characters = 0  # of all that was said

    def words(self) -> Words:
        """All of it. NUL, which PostgreSQL can't store, becomes U+FFFD."""
        return Words(
            _storable(self._text.decode()),
            _storable(self._reasoning.decode()),
            tuple(
                ToolCall(_storable(call.call_id), _storable(call.name), _storable(call.arguments.decode()))
                for call in self._calls.values()
            ),
        )

    def text(self, text: str) -> None:
        """Add a piece of text."""
        self._text += text.encode()
        self.characters += len(text)

    def reasoning(self, text: str) -> None:
        """Add a piece of thinking."""
        self._reasoning += text.encode()
        self.characters += len(text)

    def tool_call(self, piece: CallPiece) -> None:
        """Add a piece of a tool call."""
        call = self._calls.setdefault(piece.index, _Growing())
        call.call_id = call.call_id or piece.call_id or ""
        call.name = call.name or piece.name or ""
        call.arguments += piece.arguments.encode()
        self.characters += len(piece.arguments) + len(piece.call_id or "") + len(piece.name or "")


def _storable(text: str) -> str:
    return text.replace("\0", "\ufffd")
