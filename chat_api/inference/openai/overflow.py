"""Refusals of a conversation that is too long for the model, and what is left out of it then."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from chat_api.inference.base import Prompt, Turn

if TYPE_CHECKING:
    from chat_api.errors import Refusal

_CODES = {
    "context_length_exceeded",
    "exceed_context_size_error",
    "input_too_long",
    "prompt_too_long",
    "model_max_prompt_tokens_exceeded",
    "tokens_limit_reached",
}
TOKENS_A_CHARACTER = 2  # in the worst of scripts
_LONG = r"(length|window|size|limit)"
_OVERFLOW = re.compile(
    rf"context.{{0,20}}{_LONG}|(prompt|input|conversation) (is |are )?too (long|large)|input.tokens"
    rf"|(input|prompt) token count|maximum (model|prompt|input) length|(input|prompt|sequence) {_LONG}"
    r"|exceeds? (the )?(model.s )?max(imum)? (allowed )?length|max_seq_len|model token limit|too many tokens"
    r"|`inputs` (tokens|must have)|prompt contains \d+ tokens|tokens in the prompt exceed",
    re.I,
)
# How servers say how long the context is. The longer wording comes first where one contains the other.
_LENGTHS = (
    r"context (?:length|size|window)(?: is| of)?(?: only)?:? \(?(\d{3,8})",
    r"(\d{3,8}) (?:tokens? )?(?:maximum )?context (?:length|size|window)",
    r"maximum (?:model|prompt|input) length(?: is| of)? \(?(\d{3,8})",
    r"maximum allowed length \((\d{3,8})",
    r"context limit: .{0,40}> (\d{3,8})",
    r"> (\d{3,8}) maximum",
    r"must be <= (\d{3,8})",
    r"must have less than (\d{3,8})",
    r"maximum number of tokens allowed \((\d{3,8})\)",
    r"(?:configured|exceeds the|token) limit(?: of)?:? (\d{3,8})",
    r"only supports? up to (\d{3,8})",
    r"max_seq_len (\d{3,8})",
    r"length should be \[\d+, (\d{3,8})\]",
    r"max size: (\d{3,8}) tokens",
)
# 0: within a stream. Some servers take it for their own failure.
_STATUSES = (0, 400, 413, 422, 500)


def is_overflow(refusal: Refusal | None) -> bool:
    """Whether a refusal says that there are more tokens than the model can take."""
    if refusal is None or refusal.status not in _STATUSES:
        return False
    return refusal.status == 413 or bool(
        refusal.code in _CODES or _OVERFLOW.search(f"{refusal.code} {refusal.message}")
    )


def length_in(refusal: Refusal) -> int | None:
    """The length of the context that a refusal names, in tokens."""
    for pattern in _LENGTHS:
        if (found := re.search(pattern, refusal.message, re.I)) is not None:
            return int(found[1])
    return None


def size_of(prompt: Prompt) -> int:
    """The characters of a prompt."""
    return len(prompt.system) + len(prompt.tools or "") + sum(map(_characters, prompt.turns))


def shorter(prompt: Prompt, length: int | None) -> Prompt | None:
    """The prompt with half of its history; None if nothing can go.

    The newest question stays, with what follows it. Where its answer may take half of the context's `length`
    tokens or more, the answer gets a quarter, and the history stays if it fits beside that in any language.
    """
    turns, options = prompt.turns, prompt.options
    if length is None or 2 * options.max_tokens < length:
        turns = _half(turns)
        return None if turns is prompt.turns else replace(prompt, turns=turns)
    if size_of(prompt) * TOKENS_A_CHARACTER > length * 3 / 4:
        turns = _half(turns)
    return replace(prompt, turns=turns, options=replace(options, max_tokens=max(1, length // 4)))


def _half(turns: list[Turn]) -> list[Turn]:
    """The newest half; all if there is one question alone."""
    starts = [place for place, turn in enumerate(turns) if turn.role == "user" and place]
    if not starts:
        return turns
    sizes = [_characters(turn) for turn in turns]
    half = sum(sizes) / 2
    return turns[next((place for place in starts if sum(sizes[place:]) <= half), starts[-1]) :]


def _characters(turn: Turn) -> int:
    return len(turn.content) + sum(len(call.name) + len(call.arguments) for call in turn.tool_calls)
