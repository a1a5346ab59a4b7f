"""The bodies and queries of requests about conversations: docs/contract.md section 1.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import ConfigDict, Field, model_validator

from chat_api.bodies.fields import (
    WITHOUT_NUL,
    AnyTitle,
    Body,
    MaxTokens,
    ModelTag,
    Storable,
    Temperature,
    Title,
    TopK,
)

MAX_INSTRUCTIONS = 8000  # characters
MESSAGE = "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"


class ConversationCreate(Body):
    __doc__ = "A new conversation. Without a title, it gets one from its first message."

    title: AnyTitle | None = Field(None, description="an empty one is as none")
    model_tag: ModelTag | None = Field(None, description="the model that answers in this conversation")


class ConversationOptions(Body):
    __doc__ = (
        "What a conversation's answers are asked with, unless a request says otherwise. For what is left out "
        "or null, the service's settings decide."
    )

    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = None
    top_k: TopK | None = None
    thinking_mode: bool | None = Field(None, examples=[True])
    force_web_search: bool | None = None


def _any_of(**kinds: str) -> dict[str, Any]:
    """That one of these fields must be there, and not be null."""
    return {
        "anyOf": [{"required": [name], "properties": {name: {"type": kind}}} for name, kind in kinds.items()]
    }


class ConversationUpdate(Body):
    __doc__ = "The fields to change, at least one."

    model_config = ConfigDict(
        json_schema_extra=_any_of(
            title="string",
            is_favorited="boolean",
            active_message_id="string",
            model_tag="string",
            instructions="string",
            options="object",
        )
    )

    title: Title | None = None
    is_favorited: bool | None = Field(None, examples=[True])
    active_message_id: UUID | None = Field(
        None, description="the message to be shown, with what comes before it and, newest first, after it"
    )
    model_tag: ModelTag | None = Field(None, description="the model that answers from now on")
    instructions: (
        Annotated[
            str,
            Field(
                max_length=MAX_INSTRUCTIONS,
                examples=["Answer in one sentence."],
                json_schema_extra=WITHOUT_NUL,
            ),
            Storable,
        ]
        | None
    ) = Field(None, description="what the model is told first, in place of the service's; empty: none")
    options: ConversationOptions | None = Field(
        None,
        description="all of them, in place of the old ones; an empty object: none",
        examples=[{"temperature": 0.2}],
    )

    @model_validator(mode="after")
    def _require_change(self) -> ConversationUpdate:
        if all(value is None for _, value in self):
            raise ValueError(f"give one of {', '.join(type(self).model_fields)}")
        return self


class Fork(Body):
    __doc__ = "Where the new conversation ends."

    message_id: UUID = Field(
        description="the last message that is copied, with all that it comes after", examples=[MESSAGE]
    )


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
