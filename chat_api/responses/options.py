"""The parts of a request in OpenAI's form, and what all such requests have in common.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from chat_api.bodies.fields import Body
from chat_api.bodies.tools import Name


class Strict(Body):
    """A body whose unknown fields are refused; null is as left out."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: value for name, value in given.items() if value is not None}


class ReasoningOptions(Strict):
    __doc__ = "How the model thinks, as far as it can be told."

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = Field(
        None, description="`none`: without thinking; any other: with it", examples=["medium"]
    )
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        None, description="whichever it is, the model's thinking is told as it says it"
    )


class Format(Strict):
    __doc__ = "The form of the answer."

    type: Literal["text"]


class TextOptions(Strict):
    __doc__ = "The form of the answer: only text."

    format: Format | None = None
    verbosity: Literal["medium"] | None = None


class StreamOptions(Strict):
    __doc__ = "Accepted, without effect: events are never padded."

    include_obfuscation: bool | None = None


class FunctionTool(Strict):
    __doc__ = "A function of the caller's that the model may ask for."

    type: Literal["function"]
    name: Name
    description: str | None = Field(None, examples=["The weather in a city."])
    parameters: dict[str, Any] | None = Field(None, description="JSON Schema of its arguments")
    strict: bool | None = None


class NamedTool(Strict):
    __doc__ = "The one function that the model is to call."

    type: Literal["function"]
    name: Name


def by_form(given: Any) -> Any:
    """One error for each thing that is wrong, instead of one for each form that it doesn't have."""
    if isinstance(given, dict):
        return NamedTool.model_validate(given)
    return given


def check_choice(given: Any) -> str | NamedTool:
    """Raise ValueError unless it is a word or a function."""
    if given not in ("none", "auto", "required") and not isinstance(given, NamedTool):
        raise ValueError("must be none, auto, required, or a function")
    chosen: str | NamedTool = given
    return chosen
