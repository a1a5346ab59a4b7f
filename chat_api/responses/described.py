"""The JSON of responses in OpenAI's form, for the API's description; responses.response makes it.

What callers read is assigned to `__doc__`, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from chat_api.bodies import ResponseBody
from chat_api.responses.requests import CONVERSATION, RESPONSE

MESSAGE = "msg_01a2f3c49aab7bcd8ef0112233445566"
Status = Literal["in_progress", "completed", "incomplete", "failed", "cancelled"]


class Item(ResponseBody):
    __doc__ = "An item, with the fields of its type."

    model_config = ConfigDict(extra="allow")

    id: str = Field(examples=[MESSAGE])
    type: Literal["message", "reasoning", "function_call", "function_call_output"] = Field(
        examples=["message"]
    )


class ResponseProblem(ResponseBody):
    __doc__ = "Why a response failed."

    code: Literal["server_error", "invalid_prompt"]
    message: str
    param: None = Field(examples=[None])
    type: str = Field(
        description="the service's own code, as in the chat's `error` event",
        examples=["inference_interrupted"],
    )


class Incomplete(ResponseBody):
    __doc__ = "Why a response isn't complete."

    reason: Literal["max_output_tokens", "content_filter"]


class ConversationReference(ResponseBody):
    __doc__ = "The conversation that a response is in."

    id: str = Field(examples=[CONVERSATION])


class InputDetails(ResponseBody):
    __doc__ = "Of the tokens that were read."

    cached_tokens: int
    cache_write_tokens: Literal[0]


class OutputDetails(ResponseBody):
    __doc__ = "Of the tokens that were written."

    reasoning_tokens: int


class ResponseUsage(ResponseBody):
    __doc__ = "Tokens; 0 where the model server doesn't say."

    input_tokens: int = Field(examples=[31])
    input_tokens_details: InputDetails
    output_tokens: int = Field(examples=[56])
    output_tokens_details: OutputDetails
    total_tokens: int = Field(examples=[87])


class ResponseObject(ResponseBody):
    __doc__ = "A response. What was asked with is said again; null where the service's settings decide."

    id: str = Field(examples=[RESPONSE])
    object: Literal["response"]
    created_at: int = Field(description="Unix seconds", examples=[1796029500])
    completed_at: int = Field(0, description="Unix seconds; only if it is completed", examples=[1796029512])
    status: Status = Field(examples=["completed"])
    background: bool
    error: ResponseProblem | None = Field(examples=[None])
    incomplete_details: Incomplete | None = Field(examples=[None])
    instructions: str | None
    max_output_tokens: int | None
    metadata: dict[str, str] = Field(examples=[{"ticket": "4711"}])
    model: str = Field(examples=["default"])
    output: list[Item]
    parallel_tool_calls: Literal[True]
    previous_response_id: str | None = Field(examples=[None])
    conversation: ConversationReference
    reasoning: dict[str, str | None] = Field(examples=[{"effort": None, "summary": "auto"}])
    store: Literal[True]
    temperature: float | None
    text: dict[str, Any] = Field(examples=[{"format": {"type": "text"}}])
    tool_choice: Any = Field(examples=["auto"])
    tools: list[dict[str, Any]] = Field(examples=[[]])
    top_p: None = Field(examples=[None])
    truncation: Literal["auto"]
    usage: ResponseUsage | None
    service_tier: Literal["default"]


class ItemList(ResponseBody):
    __doc__ = "A page of items."

    object: Literal["list"]
    data: list[Item]
    first_id: str | None = Field(examples=[MESSAGE])
    last_id: str | None = Field(examples=[MESSAGE])
    has_more: bool


class Deleted(ResponseBody):
    __doc__ = "What was deleted."

    id: str = Field(examples=[RESPONSE])
    object: Literal["response", "conversation.deleted"]
    deleted: Literal[True]


class ConversationObject(ResponseBody):
    __doc__ = "A conversation."

    id: str = Field(examples=[CONVERSATION])
    object: Literal["conversation"]
    created_at: int = Field(description="Unix seconds", examples=[1796029500])
    metadata: dict[str, str] = Field(examples=[{"ticket": "4711"}])


class ModelObject(ResponseBody):
    __doc__ = "A model that may answer."

    id: str = Field(examples=["default"])
    object: Literal["model"]
    created: Literal[0]
    owned_by: str = Field(examples=["samosachaat"])


class ModelList(ResponseBody):
    __doc__ = "The models that the caller may use."

    object: Literal["list"]
    data: list[ModelObject]
