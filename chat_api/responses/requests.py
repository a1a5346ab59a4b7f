"""The bodies and queries of requests in OpenAI's form. What isn't known is refused by name.

Their sentences are their `__doc__`, assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, model_validator

from chat_api.bodies.conversations import MAX_INSTRUCTIONS
from chat_api.bodies.fields import (
    MAX_CONTENT_CHARACTERS,
    WITHOUT_NUL,
    Body,
    MaxTokens,
    ModelTag,
    Storable,
    Temperature,
)
from chat_api.responses.options import (
    FunctionTool,
    ReasoningOptions,
    StreamOptions,
    Strict,
    TextOptions,
    by_form,
    check_choice,
)

MOST_PAIRS, KEY_CHARACTERS, VALUE_CHARACTERS = 16, 64, 512  # of metadata
MOST_ITEMS = 20  # that are added to a conversation at once
RESPONSE = "resp_01a2f3c45d6e7f808a1b2c3d4e5f607101a2f3c49aab7bcd8ef0112233445566"
CONVERSATION = "conv_01a2f3c45d6e7f808a1b2c3d4e5f6071"
IDS: dict[str, Any] = {"pattern": "^[ -~]*$"}


def _id_of(given: Any) -> Any:
    """A conversation's id, which may come as `{"id": …}`."""
    return given["id"] if isinstance(given, dict) and set(given) == {"id"} else given


def _few(pairs: dict[str, str]) -> dict[str, str]:
    if len(pairs) > MOST_PAIRS:
        raise ValueError(f"must have at most {MOST_PAIRS} pairs")
    return pairs


_Key = Annotated[str, Field(max_length=KEY_CHARACTERS, json_schema_extra=WITHOUT_NUL), Storable]
_Value = Annotated[str, Field(max_length=VALUE_CHARACTERS, json_schema_extra=WITHOUT_NUL), Storable]
Metadata = Annotated[
    dict[_Key, _Value],
    Field(
        description=f"at most {MOST_PAIRS} pairs, keys of {KEY_CHARACTERS} and values of {VALUE_CHARACTERS} "
        "characters; the service doesn't read them",
        examples=[{"ticket": "4711"}],
        json_schema_extra={"maxProperties": MOST_PAIRS},
    ),
    AfterValidator(_few),
]
Instructions = Annotated[
    str, Field(max_length=MAX_INSTRUCTIONS, json_schema_extra=WITHOUT_NUL, examples=["Be brief."]), Storable
]


def _is_input(given: Any) -> str | list[Any]:
    if not isinstance(given, str | list) or not given:
        raise ValueError("must be a text or items")
    checked: str | list[Any] = given
    return checked


Input = Annotated[
    Any,
    AfterValidator(_is_input),
    Field(
        description=f"a text, or items: messages of text, at most {MAX_CONTENT_CHARACTERS} characters each; "
        "`function_call_output`; answers, `function_call` and `reasoning` where a conversation begins",
        examples=["How is masala chai made?"],
        json_schema_extra={
            "anyOf": [
                {"type": "string", "minLength": 1, **WITHOUT_NUL},
                {"type": "array", "minItems": 1, "items": {"type": "object"}},
            ]
        },
    ),
]


class ResponseCreate(Strict):
    __doc__ = "A request for a response. What isn't listed here is refused, and the error names it."

    model: ModelTag | None = Field(
        None, description="a model of `GET /v1/models`; left out: the conversation's, or the default one"
    )
    input: Input
    instructions: Instructions | None = Field(
        None, description="what the model is told first, for this response only"
    )
    stream: bool = Field(default=False, description="true: events, instead of the response when it has ended")
    background: bool = Field(
        default=False,
        description="true: the response comes back at once; its answer is written, whoever reads it",
    )
    previous_response_id: Annotated[str, Field(max_length=100, json_schema_extra=IDS)] | None = Field(
        None,
        description="the response after which this one comes; what else came after it stays, as a sibling",
        examples=[RESPONSE],
    )
    conversation: (
        Annotated[
            str,
            BeforeValidator(_id_of),
            Field(
                max_length=100,
                json_schema_extra={
                    "anyOf": [
                        {"type": "string"},
                        {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
                    ],
                },
            ),
        ]
        | None
    ) = Field(
        None,
        description="the conversation that goes on; without this and `previous_response_id`, a new one",
        examples=[CONVERSATION],
    )
    temperature: Temperature | None = None
    max_output_tokens: MaxTokens | None = Field(None, description="thinking included")
    metadata: Metadata | None = None
    tools: Annotated[list[FunctionTool], Field(max_length=128)] | None = Field(
        None, description="functions, which you run; for this response only"
    )
    tool_choice: (
        Annotated[
            Any,
            BeforeValidator(by_form),
            AfterValidator(check_choice),
            Field(
                json_schema_extra={
                    "anyOf": [
                        {"enum": ["none", "auto", "required"]},
                        {
                            "type": "object",
                            "required": ["type", "name"],
                            "properties": {"type": {"const": "function"}, "name": {"type": "string"}},
                        },
                    ]
                },
                examples=["auto"],
            ),
        ]
        | None
    ) = None
    reasoning: ReasoningOptions | None = None
    text: TextOptions | None = None
    parallel_tool_calls: Literal[True] | None = Field(None, description="the model decides")
    store: Literal[True] | None = Field(None, description="every response is stored, until it is deleted")
    truncation: Literal["auto"] | None = Field(
        None, description="what doesn't fit the model's context is left out, the oldest first"
    )
    include: Annotated[list[Any], Field(max_length=0)] | None = None
    stream_options: StreamOptions | None = None
    top_p: Literal[1] | None = None
    top_logprobs: Literal[0] | None = None
    service_tier: Literal["auto", "default"] | None = None
    user: str | None = Field(None, description="accepted, without effect, as are the next two")
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @model_validator(mode="after")
    def _one_place(self) -> ResponseCreate:
        if self.conversation is not None and self.previous_response_id is not None:
            raise ValueError("give conversation or previous_response_id, not both")
        return self


class ConversationNew(Strict):
    __doc__ = "A new conversation, and perhaps what was said in it."

    metadata: Metadata | None = None
    items: Annotated[list[Any], Field(max_length=MOST_ITEMS)] | None = Field(
        None, description=f"at most {MOST_ITEMS}, as in `input` of a response"
    )


class ConversationNoted(Strict):
    __doc__ = "What you note on a conversation, in place of what you noted before."

    metadata: Metadata


class ItemsNew(Strict):
    __doc__ = "Items for the end of a conversation."

    items: Annotated[list[Any], Field(min_length=1, max_length=MOST_ITEMS)] = Field(
        description=f"at most {MOST_ITEMS}, as in `input` of a response",
        examples=[[{"role": "user", "content": "How is masala chai made?"}]],
    )


class ItemsQuery(Body):
    __doc__ = "Which items."

    model_config = ConfigDict(defer_build=True)

    limit: Annotated[int, Field(ge=1, le=100)] = Field(
        20, description="messages a page; one may be several items"
    )
    order: Literal["asc", "desc"] = Field("desc", description="`desc`: the newest first")
    after: Annotated[str, Field(max_length=100, json_schema_extra=IDS)] | None = Field(
        None, description="the last item of the page before"
    )


class ResponseQuery(Body):
    __doc__ = "Whether the response comes as events, and from which on."

    model_config = ConfigDict(defer_build=True)

    stream: bool = Field(default=False, description="true: its events, also of one that has ended")
    starting_after: Annotated[int, Field(ge=0, le=2_147_483_647)] | None = Field(
        None, description="only events whose `sequence_number` is greater"
    )
