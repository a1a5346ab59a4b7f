"""What was said, as OpenAI's items: thinking, text and calls of an answer, questions, results of calls."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

Item = dict[str, Any]


def output(
    of: UUID,
    content: str,
    reasoning: str | None,
    calls: Sequence[Mapping[str, str]] | None,
    status: str = "completed",
) -> list[Item]:
    """The items of an answer; `of`: the generation's or the message's id, from which theirs are made."""
    items = [thinking(of, reasoning)] if reasoning else []
    if content:
        items.append(text(of, content, status))
    return items + [call(of, place, each, status) for place, each in enumerate(calls or ())]


def thinking(of: UUID, said: str | None) -> Item:
    """What the model says of its thinking; None: nothing so far."""
    return {"id": f"rs_{of.hex}", "type": "reasoning", "summary": [summary_part(said)] if said else []}


def text(of: UUID, said: str | None, status: str = "completed") -> Item:
    """The text of an answer; None: none so far."""
    return {
        "id": f"msg_{of.hex}",
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": [] if said is None else [text_part(said)],
    }


def call(of: UUID, place: int, made: Mapping[str, str], status: str = "completed") -> Item:
    """A call of a function; `made`: its `id`, `name` and `arguments`."""
    return {
        "id": f"fc_{of.hex}_{place}",
        "type": "function_call",
        "status": status,
        "call_id": made["id"],
        "name": made["name"],
        "arguments": made["arguments"],
    }


def text_part(said: str) -> Item:
    """A piece of an answer's content."""
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def summary_part(said: str) -> Item:
    """A piece of thinking."""
    return {"type": "summary_text", "text": said}


def of_message(message: Mapping[str, Any]) -> list[Item]:
    """The items of a stored message: its `id`, `role`, `content`, …, as `responses.items` returns it."""
    of = UUID(message["id"])
    if message["role"] == "assistant":
        is_whole = message["finish_reason"] in (None, "stop", "tool_calls")
        status = "completed" if is_whole else "incomplete"
        return output(of, message["content"], message["reasoning"], message["tool_calls"], status)
    if message["role"] == "tool":
        return [
            {
                "id": f"fco_{of.hex}",
                "type": "function_call_output",
                "status": "completed",
                "call_id": message["tool_call_id"] or "",
                "output": message["content"],
            }
        ]
    return [
        {
            "id": f"msg_{of.hex}",
            "type": "message",
            "status": "completed",
            "role": message["role"],
            "content": [{"type": "input_text", "text": message["content"]}],
        }
    ]


def of_messages(messages: Sequence[Mapping[str, Any]]) -> Iterator[Item]:
    """The items of messages, in their order."""
    for message in messages:
        yield from of_message(message)


def listed(data: Sequence[Item], *, has_more: bool) -> dict[str, Any]:
    """A page of a list."""
    return {
        "object": "list",
        "data": list(data),
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": has_more,
    }
