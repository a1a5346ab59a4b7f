"""How long the models' contexts are, and how many characters a token has: told, learnt or assumed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

T = TypeVar("T")

START = 3.0  # characters a token, before anything is known
LEAST, MOST = 1.0, 8.0
LEAST_TOKENS = 256  # of a prompt that is learnt from: in a shorter one, the template's own weigh too much
MAX_MODELS = 1000
FOR_TEMPLATE = 0.1  # of the room, for what the model's template puts around each message
GROWTH = 1.05  # of a length that is a guess, with each answer that needed much of it
# As the lists of vLLM, OpenRouter, Groq, Mistral, Together and llama.cpp name it; the latter has `meta`.
FIELDS = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "max_context_window",
    "n_ctx",
    "n_ctx_train",
)
MAX_LENGTH = 100_000_000


class Contexts:
    """What is known of each model.

    `given`: the operator's word for the length, which replaces what lists tell. `unknown`: the characters
    that a model is sent whose length nothing tells.
    """

    def __init__(self, given: int | None, unknown: int) -> None:
        self._given = given
        self._unknown = unknown
        self._told: dict[str, int] = {}
        self._refused: dict[str, int] = {}  # lengths that refusals named
        self._guessed: dict[str, float] = {}  # after refusals that named none
        self._rates: dict[str, float] = {}

    def tell(self, models: Iterable[Mapping[str, Any]]) -> None:
        """Take a server's list."""
        lengths = {model["id"]: length_of(model) for model in models}
        self._told = {name: length for name, length in lengths.items() if length is not None}

    def length(self, model: str) -> float | None:
        """The tokens of question, history and answer together, as far as anything tells."""
        lengths = (self._given or self._told.get(model), self._refused.get(model), self._guessed.get(model))
        return min((length for length in lengths if length is not None), default=None)

    def rate(self, model: str) -> float:
        """The characters a token."""
        return self._rates.get(model, START)

    def room(self, model: str | None, max_tokens: int, beside: int) -> int:
        """The characters of a conversation that fit. None: the most that fit any model.

        At most half of the context is kept for an answer, and `beside` characters for everything else.
        """
        if model is None:
            models = {"", *self._told, *self._refused, *self._guessed, *self._rates}
            return max(self.room(each, max_tokens, beside) for each in models)
        length = self.length(model)
        if length is None:
            return self._unknown
        tokens = (length - min(max_tokens, length / 2)) * (1 - FOR_TEMPLATE)
        return max(0, int(tokens * self.rate(model)) - beside)

    def learn(self, model: str, characters: int, prompt_tokens: int) -> None:
        """Take what a server counted. Too high a rate leads to refusals, so it falls faster than it rises."""
        if prompt_tokens < LEAST_TOKENS:
            return
        old = self.rate(model)
        seen = _bounded(characters / prompt_tokens)
        remember(self._rates, model, old + (seen - old) * (0.5 if seen < old else 0.1))

    def answered(self, model: str, characters: int) -> None:
        """Note that the model took so many characters: a length that is a guess may be too short."""
        guess = self._guessed.get(model)
        if guess is not None and characters > guess * self.rate(model) / 4:
            self._guessed[model] = guess * GROWTH

    def overflowed(self, model: str, characters: int, max_tokens: int, length: int | None) -> None:
        """Note that so many characters, with that answer, were too much. `length`: the refusal's own word."""
        if length is not None:
            remember(self._refused, model, length)
            self._guessed.pop(model, None)
        known = self.length(model)
        if known is None or model in self._guessed:
            remember(
                self._guessed, model, min(known or MAX_LENGTH, characters / self.rate(model) + max_tokens) / 2
            )
            return
        most = characters / (known - min(max_tokens, known / 2))
        remember(self._rates, model, _bounded(min(self.rate(model), most * (1 - FOR_TEMPLATE))))


def length_of(model: Mapping[str, Any]) -> int | None:
    """The length of a model's context by an entry of a list, None if it doesn't tell."""
    top = model.get("top_provider")
    for entry in (model, model.get("meta"), top):
        for field in FIELDS:
            value = entry.get(field) if isinstance(entry, dict) else None
            if type(value) is int and 0 < value <= MAX_LENGTH:
                return value
    return None


def _bounded(rate: float) -> float:
    return min(max(rate, LEAST), MOST)


def remember(known: dict[str, T], model: str, value: T) -> None:
    """Note something of a model. Once it is known of MAX_MODELS, all of it is forgotten first."""
    if len(known) >= MAX_MODELS and model not in known:
        known.clear()
    known[model] = value
