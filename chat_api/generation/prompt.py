"""From what was said to what the model is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import orjson

from chat_api import errors
from chat_api.bodies import AnswerRequest
from chat_api.bodies.tools import as_json
from chat_api.generation.history import History, Message
from chat_api.generation.said import Words
from chat_api.inference import Options, Prompt, ToolCall, Turn
from chat_api.settings import Settings

NOT_RUN = "This tool was not run."  # told to the model of a call that nobody answered
# What the model is told, or how it is called. A regeneration that gives nothing else repeats the last four.
OPTIONS = (
    "temperature",
    "max_tokens",
    "top_k",
    "thinking_mode",
    "force_web_search",
    "tools",
    "tool_choice",
)


def build(
    history: History,
    model_tag: str,
    asked: AnswerRequest,
    settings: Settings,
    options: str | None = None,
    begun: Words | None = None,
) -> Prompt:
    """The prompt for `history`.

    `options` is what is in force, as `generations.start` tells it, see `in_force`. `begun`: the answer that
    is to go on; `history` ends with it.

    Model servers want the user to begin and roles to alternate. What an answer that failed or was cut off by
    the budget leaves behind is repaired: adjacent messages of one role are merged, and leading answers are
    dropped. So are results without a call, which model servers refuse, and calls whose arguments were cut
    off. A call without a result gets one that says so. Only `openai` has calls. System messages, which an
    adopted database may hold, join the instructions.
    """
    has_tools = settings.inference_protocol == "openai"
    chosen = in_force(options)
    thinking_mode: bool | None = chosen.get("thinking_mode")
    instructions = (
        chosen.get("instructions")
        or (thinking_mode and settings.system_prompt_thinking)
        or settings.system_prompt
    )
    system = [instructions] if instructions else []
    turns: list[Turn] = []
    open_calls: list[str] = []
    for role, content, called, call_id, _ in _before(history, begun):
        if role == "system":
            system.append(content)
        elif role == "tool":
            if call_id is not None and call_id in open_calls:
                open_calls.remove(call_id)
                turns.append(Turn(role, content, tool_call_id=call_id))
        elif turns or role == "user":
            _close(turns, open_calls)
            calls = _calls(called) if has_tools else ()
            open_calls = [call.call_id for call in calls]
            if content or calls:
                _add(turns, Turn(role, content, calls))
    _close(turns, open_calls)
    if begun is not None and begun.content:
        _add(turns, Turn("assistant", begun.content))
    return Prompt(
        "\n\n".join(system),
        turns,
        model_tag,
        limits(asked, settings, options),
        tools=_text(chosen.get("tools")),
        tool_choice=_text(chosen.get("tool_choice")),
        thinking_mode=thinking_mode,
        force_web_search=chosen.get("force_web_search", False),
        goes_on=begun is not None and bool(begun.content),
    )


def in_force(options: str | None) -> dict[str, Any]:
    """What an answer is asked with, by OPTIONS and `instructions`: the request comes before the conversation.

    `options` is JSON text, as `generations.start` returns it, with `instructions` and `options` of the
    conversation under the name `conversation`.
    """
    chosen: dict[str, Any] = orjson.loads(options) if options else {}
    conversation = chosen.pop("conversation", None) or {}
    return {
        **(conversation.get("options") or {}),
        "instructions": conversation.get("instructions"),
        **chosen,
    }


def limits(asked: AnswerRequest, settings: Settings, options: str | None) -> Options:
    """How to answer: by the request, or else by what is in force, or else by the settings."""
    chosen = {**in_force(options), **{name: value for name, value in asked if value is not None}}
    return Options(
        temperature=chosen.get("temperature", settings.default_temperature),
        max_tokens=chosen.get("max_tokens", settings.default_max_tokens),
        top_k=chosen.get("top_k"),
    )


def _before(history: History, begun: Words | None) -> Sequence[Message]:
    """What was said before the answer that is to go on, if one is."""
    messages = history.messages
    is_last = begun is not None and bool(messages) and messages[-1].role == "assistant"
    return messages[:-1] if is_last else messages


def _text(value: object) -> str | None:
    return orjson.dumps(value).decode() if value else None


def longest_instructions(settings: Settings) -> int:
    """The characters of the instructions, whichever are sent."""
    return max(len(settings.system_prompt), len(settings.system_prompt_thinking))


def require_tools(asked: AnswerRequest, settings: Settings) -> None:
    """Raise NotSupported if the caller has tools, and the model server can't call any."""
    if asked.tools and settings.inference_protocol != "openai":
        raise errors.NotSupported("This model server can't call tools.")


def options_of(asked: AnswerRequest) -> str | None:
    """What the caller asks with, by OPTIONS, as JSON text; None if there is nothing."""
    given = {name: value for name, value in asked if name in OPTIONS and value is not None}
    return as_json(given).decode() if given else None


def _calls(called: list[dict[str, str]] | None) -> tuple[ToolCall, ...]:
    return tuple(ToolCall.stored(call) for call in called or () if _is_whole(call["arguments"]))


def _is_whole(arguments: str) -> bool:
    """Whether a call's arguments weren't cut off. A function without any may be called with none at all."""
    try:
        return not arguments or isinstance(orjson.loads(arguments), dict)
    except orjson.JSONDecodeError:
        return False


def _close(turns: list[Turn], open_calls: list[str]) -> None:
    turns += [Turn("tool", NOT_RUN, tool_call_id=call_id) for call_id in open_calls]
    open_calls.clear()


def _add(turns: list[Turn], turn: Turn) -> None:
    last = turns[-1] if turns else None
    if last is None or last.role != turn.role or last.tool_calls:
        turns.append(turn)
    else:
        texts = [text for text in (last.content, turn.content) if text]
        turns[-1] = Turn(turn.role, "\n\n".join(texts), turn.tool_calls)


def title(content: str) -> str:
    """A title from the first message: at most 80 characters in one line, "" where there is nothing to see."""
    return " ".join(content.split())[:80].rstrip()
