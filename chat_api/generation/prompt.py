"""From what was said to what the model is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

import orjson

from chat_api import errors
from chat_api.bodies import AnswerRequest
from chat_api.bodies.tools import as_json
from chat_api.generation.history import History, Message
from chat_api.generation.said import Words
from chat_api.inference import Options, Prompt, ToolCall, Turn
from chat_api.settings import Settings
from chat_api.settings.models import DEFAULT, Catalogue, Chosen, Model

NO_TOOLS = "This model server can't call tools."
NOT_RUN = "This tool was not run."  # told to the model of a call that nobody answered
# What the model is told, or how it is called. A regeneration that gives nothing else repeats what isn't a
# number. Only OpenAI's API has the last two; of these, it repeats the instructions.
OPTIONS = (
    "temperature",
    "max_tokens",
    "top_k",
    "thinking_mode",
    "force_web_search",
    "tools",
    "tool_choice",
    "instructions",
    "response",
)


def build(
    history: History,
    chosen_model: Chosen,
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
    has_tools = chosen_model.has_tools
    chosen = in_force(options)
    thinking_mode: bool | None = chosen.get("thinking_mode")
    instructions = chosen.get("instructions") or _instructions(
        chosen_model.model, settings, is_thinking=bool(thinking_mode)
    )
    system = [instructions] if instructions else []
    turns: list[Turn] = []
    open_calls: list[str] = []
    for role, content, called, call_id, _, reasoning in _before(history, begun):
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
                _add(turns, Turn(role, content, calls, reasoning=reasoning or ""))
    _close(turns, open_calls)
    if begun is not None and begun.content:
        _add(turns, Turn("assistant", begun.content, reasoning=begun.reasoning))
    return Prompt(
        "\n\n".join(system),
        turns,
        chosen_model.tag,
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


def longest_instructions(model: Model, settings: Settings) -> int:
    """The characters of the instructions, whichever are sent."""
    return max(len(_instructions(model, settings, is_thinking=is_thinking)) for is_thinking in (True, False))


def instruction_bytes(catalogue: Catalogue, settings: Settings) -> str | None:
    """As `generations.start` takes them; the longer ones, where thinking has its own."""
    found = {
        tag: max(
            len(_instructions(model, settings, is_thinking=is_thinking).encode())
            for is_thinking in (True, False)
        )
        for tag, model in catalogue.models.items()
    }
    if not any(found.values()):
        return None
    default = found[catalogue.default]
    return orjson.dumps({"": default} if catalogue.is_open else {**found, DEFAULT: default}).decode()


def _instructions(model: Model, settings: Settings, *, is_thinking: bool) -> str:
    """What a model is told in conversations without instructions: the model's own, or else everybody's."""
    usual = model.instructions or settings.system_prompt
    thinking = model.thinking.instructions or (not model.instructions and settings.system_prompt_thinking)
    return (is_thinking and thinking) or usual


def usable(catalogue: Catalogue, asked: AnswerRequest, *, is_admin: bool) -> list[str] | None:
    """The tags of conversations that somebody may ask this in; None if any will do.

    Raises NotSupported if the caller has tools, and no model can call any.
    """
    with_tools = [tag for tag in catalogue.models if catalogue.has_tools(tag)]
    if asked.tools and not with_tools:
        raise errors.NotSupported(NO_TOOLS)
    if catalogue.is_open:
        return None
    return catalogue.tags_of(
        [tag for tag in catalogue.tags(is_admin=is_admin) if not asked.tools or tag in with_tools]
    )


def refuse_model(catalogue: Catalogue, tag: str, *, is_admin: bool) -> NoReturn:
    """Raise why a conversation's model isn't usable: ModelGone, Forbidden or NotSupported."""
    if catalogue.find(tag) is None:
        default = catalogue.default
        raise errors.ModelGone(
            f'The model "{tag}" is no longer offered. Choose another one for this conversation, such as '
            f'"{catalogue.models[default].name or default}".',
            default_model=default,
        )
    if not catalogue.may_use(tag, is_admin=is_admin):
        raise errors.Forbidden("Only administrators may use this conversation's model.")
    raise errors.NotSupported(NO_TOOLS)


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
        turns[-1] = Turn(
            turn.role,
            _joined(last.content, turn.content),
            turn.tool_calls,
            reasoning=_joined(last.reasoning, turn.reasoning),
        )


def _joined(*texts: str) -> str:
    return "\n\n".join(text for text in texts if text)


def title(content: str) -> str:
    """A title from the first message: at most 80 characters in one line, "" where there is nothing to see."""
    return " ".join(content.split())[:80].rstrip()
