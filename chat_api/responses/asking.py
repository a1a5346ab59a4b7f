"""A request for a response, as the service's own request for an answer."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from chat_api.bodies import MessageCreate, ToolResult, ToolResults
from chat_api.bodies.conversations import MAX_INSTRUCTIONS
from chat_api.responses.inputs import Turn, refuse
from chat_api.responses.options import FunctionTool, NamedTool
from chat_api.responses.requests import ResponseCreate


class Asked(MessageCreate):
    """A message with what only programs give: see `generation.prompt.OPTIONS`."""

    instructions: str | None = None
    response: dict[str, Any] | None = None


class AskedWithResults(ToolResults):
    """The same with results of calls."""

    instructions: str | None = None
    response: dict[str, Any] | None = None


def ask(
    wanted: ResponseCreate, turn: Turn, parent_id: UUID | None, *, begins: bool
) -> Asked | AskedWithResults:
    """The request. `parent_id`: the message that a question comes after; None: the last one.

    `begins`: the conversation is new, and has the turn's earlier messages. Raises Invalid.
    """
    effort = None if wanted.reasoning is None else wanted.reasoning.effort
    given: dict[str, Any] = {
        "temperature": wanted.temperature,
        "max_tokens": wanted.max_output_tokens,
        "stream": wanted.stream,
        "when_running": "reject",
        "thinking_mode": None if effort is None else effort != "none",
        "tools": [_our_tool(each) for each in wanted.tools or ()],
        "tool_choice": _our_choice(wanted.tool_choice),
        "instructions": _instructions(wanted, [] if begins else turn.instructions),
        "response": {
            "model": wanted.model,
            "metadata": wanted.metadata,
            "previous_response_id": wanted.previous_response_id,
            "background": wanted.background,
            "began_conversation": begins,
        },
    }
    if turn.results:
        ids = [each["tool_call_id"] for each in turn.results]
        if len(set(ids)) < len(ids):
            refuse(("input",), "must have one output for each call")
        results = [
            ToolResult(tool_call_id=each["tool_call_id"], content=each["content"]) for each in turn.results
        ]
        return AskedWithResults(results=results, **given)
    if parent_id is not None:
        given["parent_id"] = parent_id
    return Asked(content=turn.question, **given)


def _instructions(wanted: ResponseCreate, more: list[str]) -> str | None:
    told = "\n\n".join(each for each in (wanted.instructions, *more) if each)
    if len(told) > MAX_INSTRUCTIONS:
        refuse(("instructions",), f"must have at most {MAX_INSTRUCTIONS} characters, with those in input")
    return told or None


def _our_tool(tool: FunctionTool) -> dict[str, Any]:
    function = tool.model_dump(exclude={"type"}, exclude_none=True)
    return {"type": "function", "function": function}


def _our_choice(choice: str | NamedTool | None) -> Any:
    if isinstance(choice, NamedTool):
        return {"type": "function", "function": {"name": choice.name}}
    return choice
