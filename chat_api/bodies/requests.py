"""The JSON bodies and queries of requests: docs/contract.md section 1.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticKnownError

from chat_api.bodies.tools import MOST_BYTES, ToolChoice, Tools


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character (\\u0000)")
    return text


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
MAX_TOKENS = 65_536  # of an answer, if the model server allows it
MAX_CONTENT_CHARACTERS = 8000  # of a message
MAX_KEY_CHARACTERS = 200  # of an Idempotency-Key


class Body(BaseModel):
    """A request's body. Unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ConversationCreate(Body):
    __doc__ = "A new conversation. Without a title, it gets one from its first message."

    title: AnyTitle | None = Field(None, description="an empty one is as none")
    model_tag: ModelTag | None = Field(None, description="the model that answers in this conversation")


class ConversationUpdate(Body):
    __doc__ = "The fields to change, at least one."

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["title"], "properties": {"title": {"type": "string"}}},
                {"required": ["is_favorited"], "properties": {"is_favorited": {"type": "boolean"}}},
            ]
        }
    )

    title: Title | None = None
    is_favorited: bool | None = Field(None, examples=[True])

    @model_validator(mode="after")
    def _require_change(self) -> ConversationUpdate:
        if self.title is None and self.is_favorited is None:
            raise ValueError("give title or is_favorited")
        return self


class Regenerate(Body):
    __doc__ = "Options for the answer. For what is left out or null, the service's settings decide."

    temperature: Temperature | None = None
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS, examples=[512])] | None = Field(
        None, description="thinking included; at most 4096 unless the model server speaks `openai`"
    )
    top_k: Annotated[int, Field(ge=0, le=200)] | None = None
    stream: Annotated[bool, BeforeValidator(lambda given: True if given is None else given)] = Field(
        default=True, description="false: one JSON body when the answer is complete, instead of a stream"
    )
    thinking_mode: bool | None = Field(
        None,
        description="true: with the instructions for thinking, false: without; a regeneration repeats what "
        "the question was sent with, unless it gives its own",
        examples=[True],
    )
    force_web_search: bool | None = Field(
        None,
        description="have the model server search the web first (`nanochat`); repeated like `thinking_mode`",
    )

    tools: Tools | None = Field(
        None,
        description="functions in OpenAI's form, which you run; repeated like `thinking_mode` (`openai`)",
    )
    tool_choice: ToolChoice | None = Field(
        None, description="whether the model calls a function, or which; repeated like `thinking_mode`"
    )
    when_running: Literal["reject", "supersede"] | None = Field(
        None,
        description="while an answer is being written in this conversation: `reject` is 409, and `supersede` "
        "stops that answer and keeps its text",
    )

    @field_validator("max_tokens")
    @classmethod
    def _fit_model_server(cls, value: int | None, info: ValidationInfo) -> int | None:
        """Refuse what this model server doesn't allow: `max_tokens` in the context of the validation."""
        most = (info.context or {}).get("max_tokens", MAX_TOKENS)
        if value is not None and value > most:
            raise PydanticKnownError("less_than_equal", {"le": most})
        return value


class MessageCreate(Regenerate):
    __doc__ = "A message, with options for its answer."

    content: Text = Field(
        description="in characters (code points)",
        min_length=1,
        max_length=MAX_CONTENT_CHARACTERS,
        examples=["How is masala chai made?"],
    )


class ToolResult(Body):
    __doc__ = "What a call of one of your tools gave."

    tool_call_id: Text = Field(
        description="the `id` of the call", min_length=1, max_length=MOST_BYTES, examples=["call_1"]
    )
    content: Text = Field(
        description=f"at most {MOST_BYTES} bytes of UTF-8 in all results together; may be empty",
        max_length=MOST_BYTES,
        examples=["31 degrees, no rain"],
    )


class ToolResults(Regenerate):
    __doc__ = (
        "The results of the calls that the last answer ended with, and options for the answer that follows. "
        "Calls without a result are closed as not run."
    )

    results: Annotated[list[ToolResult], Field(min_length=1, max_length=128)]

    @field_validator("results")
    @classmethod
    def _once_and_bounded(cls, results: list[ToolResult]) -> list[ToolResult]:
        ids = [each.tool_call_id for each in results]
        for each in ids:
            if ids.count(each) > 1:
                raise ValueError(f"there must be one result of a call, and {each!r} has more")
        if sum(len(each.content.encode()) for each in results) > MOST_BYTES:
            raise ValueError(f"must be at most {MOST_BYTES} bytes of UTF-8 together")
        return results


class ModelSwap(Body):
    __doc__ = "The model to load."

    model_tag: Text = Field(min_length=1, max_length=100, examples=["d20"])


class PageQuery(Body):
    __doc__ = "Which page: by `offset` or by `cursor`, not both. A cursor is steadier while the list changes."

    limit: Annotated[int, Field(ge=1, le=200)] = Field(50, description="conversations per page")
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = Field(0, description="conversations to skip")
    cursor: Annotated[str, Field(max_length=200, json_schema_extra={"format": "cursor"})] | None = Field(
        None, description="the previous page's `next_cursor`"
    )

    @model_validator(mode="after")
    def _require_one_way(self) -> PageQuery:
        if self.cursor is not None and self.offset:
            raise ValueError("give cursor or offset, not both")
        return self


class MessagesQuery(Body):
    __doc__ = "Which messages of a conversation."

    limit: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="messages, the newest first of all; all of them, unless you give it"
    )
    before: UUID | None = Field(None, description="only messages before this one, by its id")
