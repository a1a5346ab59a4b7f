"""The events that readers of an answer get, as SSE and as frames (docs/contract.md sections 2 and 3).

The API's description quotes `__doc__`. It is assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chat_api.bodies import FinishReason, QueuedMessage, ToolCall, Usage

GENERATION = "01a2f3c4-9aab-7bcd-8ef0-112233445566"
CONVERSATION = "01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"
QUESTION = "01a2f3c4-7a8b-7c90-8d1e-2f3041526373"
ANSWER = "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"

# Each describes an event and its frame.
_PIECE = "The next piece of the answer: append it. Other fields of the model server, such as `gpu`, are kept."
_THOUGHT = "The next piece of the model's thinking: append it, apart from the answer's text."
_CALL = (
    "A piece of a call of one of the caller's tools. `id` and `name` come with the first piece of an "
    "`index`; `arguments` is JSON text to be appended."
)
_WHOLE = (
    "All that was said so far, in place of events that are no longer kept, or of text that was taken back: "
    "show it instead of what you have."
)
_REASON = "Why the answer ends here, with a code that never changes; `done` follows."
_LAST = "The last event. The answer is stored as `message_id`; null: nothing was said, so nothing was stored."


class _Data(BaseModel):
    model_config = ConfigDict(defer_build=True)


class HistorySent(_Data):
    __doc__ = "How much of the conversation the model is sent."

    sent: int = Field(ge=1, description="messages, the question among them", examples=[12])
    left_out: int = Field(
        ge=0,
        description="earlier messages that don't fit; a count of more than 200 may be too low",
        examples=[3],
    )


class Start(_Data):
    __doc__ = "Event number 0: the ids of the answer and of the question, and what the model is sent."

    generation_id: UUID = Field(examples=[GENERATION])
    conversation_id: UUID = Field(examples=[CONVERSATION])
    user_message_id: UUID = Field(examples=[QUESTION])
    history: HistorySent | None = Field(None, description="null in answers that an earlier release began")


class Token(_Data):
    __doc__ = _PIECE

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"token": "Boil", "gpu": 0}]})

    token: str


class Reasoning(_Data):
    __doc__ = _THOUGHT

    model_config = ConfigDict(extra="allow")

    reasoning: str = Field(examples=["They ask"])


class CallPiece(_Data):
    __doc__ = _CALL

    index: int = Field(ge=0, examples=[0])
    id: str | None = Field(None, examples=["call_1"])
    name: str | None = Field(None, examples=["weather"])
    arguments: str = Field(examples=['{"ci'])


class ToolCallPiece(_Data):
    __doc__ = _CALL

    tool_call: CallPiece


class Reset(_Data):
    __doc__ = _WHOLE

    reset: Literal[True]
    content: str = Field(examples=["Boil water with ginger and cardamom."])
    reasoning: str | None = Field(examples=["They ask for a recipe."])
    tool_calls: list[ToolCall] | None = Field(examples=[None])


class Failure(_Data):
    __doc__ = _REASON

    error: str = Field(examples=["inference_interrupted"])
    detail: str = Field(examples=["The model server broke off in the middle of the answer. Try again."])
    retry_after: int | None = Field(
        None, ge=1, description="seconds to wait, if the model server named a time", examples=[42]
    )


class Done(_Data):
    __doc__ = _LAST

    done: Literal[True]
    message_id: UUID | None = Field(examples=[ANSWER])
    finish_reason: FinishReason = Field(examples=["stop"])
    token_count: int = Field(ge=0, examples=[56])
    inference_time_ms: int = Field(ge=0, examples=[812])
    usage: Usage


DATA: tuple[type[BaseModel], ...] = (Start, Token, Reasoning, ToolCallPiece, Reset, Failure, Done)


class _Placed(BaseModel):
    conversation_id: UUID = Field(examples=[CONVERSATION])
    generation_id: UUID = Field(examples=[GENERATION])
    seq: int = Field(ge=0, description="its number; use it in `after` to continue after it", examples=[1])


class StartFrame(Start):
    __doc__ = "Event number 0 of an answer: its id and its question's, and what the model is sent."

    type: Literal["start"]
    seq: Literal[0]


class TokenFrame(_Placed, Token):
    __doc__ = _PIECE

    model_config = ConfigDict(json_schema_extra={"examples": []})

    type: Literal["token"]
    token: str = Field(examples=["Boil"])


class ReasoningFrame(_Placed, Reasoning):
    __doc__ = _THOUGHT

    type: Literal["reasoning"]


class ToolCallFrame(_Placed, ToolCallPiece):
    __doc__ = _CALL

    type: Literal["tool_call"]


class ResetFrame(_Placed, Reset):
    __doc__ = _WHOLE

    type: Literal["reset"]


class FailureFrame(_Placed, Failure):
    __doc__ = _REASON

    type: Literal["error"]


class DoneFrame(_Placed, Done):
    __doc__ = _LAST

    type: Literal["done"]


class ChangedFrame(_Data):
    __doc__ = (
        "The conversation has changed otherwise than by an answer: its settings, its title, what is shown or "
        "what waits for its turn. Read it again. Changes that come at about the same time may be told as one."
    )

    type: Literal["changed"]
    conversation_id: UUID = Field(examples=[CONVERSATION])


class ReadyFrame(_Data):
    __doc__ = "The token is valid; commands may be sent."

    type: Literal["ready"]
    user_id: UUID = Field(examples=["7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2"])


class _Answering(_Data):
    ref: str | int | float | None = Field(description="the command's own", examples=["1"])


class Problem(_Data):
    __doc__ = "A field that is not valid: its place, the kind of problem and a sentence."

    type: str
    loc: list[str | int]
    msg: str


class AckFrame(_Answering):
    __doc__ = "The command was carried out. If `generation_id` names an answer, its events follow."

    type: Literal["ack"]
    generation_id: UUID | None = Field(None, examples=[GENERATION])
    user_message_id: UUID | None = Field(
        None, description="after send, regenerate, continue and tool_results", examples=[QUESTION]
    )
    stopped: bool | None = Field(
        None, description="after stop: whether the answer is known to have ended", examples=[True]
    )


class QueuedFrame(_Answering):
    __doc__ = "The message waits for its turn. Its events follow when it has come."

    type: Literal["queued"]
    conversation_id: UUID = Field(examples=[CONVERSATION])
    queued: QueuedMessage


class RefusalFrame(_Answering):
    __doc__ = (
        "The command was refused and changed nothing. The socket stays open. `ref` is null if it had none."
    )

    type: Literal["error"]
    code: str = Field(examples=["generation_running"])
    detail: str | list[Problem] = Field(
        description="a sentence; for `validation_failed` a list of problems",
        examples=["An answer is being written in this conversation. Wait for it or stop it first."],
    )
    status: int = Field(description="the status that HTTP would have", examples=[409])
    retry_after: int | None = Field(
        description="seconds to wait before trying again; null if waiting doesn't help", examples=[None]
    )
    generation_id: UUID | None = Field(
        None, description="with `generation_running`: the answer being written", examples=[GENERATION]
    )
    default_model: str | None = Field(
        None, description="with `model_gone`: the tag of the model that answers by default", examples=["d20"]
    )
    scope: str | None = Field(
        None, description="with `scope_missing`: the scope that an API key needs for this", examples=["chat"]
    )
    begins_anew: datetime | None = Field(
        None,
        description="with `budget_exhausted`: when the budget's next period begins",
        examples=["2026-12-01T00:00:00Z"],
    )


EVENT_FRAMES: tuple[type[BaseModel], ...] = (
    StartFrame,
    TokenFrame,
    ReasoningFrame,
    ToolCallFrame,
    ResetFrame,
    FailureFrame,
    DoneFrame,
)
