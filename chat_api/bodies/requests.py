"""The bodies of requests for an answer, and of those for a model: docs/contract.md section 1.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BeforeValidator, Field, field_validator, model_validator

from chat_api.bodies.fields import MAX_CONTENT_CHARACTERS, Body, MaxTokens, Temperature, Text, TopK
from chat_api.bodies.tools import MOST_BYTES, ToolChoice, Tools


def _without_default(schema: dict[str, Any]) -> None:
    """Tell programs of no default: one that sent it would begin the conversation each time."""
    del schema["default"]


class AnswerRequest(Body):
    """A request for an answer, with options for it."""

    temperature: Temperature | None = None
    max_tokens: MaxTokens | None = Field(
        None, description="thinking included; at most 4096 unless the model server speaks `openai`"
    )
    top_k: TopK | None = None
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
    when_running: Literal["reject", "supersede", "queue"] | None = Field(
        None,
        description="while an answer is being written in this conversation: `reject` is 409, `supersede` "
        "stops that answer and keeps its text, and `queue` lets the message wait for its turn (202); at most "
        "ten wait",
    )


class _NowOrNever(AnswerRequest):
    """A request that can't wait for its turn: what it is about may have changed by then."""

    when_running: Literal["reject", "supersede"] | None = Field(
        None,
        description="while an answer is being written in this conversation: `reject` is 409, and `supersede` "
        "stops that answer and keeps its text",
    )


class Regenerate(_NowOrNever):
    __doc__ = (
        "Which answer to do again, and options for the new one. For what is left out or null, the "
        "conversation's options decide, and then the service's settings."
    )

    message_id: UUID | None = Field(None, description="the answer to do again; without it, the last one")


class Continue(_NowOrNever):
    __doc__ = "Which answer to go on with, and options for the rest of it."

    message_id: UUID | None = Field(None, description="the answer that was cut; without it, the last one")


class MessageCreate(AnswerRequest):
    __doc__ = "A message, with options for its answer."

    content: Text = Field(
        description="in characters (code points)",
        min_length=1,
        max_length=MAX_CONTENT_CHARACTERS,
        examples=["How is masala chai made?"],
    )
    parent_id: UUID | None = Field(
        None,
        description="the message that this one comes after, beside what else came after that. Left out: the "
        "last one that is shown. Null: this one begins the conversation",
        json_schema_extra=_without_default,
    )

    @model_validator(mode="after")
    def _wait_at_the_end(self) -> MessageCreate:
        if self.when_running == "queue" and "parent_id" in self.model_fields_set:
            raise ValueError("what waits for its turn goes to the end: leave parent_id out")
        return self


class StopRequest(Body):
    __doc__ = "What else to stop."

    queue: Literal["clear"] | None = Field(
        None, description="`clear`: the messages that wait for their turn are removed, too"
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


class ToolResults(_NowOrNever):
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
