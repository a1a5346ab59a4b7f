"""The types of fields that several bodies have."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationInfo
from pydantic_core import PydanticKnownError

MAX_TOKENS = 65_536  # of an answer, if the model server allows it
MAX_CONTENT_CHARACTERS = 8000  # of a message
MAX_KEY_CHARACTERS = 200  # of an Idempotency-Key


class Body(BaseModel):
    """A request's body. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character (\\u0000)")
    return text


def _fit_model_server(value: int, info: ValidationInfo) -> int:
    """Refuse what this model server doesn't allow: `max_tokens` in the context of the validation."""
    most = (info.context or {}).get("max_tokens", MAX_TOKENS)
    if value > most:
        raise PydanticKnownError("less_than_equal", {"le": most})
    return value


# PostgreSQL can't store NUL. The pattern says so in the API's description. A text's length comes before this:
# after it, pydantic would tell of items instead of characters.
Storable = AfterValidator(_storable)
WITHOUT_NUL: dict[str, Any] = {"pattern": r"^[^\x00]*$"}
Text = Annotated[str, Field(json_schema_extra=WITHOUT_NUL), Storable]
Title = Annotated[
    str,
    Field(min_length=1, max_length=500, examples=["Masala chai"], json_schema_extra=WITHOUT_NUL),
    Storable,
]
AnyTitle = Annotated[
    str, Field(max_length=500, examples=["Masala chai"], json_schema_extra=WITHOUT_NUL), Storable
]
ModelTag = Annotated[
    str, Field(max_length=100, examples=["default"], json_schema_extra=WITHOUT_NUL), Storable
]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, examples=[0.7])]
MaxTokens = Annotated[int, Field(ge=1, le=MAX_TOKENS, examples=[512]), AfterValidator(_fit_model_server)]
TopK = Annotated[int, Field(ge=0, le=200)]
