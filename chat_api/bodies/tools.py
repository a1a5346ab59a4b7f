"""The caller's tools: functions in OpenAI's form, which the model may ask the caller to run.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

# PostgreSQL can't store NUL. Escaped in JSON, it follows an even number of backslashes (group 1); else the
# `u0000` is text.
ESCAPED_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
MOST_BYTES = 65_536  # of all tools, as JSON text

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", examples=["weather"])]
Given = TypeVar("Given", bound="BaseModel | Sequence[BaseModel] | str")


def as_json(given: object) -> bytes:
    """The JSON text of what a caller gave: without what it left out, and with what isn't known here."""
    return orjson.dumps(given, default=_plain)


def _plain(given: object) -> object:
    return given.model_dump(exclude_unset=True) if isinstance(given, BaseModel) else None


def _bounded(given: Given) -> Given:
    try:
        size, nul = len(data := as_json(given)), ESCAPED_NUL.search(data)
    except TypeError:
        raise ValueError("must be JSON with numbers of at most 64 bits") from None
    try:  # pydantic reads NaN and 1e999, which orjson would make null
        json.dumps(given, default=_plain, allow_nan=False)
    except ValueError:
        raise ValueError("must be JSON with finite numbers") from None
    if size > MOST_BYTES:
        raise ValueError(f"must be at most {MOST_BYTES} bytes of JSON")
    if nul is not None:
        raise ValueError("must not contain the NUL character (\\u0000)")
    return given


class _Open(BaseModel):
    """What is passed on to the model server, with the fields that aren't known here."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Function(_Open):
    __doc__ = "A function of the caller's. Other fields are passed on."

    name: Name
    description: str | None = Field(None, examples=["The weather in a city."])
    parameters: dict[str, Any] | None = Field(
        None,
        description="JSON Schema of its arguments",
        examples=[{"type": "object", "properties": {"city": {"type": "string"}}}],
    )


class Tool(_Open):
    __doc__ = "A tool that the model may ask the caller to run."

    type: Literal["function"] = Field(examples=["function"])
    function: Function


class NamedFunction(_Open):
    name: Name


class Choice(_Open):
    __doc__ = "The one function that the model is to call."

    type: Literal["function"] = Field(examples=["function"])
    function: NamedFunction


Tools = Annotated[list[Tool], Field(max_length=128), AfterValidator(_bounded)]
ToolChoice = Annotated[Literal["none", "auto", "required"] | Choice, AfterValidator(_bounded)]
