"""What requests and answers look like: docs/contract.md section 1.

The API's description is made from these models: a docstring is its sentence, a field's example its example.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character (\\u0000)")
    return text


# PostgreSQL holds no NUL; the pattern tells callers.
Text = Annotated[str, AfterValidator(_storable), Field(json_schema_extra={"pattern": r"^[^\x00]*$"})]
Title = Annotated[Text, Field(min_length=1, max_length=500, examples=["Masala chai"])]
ModelTag = Annotated[Text, Field(max_length=100, examples=["default"])]
Temperature = Annotated[float, Field(ge=0, le=2, allow_inf_nan=False, examples=[0.7])]
FinishReason = Literal["stop", "length", "stopped", "interrupted", "error"]
MAX_KEY_CHARACTERS = 200  # of an Idempotency-Key
GenerationStatus = Literal["running", "completed", "stopped", "failed", "interrupted"]


class Body(BaseModel):
    """A request's body: fields that nobody knows are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ConversationCreate(Body):
    """What the new conversation is called; without a title it gets one from its first message."""

    title: Title | None = None
    model_tag: ModelTag | None = Field(None, description="the model that shall answer here")


class ConversationUpdate(Body):
    """What shall change: at least one of the two."""

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
    def _something(self) -> ConversationUpdate:
        if self.title is None and self.is_favorited is None:
            raise ValueError("give title or is_favorited")
        return self


class Regenerate(Body):
    """How the model shall answer; what is left out or null is up to the service's settings."""

    temperature: Temperature | None = None
    max_tokens: Annotated[int, Field(ge=1, le=4096, examples=[512])] | None = None
    top_k: Annotated[int, Field(ge=0, le=200)] | None = None
    stream: Annotated[bool, BeforeValidator(lambda given: True if given is None else given)] = Field(
        default=True, description="false: one JSON body when the answer is complete, instead of a stream"
    )


class MessageCreate(Regenerate):
    """A message, and how the model shall answer it."""

    content: Annotated[Text, Field(min_length=1, max_length=8000)] = Field(
        description="in characters (code points)", examples=["How is masala chai made?"]
    )


class ModelSwap(Body):
    """The model to load."""

    model_tag: Annotated[Text, Field(min_length=1, max_length=100, examples=["d20"])]


class PageQuery(Body):
    """Which page; by `offset`, or, steadier while conversations come and go, by `cursor`: not by both."""

    limit: Annotated[int, Field(ge=1, le=200)] = Field(50, description="conversations on a page")
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = Field(0, description="conversations to leave out")
    cursor: Annotated[str, Field(max_length=200, json_schema_extra={"format": "cursor"})] | None = Field(
        None, description="the `next_cursor` of the page before"
    )

    @model_validator(mode="after")
    def _one_way(self) -> PageQuery:
        if self.cursor is not None and self.offset:
            raise ValueError("give cursor or offset, not both")
        return self


class ResponseBody(BaseModel):
    """An answer's JSON. Made in SQL for the most part, so that no model is built while the service starts."""

    model_config = ConfigDict(defer_build=True)


class Conversation(ResponseBody):
    """A conversation as its owner sees it."""

    id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    user_id: UUID = Field(examples=["7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2"])
    title: str = Field(examples=["Masala chai"])
    model_tag: str = Field(examples=["default"])
    is_favorited: bool
    created_at: datetime = Field(examples=["2026-11-24T09:00:00.123456+00:00"])
    updated_at: datetime = Field(
        description="of the last message or title", examples=["2026-11-24T09:05:00.123456+00:00"]
    )


class Message(ResponseBody):
    """A message. A number that isn't known is 0, a tag that isn't known is empty."""

    id: UUID = Field(examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526374"])
    conversation_id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    role: Literal["user", "assistant", "system"] = Field(examples=["assistant"])
    content: str = Field(examples=["Boil water with ginger and cardamom."])
    token_count: int = Field(examples=[9])
    model_tag: str = Field(examples=["d20"])
    inference_time_ms: int = Field(examples=[812])
    created_at: datetime = Field(examples=["2026-11-24T09:05:00.123456+00:00"])
    finish_reason: FinishReason | None = Field(
        description="why an assistant's message ended; null for the others", examples=["stop"]
    )


class Generation(ResponseBody):
    """The answer that is being written in a conversation."""

    id: UUID = Field(examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566"])
    conversation_id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    user_message_id: UUID = Field(examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526373"])
    status: GenerationStatus = Field(examples=["running"])
    started_at: datetime = Field(examples=["2026-11-24T09:05:00.123456+00:00"])
    last_event_id: str | None = Field(
        description="its newest event so far; null until one is known",
        examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566:41"],
    )


class ConversationPage(ResponseBody):
    """One page of conversations, those that changed last first."""

    items: list[Conversation]
    grouped: dict[Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")], list[Conversation]] = Field(
        description="the same ones by the UTC date of `updated_at`"
    )
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])
    next_cursor: str | None = Field(description="null on the last page", examples=[None])


class OpenConversation(Conversation):
    """A conversation with all its messages, oldest first."""

    messages: list[Message]
    generation: Generation | None = Field(
        description="the answer now being written: attach to it with `GET …/stream`; null: none"
    )


class Exchange(ResponseBody):
    """A question and its answer, both stored; `message` is null where the model said nothing."""

    user_message: Message = Field(
        examples=[
            {
                "id": "01a2f3c4-7a8b-7c90-8d1e-2f3041526373",
                "conversation_id": "01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071",
                "role": "user",
                "content": "How is masala chai made?",
                "token_count": 0,
                "model_tag": "",
                "inference_time_ms": 0,
                "created_at": "2026-11-24T09:04:59.123456+00:00",
                "finish_reason": None,
            }
        ]
    )
    message: Message | None


class Stopped(ResponseBody):
    """Which answer was stopped, if one was on its way."""

    generation_id: UUID | None = Field(examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566"])
    stopped: bool = Field(examples=[True])


class Models(ResponseBody):
    """The model server's own words; servers add fields of their own."""

    model_config = ConfigDict(extra="allow")

    current_model: str | None = Field(None, examples=["d20"])
    models: list[Any] = Field([], examples=[["d20", "d32"]])


class Swapped(ResponseBody):
    """The model server's own words; with 202 the model is still being loaded."""

    model_config = ConfigDict(extra="allow")

    status: str = Field("", examples=["ok"])
    current_model: str | None = Field(None, examples=["d32"])


class Health(ResponseBody):
    """The process lives."""

    status: Literal["ok"]
    ready: Literal[True]
    service: Literal["chat-api"]


class Readiness(ResponseBody):
    """What must hold before this worker can work; each check is `ok` or says what is wrong."""

    ready: bool = Field(examples=[True])
    checks: dict[str, str] = Field(examples=[{"database": "ok", "migrations": "ok", "worker": "ok"}])
