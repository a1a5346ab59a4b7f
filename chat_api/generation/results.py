"""The results of tool calls, on their way into the database and to the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from chat_api.bodies import AnswerRequest, ToolResults
from chat_api.generation.asking import kind_of
from chat_api.generation.endings import Question

if TYPE_CHECKING:
    import asyncpg


class Results:
    """What came with a request; nothing in requests of other kinds.

    `result_ids` is what `generations.start` returns: JSON, the call's id and the stored message's of each
    result, in the order of the calls. None if this request stored none.
    """

    def __init__(self, asked: AnswerRequest) -> None:
        self._kind = kind_of(asked)
        results = asked.results if isinstance(asked, ToolResults) else []
        self._contents = {each.tool_call_id: each.content for each in results}

    @property
    def given(self) -> str | None:
        """As `generations.start` takes them: JSON, or None."""
        return self._json([{"tool_call_id": each, "content": text} for each, text in self._contents.items()])

    def in_order(self, result_ids: str | None) -> list[tuple[str, str]]:
        """The call's id and what it gave."""
        return [(call_id, self._contents[call_id]) for call_id, _ in orjson.loads(result_ids or "[]")]

    def question(self, row: asyncpg.Record, content: str, idempotency_key: str | None) -> Question:
        """What an answer is to. `row` is that of `generations.start`, `content` the question's text."""
        results = [
            {"id": message_id, "tool_call_id": call_id, "content": self._contents[call_id]}
            for call_id, message_id in orjson.loads(row["result_ids"] or "[]")
        ]
        return Question(
            id=row["user_message_id"],
            kind=self._kind,
            content=content,
            idempotency_key=idempotency_key,
            after_id=row["after_id"],
            call_message_id=row["call_message_id"],
            results=self._json(results),
            billed=row["billed"],
        )

    @staticmethod
    def _json(rows: list[dict[str, str]]) -> str | None:
        return orjson.dumps(rows).decode() if rows else None
