"""What a model is sent, and what is left out after a refusal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import orjson

from chat_api.inference.base import Prompt, Turn, asked_to_go_on
from chat_api.inference.openai.overflow import is_overflow
from chat_api.settings.types import NEEDED_PARAMETERS

if TYPE_CHECKING:
    from chat_api.errors import Refusal
    from chat_api.settings.models import Model

OTHER_LIMIT = "max_completion_tokens"  # OpenAI's newer name for max_tokens
LIMITS = ("max_tokens", "max_output_tokens", "max_new_tokens", "num_predict")  # what servers call it within
CONTINUES = {
    "continue_final_message": True,
    "add_generation_prompt": False,
}  # vLLM's
_VALUE = re.compile(r"too (large|big|high)|at most|less than|greater than|maximum|exceed|range", re.I)


@dataclass(frozen=True, slots=True)
class Profile:
    """How a model is asked.

    `omit` names the parameters that are left out, `rename` gives others another name, and `max_tokens_field`
    is the name of the limit. `add` is added to every request, and replaces what is sent otherwise.
    `with_thinking` and `without_thinking` are added where the prompt asks for it. `think_tags`: whether
    `<think>` at the beginning of the text begins the model's thinking. `thinking_field`: where an earlier
    answer's goes back to it. `context_tokens` is the size of the model's context, if known. `go_on`: how an
    answer that was cut goes on. `ask`: the model is told to. `prefill`: the answer is the last message, and
    the server goes on with such a message by itself; `vllm`: it does if CONTINUES says so.
    """

    omit: frozenset[str] = frozenset()
    rename: Mapping[str, str] = field(default_factory=dict)
    max_tokens_field: str = "max_tokens"
    add: Mapping[str, Any] = field(default_factory=dict)
    with_thinking: Mapping[str, Any] = field(default_factory=dict)
    without_thinking: Mapping[str, Any] = field(default_factory=dict)
    think_tags: bool = True
    thinking_field: str | None = None
    context_tokens: int | None = None
    go_on: Literal["ask", "prefill", "vllm"] = "ask"

    @classmethod
    def of(cls, model: Model) -> Profile:
        """The profile that MODELS_FILE or the environment gives a model."""
        return cls(
            omit=frozenset(model.omit),
            rename=model.rename,
            max_tokens_field=model.max_tokens_field,
            add=model.add,
            with_thinking=model.thinking.on,
            without_thinking=model.thinking.off,
            think_tags=model.thinking.tags,
            thinking_field=model.thinking.send_back,
            context_tokens=model.context_tokens,
            go_on=model.go_on,
        )


class Adapted(NamedTuple):
    """A profile after `parameter` was refused. `lasts`: whether it is for the model, not for one answer."""

    profile: Profile
    parameter: str
    lasts: bool = True


def payload(model: str, prompt: Prompt, profile: Profile) -> dict[str, Any]:
    """The body of a request."""
    options = prompt.options
    system = [Turn("system", prompt.system)] if prompt.system else []
    turns = asked_to_go_on(prompt) if profile.go_on == "ask" else prompt.turns
    sent: dict[str, Any] = {
        "model": model,
        "messages": [_message(turn, profile.thinking_field) for turn in (*system, *turns)],
        "temperature": options.temperature,
        profile.max_tokens_field: options.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.top_k is not None:  # not part of OpenAI's own API, which refuses unknown fields
        sent["top_k"] = options.top_k
    if prompt.tools is not None:
        sent["tools"] = orjson.Fragment(prompt.tools)
        if prompt.tool_choice is not None:
            sent["tool_choice"] = orjson.Fragment(prompt.tool_choice)
    if prompt.goes_on and profile.go_on == "vllm":
        sent |= CONTINUES
    sent |= profile.add
    if prompt.thinking_mode is not None:
        sent |= profile.with_thinking if prompt.thinking_mode else profile.without_thinking
    rename, omit = profile.rename, profile.omit
    named = {rename.get(name, name): value for name, value in sent.items() if name not in omit}
    return {name: value for name, value in named.items() if name not in omit}  # refused by its new name


def adapt(profile: Profile, sent: Mapping[str, Any], refusal: Refusal) -> Adapted | None:
    """The profile without the parameter that a refusal names; None if it names none that can be left out.

    `max_tokens` is renamed first. A value that is out of range says nothing about the next answer's. A server
    that doesn't go on with a last message, or refuses to for a reason of its own, is asked to in words.
    """
    if refusal.status not in (400, 422) or is_overflow(refusal):
        return None  # an overflow names max_tokens too
    name = _named(sent, refusal)
    if name is None or name in CONTINUES:
        is_last = sent["messages"][-1]["role"] == "assistant"
        return Adapted(replace(profile, go_on="ask"), "continue") if is_last else None
    is_value = _VALUE.search(refusal.message) is not None
    if name == profile.max_tokens_field == "max_tokens" and not is_value and OTHER_LIMIT not in sent:
        return Adapted(replace(profile, max_tokens_field=OTHER_LIMIT), name)
    return Adapted(replace(profile, omit=profile.omit | {name}), name, lasts=not is_value)


def _named(sent: Mapping[str, Any], refusal: Refusal) -> str | None:
    """The parameter that a refusal names: as such, or first in its message; in whatever spelling."""
    optional = {_spelt(name): name for name in sent if name not in NEEDED_PARAMETERS}
    limit = next((name for name in (*LIMITS, OTHER_LIMIT) if name in sent), None)
    names = {**({_spelt(alias): limit for alias in LIMITS} if limit else {}), **optional}
    if "stream_options" in sent:
        names["includeusage"] = "stream_options"
    words = re.findall(r"[\w-]+", refusal.param or refusal.message)
    return next((names[word] for each in words if (word := _spelt(each)) in names), None)


def _spelt(name: str) -> str:
    """A name without what differs between snake_case, camelCase and words with hyphens."""
    return re.sub(r"[_-]", "", name).lower()


def _message(turn: Turn, thinking_field: str | None) -> dict[str, Any]:
    message: dict[str, Any] = {"role": turn.role, "content": turn.content}
    if turn.reasoning and thinking_field is not None:
        message[thinking_field] = turn.reasoning
    if turn.tool_calls:
        message["tool_calls"] = [
            {
                "id": call.call_id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in turn.tool_calls
        ]
    if turn.tool_call_id is not None:
        message["tool_call_id"] = turn.tool_call_id
    return message
