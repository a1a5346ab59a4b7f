"""What a chunk of a chat completion holds: its choice, its text, its thinking."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from chat_api.inference.refusal import broken

# What servers call the thinking beside the text: vLLM, llama.cpp, DeepSeek; Ollama, OpenRouter; Copilot; and
# others that pass on what Anthropic, Gemini or OpenAI say.
_THINKING = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thought",
    "reasoning_summary",
    "reasoning_details",
    "thinking_blocks",
)
# What a delta may have beside its text that matters.
_BESIDE_TEXT = frozenset({*_THINKING, "tool_calls", "function_call", "refusal", "error"})
# Where a part has its words.
_WORDS = ("text", "thinking", "reasoning", "reasoning_content", "summary", "content", "value")
_TEXT = {"text", "output_text", "text_delta"}
MAX_DEPTH = 6  # of parts within parts
_THOUGHTS = re.compile(r"think|thought|reason|summary")


def only_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk that has nothing else, as nearly all have; None for any other, valid or not."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("usage") is not None or chunk.get("error"):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") is not None:
        return None
    if choice.get("index") or choice.get("error"):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict:
        return None
    text = delta.get("content")
    if type(text) is not str or not text:
        return None
    if len(delta) > 1 and (len(delta) > 2 or "role" not in delta):
        for name in delta:
            if name in _BESIDE_TEXT and delta[name]:
                return None
    return text


def first_choice(chunk: dict[str, Any]) -> dict[str, Any] | None:
    """The first of the answers that the chunk goes on with; None if it has none. Raises InferenceBroken."""
    choices = chunk.get("choices")
    if not choices:
        return None
    if not isinstance(choices, list):
        raise broken("the choices are no list")
    for choice in choices:
        if choice is None:
            continue
        if not isinstance(choice, dict):
            raise broken("a choice is no object")
        index = choice.get("index")
        if not (type(index) is int and index > 0):
            return choice
    return None


def message_of(choice: dict[str, Any]) -> dict[str, Any] | None:
    """What a choice without a delta says: a message or, as before there were chats, a text."""
    message, text = choice.get("message"), choice.get("text")
    if isinstance(message, dict):
        return message
    return {"content": text} if isinstance(text, str) else None


def reasoning_of(delta: dict[str, Any]) -> str:
    """The thinking beside the text, under the first of its names that has some: servers may send it twice."""
    for name in _THINKING:
        if (given := delta.get(name)) and (text := _words(given)):
            return text
    return ""


def pieces_of(content: object) -> Iterator[tuple[bool, str]]:
    """Each piece of `content`, text or parts: whether it is thinking, and the text.

    Parts that are neither text nor thinking are passed over. Raises InferenceBroken.
    """
    if not content:
        return
    if isinstance(content, str):
        yield False, content
        return
    if not isinstance(content, list | dict):
        raise broken("the content is neither text nor a list")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield False, part
        elif isinstance(part, dict):
            kind = part.get("type", "text")
            if isinstance(kind, str) and kind in _TEXT:
                yield False, _words(part.get("text"))
            elif isinstance(kind, str) and _THOUGHTS.search(kind):
                yield True, _words(part)


def refusal_of(delta: dict[str, Any]) -> str:
    """What the model says in place of an answer: beside the content, or as parts of it."""
    if isinstance(text := delta.get("refusal"), str) and text:
        return text
    content = delta.get("content")
    return "".join(
        _words(part.get("refusal"))
        for part in (content if isinstance(content, list) else ())
        if isinstance(part, dict) and part.get("type") == "refusal"
    )


def _words(value: object, depth: int = MAX_DEPTH) -> str:
    """The text of a value: a text, a part that has it under one of its names, or a list of these."""
    if isinstance(value, str):
        return value
    if depth and isinstance(value, list):
        return "".join(_words(each, depth - 1) for each in value)
    if depth and isinstance(value, dict):
        return next((text for name in _WORDS if (text := _words(value.get(name), depth - 1))), "")
    return ""
