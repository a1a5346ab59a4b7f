"""A response: a generation, as OpenAI's Responses API tells of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from chat_api import errors
from chat_api.responses import ids, items

if TYPE_CHECKING:
    import asyncpg

Response = dict[str, Any]

# What a finish reason makes of a response; of any other, it failed.
STATUSES = {
    "stop": "completed",
    "tool_calls": "completed",
    "length": "incomplete",
    "content_filter": "incomplete",
    "stopped": "cancelled",
}
REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


def begun(row: asyncpg.Record) -> Response:
    """A response as it began, from a row of `responses.get`: the same on every worker, at any time."""
    options: dict[str, Any] = orjson.loads(row["options"] or "{}")
    asked: dict[str, Any] = options.get("response") or {}
    effort = {True: "medium", False: "none"}.get(options.get("thinking_mode", "unset"))
    return {
        "id": ids.response_id(row["conversation_id"], row["generation_id"]),
        "object": "response",
        "created_at": int(row["began"]),
        "status": "in_progress",
        "background": asked.get("background", False),
        "error": None,
        "incomplete_details": None,
        "instructions": options.get("instructions"),
        "max_output_tokens": options.get("max_tokens"),
        "metadata": asked.get("metadata") or {},
        "model": asked.get("model") or row["model_tag"] or "default",
        "output": [],
        "parallel_tool_calls": True,
        "previous_response_id": asked.get("previous_response_id"),
        "conversation": {"id": ids.conversation_id(row["conversation_id"])},
        "reasoning": {"effort": effort, "summary": "auto"},
        "store": True,
        "temperature": options.get("temperature"),
        "text": {"format": {"type": "text"}},
        "tool_choice": _their_choice(options.get("tool_choice") or "auto"),
        "tools": [_their_tool(each) for each in options.get("tools") or ()],
        "top_p": None,
        "truncation": "auto",
        "usage": None,
        "service_tier": "default",
    }


def began_conversation(row: asyncpg.Record) -> bool:
    """Whether a response made the conversation that it is in."""
    options: dict[str, Any] = orjson.loads(row["options"] or "{}")
    return bool((options.get("response") or {}).get("began_conversation"))


def now(row: asyncpg.Record) -> Response:
    """A response as it is by now."""
    response = begun(row)
    if row["status"] == "running":
        return response
    calls = None if row["tool_calls"] is None else orjson.loads(row["tool_calls"])
    status = "completed" if STATUSES.get(row["finish_reason"]) == "completed" else "incomplete"
    output = items.output(row["generation_id"], row["content"] or "", row["reasoning"], calls, status)
    failure = None
    if row["error_code"] is not None:
        failure = row["error_code"], errors.from_code(row["error_code"]).detail
    usage = None if row["usage"] is None else orjson.loads(row["usage"])
    ended = end(response, row["finish_reason"], output, failure, usage, row["token_count"])
    return {**ended, "completed_at": int(row["ended"])} if ended["status"] == "completed" else ended


def end(
    response: Response,
    finish_reason: str,
    output: list[items.Item],
    failure: tuple[str, str] | None,
    usage: Mapping[str, int | None] | None,
    token_count: int,
) -> Response:
    """A response that has ended. `failure`: the code and the sentence of what went wrong, if anything did."""
    status = STATUSES.get(finish_reason, "failed")
    counted = usage or {}
    read = counted.get("prompt_tokens") or 0
    written = counted.get("completion_tokens")
    written = token_count if written is None else written
    code, sentence = failure or (errors.ChatError.code, errors.ChatError.sentence)
    return {
        **response,
        "status": status,
        "error": _problem(code, sentence) if status == "failed" else None,
        "incomplete_details": {"reason": REASONS[finish_reason]} if status == "incomplete" else None,
        "output": output,
        "usage": {
            "input_tokens": read,
            "input_tokens_details": {
                "cached_tokens": counted.get("cached_tokens") or 0,
                "cache_write_tokens": 0,
            },
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": counted.get("reasoning_tokens") or 0},
            "total_tokens": read + written,
        },
    }


def _problem(code: str, sentence: str) -> dict[str, str | None]:
    """OpenAI has a closed list of codes: the service's own is the type."""
    known = "invalid_prompt" if code == errors.ConversationTooLong.code else "server_error"
    return {"code": known, "message": sentence, "param": None, "type": code}


def given(row: asyncpg.Record) -> list[items.Item]:
    """The items that a response answers, oldest first."""
    messages = orjson.loads(row["input"] or "[]")
    return list(items.of_messages(messages))


def conversation(of: UUID, began: float, metadata: str | None) -> dict[str, Any]:
    """A conversation for programs."""
    return {
        "id": ids.conversation_id(of),
        "object": "conversation",
        "created_at": int(began),
        "metadata": orjson.loads(metadata or "{}"),
    }


def _their_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    function: Mapping[str, Any] = tool["function"]
    known = {"description": None, "parameters": None, "strict": None}
    return {"type": "function", **known, **function}


def _their_choice(choice: str | Mapping[str, Any]) -> str | dict[str, Any]:
    return choice if isinstance(choice, str) else {"type": "function", "name": choice["function"]["name"]}
