"""How an answer ends: its finish reason, errors in the stream, and what the server counted."""

from __future__ import annotations

import re
from typing import Any

import structlog

from chat_api import errors
from chat_api.inference.base import Usage, read_count

log = structlog.get_logger(__name__)

# What finish reasons mean, by words in the names that servers have for them, or the APIs that they stand for:
# OpenAI, Anthropic, Bedrock, Cohere, Gemini, Mistral, DeepSeek, watsonx, vLLM, LM Studio, TGI. The first
# that matches counts.
_NONE = re.compile(
    r"|null|none|unspecified|finish_?reason_?unspecified|not_?finished|in_?progress|unfinished"
)
_MEANINGS = {
    "content_filter": re.compile(
        r"filter|safety|recitation|blocklist|blocked|prohibited|spii|sensitive|refus|guardrail|toxic|moderat"
        r"|polic|violation|model_?armor|^(finish_?reason_?)?language$"
    ),
    "interrupted": re.compile(
        r"err(or|ed)|abort|cancel|fail|exception|time_?(d_?)?(out|limit)|deadline|overload|busy|unavailable"
        r"|insufficient|resource|malformed|unexpected|missing|network|disconnect|unload|interrupt|preempt"
        r"|rate_?limit|internal"
    ),
    "length": re.compile(r"length|max|limit|context|exceed|truncat|incomplete"),
    "tool_calls": re.compile(r"tool|function"),
    "stop": re.compile(r"stop|eos|^end|complete"),
}
_LOGGABLE = re.compile(r"[\w.-]{1,40}", re.ASCII)


def read_reason(value: object) -> str | None:
    """What `finish_reason` means: a reason of End, or None while the answer goes on.

    An unknown one means stop. Raises InferenceInterrupted where the server broke the answer off.
    """
    if not value:
        return None
    if isinstance(value, dict):  # SGLang's own
        value = value.get("type")
    given = str(value).strip().lower().rpartition(".")[2].replace("-", "_")
    if _NONE.fullmatch(given):
        return None
    reason = next((reason for reason, words in _MEANINGS.items() if words.search(given)), None)
    if reason == "interrupted":
        log.warning("inference_interrupted", reason=f"finish_reason {loggable(value)}")
        raise errors.InferenceInterrupted
    if reason is None:
        log.warning("inference_finish_unknown", finish_reason=loggable(value))
        return "stop"
    return reason


def loggable(value: object) -> str | None:
    """A short word or a number; None for anything else, which may be text."""
    text = str(value) if isinstance(value, str | int) else ""
    return text if _LOGGABLE.fullmatch(text) else None


def read_usage(chunk: dict[str, Any], choice: dict[str, Any] | None, before: Usage) -> Usage:
    """The figures of a chunk, and those from before where it has none. One that can't be is none."""
    given = chunk.get("usage")
    if not given:  # some servers have it elsewhere
        beside = chunk.get("x_groq")
        given = (choice or {}).get("usage") or (beside.get("usage") if isinstance(beside, dict) else None)
    if not isinstance(given, dict):
        return before
    # As the chat completions, the Responses API and Anthropic have them; in parts, or beside the others.
    prompt = given.get("prompt_tokens_details") or given.get("input_tokens_details")
    completion = given.get("completion_tokens_details") or given.get("output_tokens_details")
    return Usage(
        prompt_tokens=_count(before.prompt_tokens, given, "prompt_tokens", "input_tokens"),
        completion_tokens=_count(before.completion_tokens, given, "completion_tokens", "output_tokens"),
        reasoning_tokens=_count(
            _count(before.reasoning_tokens, given, "reasoning_tokens"), completion, "reasoning_tokens"
        ),
        cached_tokens=_count(
            _count(before.cached_tokens, prompt, "cached_tokens"),
            given,
            "prompt_cache_hit_tokens",
            "cached_tokens",
            "cache_read_input_tokens",
        ),
    )


def _count(before: int | None, figures: object, *names: str) -> int | None:
    """The first of these figures that can be; `before` if there is none."""
    if isinstance(figures, dict):
        for name in names:
            if (value := read_count(figures.get(name))) is not None:
                return value
    return before
