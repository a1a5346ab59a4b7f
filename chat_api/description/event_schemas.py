"""What readers of an answer are sent, as SSE and as frames: docs/contract.md sections 2 and 3."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from chat_api.bodies import FinishReason

GENERATION = "01a2f3c4-9aab-7bcd-8ef0-112233445566"
CONVERSATION = "01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"
QUESTION = "01a2f3c4-7a8b-7c90-8d1e-2f3041526373"
ANSWER = "01a2f3c4-7a8b-7c90-8d1e-2f3041526374"


class _Data(BaseModel):
    model_config = ConfigDict(defer_build=True)


class Start(_Data):
    """Number 0: which answer this is, and what it answers."""

    generation_id: UUID = Field(examples=[GENERATION])
    conversation_id: UUID = Field(examples=[CONVERSATION])
    user_message_id: UUID = Field(examples=[QUESTION])


class Token(_Data):
    """The next piece of the answer: append it. More that the model server sent (as `gpu`) comes along."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"examples": [{"token": "Boil", "gpu": 0}]})

    token: str


class Reset(_Data):
    """The whole text so far, in place of events that are no longer kept: show it instead of what you have."""

    reset: Literal[True]
    content: str = Field(examples=["Boil water with ginger and cardamom."])


class Failure(_Data):
    """Why the answer ends here, by a code that stays the same; `done` follows."""

    error: str = Field(examples=["inference_interrupted"])
    detail: str = Field(examples=["The model server broke off in the middle of the answer; try again."])


class Done(_Data):
    """The last one. What was said is stored as `message_id`; null: nothing was said."""

    done: Literal[True]
    message_id: UUID | None = Field(examples=[ANSWER])
    finish_reason: FinishReason = Field(examples=["stop"])
    token_count: int = Field(ge=0, examples=[56])
    inference_time_ms: int = Field(ge=0, examples=[812])


DATA: tuple[type[BaseModel], ...] = (Start, Token, Reset, Failure, Done)


class _Placed(BaseModel):
    conversation_id: UUID = Field(examples=[CONVERSATION])
    generation_id: UUID = Field(examples=[GENERATION])
    seq: int = Field(ge=0, description="its number: in `after`, to continue behind it", examples=[1])


class StartFrame(Start):
    """Number 0 of an answer: which one, and what it answers."""

    type: Literal["start"]
    seq: Literal[0]


class TokenFrame(_Placed, Token):
    """The next piece of the answer: append it. More that the model server sent (as `gpu`) comes along."""

    model_config = ConfigDict(json_schema_extra={"examples": []})

    type: Literal["token"]
    token: str = Field(examples=["Boil"])


class ResetFrame(_Placed, Reset):
    """The whole text so far, in place of events that are no longer kept: show it instead of what you have."""

    type: Literal["reset"]


class FailureFrame(_Placed, Failure):
    """Why the answer ends here, by a code that stays the same; `done` follows."""

    type: Literal["error"]


class DoneFrame(_Placed, Done):
    """The last one. What was said is stored as `message_id`; null: nothing was said."""

    type: Literal["done"]


class ReadyFrame(_Data):
    """The token is good: commands may come."""

    type: Literal["ready"]
    user_id: UUID = Field(examples=["7b0e7c3a-94c8-4a53-8a60-3b1de6a3f9d2"])


class _Answering(_Data):
    ref: str | int | float | None = Field(description="the command's own", examples=["1"])


class Problem(_Data):
    """A field that is not valid: its place, the kind of problem and a sentence."""

    type: str
    loc: list[str | int]
    msg: str


class AckFrame(_Answering):
    """Done, or begun: its events follow where `generation_id` names an answer."""

    type: Literal["ack"]
    generation_id: UUID | None = Field(None, examples=[GENERATION])
    user_message_id: UUID | None = Field(None, description="of a send or regenerate", examples=[QUESTION])


class RefusalFrame(_Answering):
    """The command was refused, and changed nothing; the socket stays open. `ref` is null if it had none."""

    type: Literal["error"]
    code: str = Field(examples=["generation_running"])
    detail: str | list[Problem] = Field(
        description="a sentence; for `validation_failed` a list of problems",
        examples=["An answer is being written in this conversation: wait for it or stop it first."],
    )
    status: int = Field(description="what HTTP would have answered", examples=[409])
    retry_after: int | None = Field(
        description="seconds to wait before trying again; null where waiting doesn't help", examples=[None]
    )
    generation_id: UUID | None = Field(
        None, description="of `generation_running`: the one", examples=[GENERATION]
    )


EVENT_FRAMES: tuple[type[BaseModel], ...] = (StartFrame, TokenFrame, ResetFrame, FailureFrame, DoneFrame)
