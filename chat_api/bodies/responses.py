"""The JSON bodies of responses: docs/contract.md section 1.

The API's description is made from these models. Its sentences are their `__doc__`, and its examples are those
of their fields. What callers read is assigned to `__doc__`, because python -OO drops docstrings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chat_api.bodies.conversations import ConversationOptions

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "stopped", "interrupted", "error"]
GenerationStatus = Literal["running", "completed", "stopped", "failed", "interrupted"]


class ResponseBody(BaseModel):
    """A response's JSON. Most of it is made in SQL, so these models aren't built while the service starts."""

    model_config = ConfigDict(defer_build=True)


class ListedConversation(ResponseBody):
    __doc__ = "A conversation as the list shows it to its owner."

    id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    user_id: UUID = Field(examples=["7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2"])
    title: str = Field(examples=["Masala chai"])
    model_tag: str = Field(examples=["default"])
    is_favorited: bool
    created_at: datetime = Field(examples=["2026-11-24T09:00:00.123456+00:00"])
    updated_at: datetime = Field(
        description="of the last message", examples=["2026-11-24T09:05:00.123456+00:00"]
    )
    version: int = Field(
        ge=0, description="one more after each change by `PUT`: send it as `If-Match`", examples=[3]
    )


class Conversation(ListedConversation):
    __doc__ = "A conversation as its owner sees it."

    instructions: str | None = Field(
        description="what the model is told first, in place of the service's; null: the service's",
        examples=["Answer in one sentence."],
    )
    options: ConversationOptions | None = Field(
        description="what answers are asked with, unless a message says otherwise; null: nothing",
        examples=[{"temperature": 0.2}],
    )


class ToolCall(ResponseBody):
    __doc__ = "A call of one of the caller's tools."

    id: str = Field(examples=["call_1"])
    name: str = Field(examples=["weather"])
    arguments: str = Field(description="JSON text, perhaps cut off", examples=['{"city":"Pune"}'])


class Usage(ResponseBody):
    __doc__ = "What the model server counted, in tokens; null where it doesn't say."

    prompt_tokens: int | None = Field(examples=[31])
    completion_tokens: int | None = Field(examples=[56])
    reasoning_tokens: int | None = Field(description="of the completion's", examples=[None])
    cached_tokens: int | None = Field(description="of the prompt's", examples=[None])


class Siblings(ResponseBody):
    __doc__ = "The versions of a message: those that come after the same one."

    index: int = Field(ge=0, description="which of them the message itself is, from 0", examples=[1])
    ids: list[UUID] = Field(
        description="all of them, oldest first; `active_message_id` of `PUT` shows another one",
        examples=[["01a2f3c4-7a8b-7c90-8d1e-2f3041526370", "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"]],
    )


class Message(ResponseBody):
    __doc__ = "A message. An unknown number is 0, an unknown tag is empty."

    id: UUID = Field(examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526374"])
    conversation_id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    role: Literal["user", "assistant", "system", "tool"] = Field(
        description="`tool`: the result of a tool call", examples=["assistant"]
    )
    content: str = Field(examples=["Boil water with ginger and cardamom."])
    token_count: int = Field(examples=[9])
    model_tag: str = Field(examples=["d20"])
    inference_time_ms: int = Field(examples=[812])
    created_at: datetime = Field(examples=["2026-11-24T09:05:00.123456+00:00"])
    finish_reason: FinishReason | None = Field(
        description="why an assistant's message ended; null for the others", examples=["stop"]
    )
    reasoning: str | None = Field(
        description="what the model thought; null if it didn't say", examples=["They ask for a recipe."]
    )
    tool_calls: list[ToolCall] | None = Field(
        description="the tool calls that the model asked for; null if there are none", examples=[None]
    )
    tool_call_id: str | None = Field(
        description="of the role `tool`: the call that this is the result of", examples=[None]
    )
    usage: Usage | None = Field(description="null for a question, and where the server says nothing")
    parent_id: UUID | None = Field(
        description="the message that it comes after; null: it begins the conversation",
        examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526373"],
    )
    siblings: Siblings | None = Field(description="null: there is no other version of it", examples=[None])


class Generation(ResponseBody):
    __doc__ = "The answer that is being written in a conversation."

    id: UUID = Field(examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566"])
    conversation_id: UUID = Field(examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"])
    user_message_id: UUID = Field(examples=["01a2f3c4-7a8b-7c90-8d1e-2f3041526373"])
    status: GenerationStatus = Field(examples=["running"])
    started_at: datetime = Field(examples=["2026-11-24T09:05:00.123456+00:00"])
    last_event_id: str | None = Field(
        description="its newest event so far; null if none is known yet",
        examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566:41"],
    )


class Unanswered(ResponseBody):
    __doc__ = "Why a question has no answer. `error` and `detail` are null if the answer was stopped in time."

    generation_id: UUID = Field(examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566"])
    error: str | None = Field(description="as in the `error` event", examples=["answer_empty"])
    detail: str | None = Field(examples=["The model ended its answer without saying anything. Try again."])
    finish_reason: FinishReason = Field(examples=["error"])


class ConversationPage(ResponseBody):
    __doc__ = "One page of conversations, the most recently changed first."

    items: list[ListedConversation]
    grouped: dict[Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")], list[ListedConversation]] = Field(
        description="the same conversations, by the UTC date of `updated_at`"
    )
    limit: int = Field(examples=[50])
    offset: int = Field(examples=[0])
    next_cursor: str | None = Field(description="null on the last page", examples=[None])


class QueuedMessage(ResponseBody):
    __doc__ = "A message that waits until the answer that is being written has ended. It keeps its id."

    id: UUID = Field(examples=["01a2f3c4-9bcd-7ef0-8123-445566778899"])
    content: str = Field(examples=["And with oat milk?"])
    created_at: datetime = Field(examples=["2026-11-24T09:05:30.123456+00:00"])


class OpenConversation(Conversation):
    __doc__ = "A conversation with the messages of its active path, oldest first."

    messages: list[Message]
    has_more: bool = Field(description="whether `limit` left out earlier messages", examples=[False])
    generation: Generation | None = Field(
        description="the answer being written: attach to it with `GET …/stream`; null if there is none"
    )
    queued: list[QueuedMessage] = Field(
        description="the messages that wait for their turn, the next one first", examples=[[]]
    )
    unanswered: Unanswered | None = Field(
        description="why the last message, a question, has no answer; null if it has one, or none was begun"
    )


class Queued(ResponseBody):
    __doc__ = "A message that waits for its turn."

    queued: QueuedMessage


class Exchange(ResponseBody):
    __doc__ = "A question and its answer, both stored; `message` is null if the model said nothing."

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
                "reasoning": None,
                "tool_calls": None,
                "tool_call_id": None,
                "usage": None,
                "parent_id": None,
                "siblings": None,
            }
        ]
    )
    message: Message | None


class Stopped(ResponseBody):
    __doc__ = "Which answer was stopped, if one was being written."

    generation_id: UUID | None = Field(examples=["01a2f3c4-9aab-7bcd-8ef0-112233445566"])
    stopped: bool = Field(examples=[True])


class ModelDetails(ResponseBody):
    __doc__ = "A model that may answer."

    tag: str = Field(description="the `model_tag` of conversations", examples=["d20"])
    name: str = Field(description="for people", examples=["nanochat d20"])
    description: str | None = Field(examples=["Quick, for short questions."])
    context_tokens: int | None = Field(
        description="the length of its context; null if it isn't set", examples=[32768]
    )
    thinking: bool = Field(
        description="whether it can be told to think, by `thinking_mode`", examples=[False]
    )
    available: bool = Field(description="whether one of its servers answers just now", examples=[True])


class Models(ResponseBody):
    __doc__ = (
        "The models that the caller may use. Without `MODELS_FILE`, with fields of the model server's own."
    )

    model_config = ConfigDict(extra="allow")

    current_model: str | None = Field(
        None, description="which one answers in conversations of the tag `default`", examples=["d20"]
    )
    models: list[Any] = Field(
        [], description="their tags, or what the server says", examples=[["d20", "d32"]]
    )
    details: list[ModelDetails] | None = Field(
        None, description="the same models; left out where the server's list has no names alone"
    )


class Swapped(ResponseBody):
    __doc__ = "The model server's own response. With 202, the model is still being loaded."

    model_config = ConfigDict(extra="allow")

    status: str = Field("", examples=["ok"])
    current_model: str | None = Field(None, examples=["d32"])


class Health(ResponseBody):
    __doc__ = "The process is alive."

    status: Literal["ok"]
    ready: Literal[True]
    service: Literal["chat-api"]


class Readiness(ResponseBody):
    __doc__ = "Whether this worker can work. Each check is `ok` or says what is wrong."

    ready: bool = Field(examples=[True])
    checks: dict[str, str] = Field(examples=[{"database": "ok", "migrations": "ok", "worker": "ok"}])
