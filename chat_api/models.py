"""What requests and answers look like: CONTRACT section 1."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain the NUL character (\\u0000)")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Title = Annotated[Text, Field(min_length=1, max_length=500)]
FinishReason = Literal["stop", "length", "stopped", "interrupted", "error"]
GenerationStatus = Literal["running", "completed", "stopped", "failed", "interrupted"]


class Body(BaseModel):
    """A request's body: fields that nobody knows are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class ConversationCreate(Body):
    """Body of `POST /api/conversations`."""

    title: Title | None = None
    model_tag: Annotated[Text, Field(max_length=100)] | None = None


class ConversationUpdate(Body):
    """Body of `PUT /api/conversations/{id}`: at least one of the two."""

    title: Title | None = None
    is_favorited: bool | None = None

    @model_validator(mode="after")
    def _something(self) -> ConversationUpdate:
        if self.title is None and self.is_favorited is None:
            raise ValueError("give title or is_favorited")
        return self


class Regenerate(Body):
    """Body of `POST /api/conversations/{id}/regenerate`: how the model shall answer; null is the default."""

    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False)] | None = None
    max_tokens: Annotated[int, Field(ge=1, le=4096)] | None = None
    top_k: Annotated[int, Field(ge=0, le=200)] | None = None
    stream: Annotated[bool, BeforeValidator(lambda given: True if given is None else given)] = True


class MessageCreate(Regenerate):
    """Body of `POST /api/conversations/{id}/messages`; `content` in characters (code points)."""

    content: Annotated[Text, Field(min_length=1, max_length=8000)]


class ModelSwap(Body):
    """Body of `POST /api/models/swap`."""

    model_tag: Annotated[Text, Field(min_length=1, max_length=100)]


class PageQuery(Body):
    """Query of `GET /api/conversations`; `cursor` is the `next_cursor` of the page before."""

    limit: Annotated[int, Field(ge=1, le=200)] = 50
    offset: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    cursor: Annotated[str, Field(max_length=200)] | None = None

    @model_validator(mode="after")
    def _one_way(self) -> PageQuery:
        if self.cursor is not None and self.offset:
            raise ValueError("give cursor or offset, not both")
        return self


class Conversation(BaseModel):
    """A conversation as callers see it."""

    id: UUID
    user_id: UUID
    title: str
    model_tag: str
    is_favorited: bool
    created_at: datetime
    updated_at: datetime


class Message(BaseModel):
    """A message as callers see it; `finish_reason` is null but for the assistant's."""

    id: UUID
    conversation_id: UUID
    role: Literal["user", "assistant", "system"]
    content: str
    token_count: int
    model_tag: str
    inference_time_ms: int
    created_at: datetime
    finish_reason: FinishReason | None


class Generation(BaseModel):
    """The generation now running in a conversation; `last_event_id` is null until an event is known here."""

    id: UUID
    conversation_id: UUID
    user_message_id: UUID
    status: GenerationStatus
    started_at: datetime
    last_event_id: str | None
