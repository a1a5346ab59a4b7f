"""The commands of a WebSocket's client (docs/contract.md section 3), as pydantic models.

The API's description quotes `__doc__`. It is assigned, because python -OO drops docstrings.
"""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    PlainValidator,
    SecretStr,
    StrictFloat,
    StrictInt,
    StrictStr,
    TypeAdapter,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from chat_api import errors
from chat_api.bodies import (
    MAX_KEY_CHARACTERS,
    Body,
    Continue,
    MessageCreate,
    Regenerate,
    StopRequest,
    ToolResults,
)
from chat_api.description.declare import EVENT_ID
from chat_api.generation.readers import Cursor
from chat_api.http.requests import parse_id, refuse_invalid

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 8259 section 6: JSON parsers disagree about larger numbers


def _read_id(given: object) -> object:
    return parse_id(given) if isinstance(given, str) else given


def _read_cursor(given: object) -> Cursor | None:
    if given is None:
        return None
    try:
        return Cursor.parse(given if isinstance(given, str) else "")
    except ValueError:
        raise PydanticCustomError("event_id_invalid", "must look like <generation_id>:<seq>") from None


def _printable(key: str) -> str:
    if not key.isprintable():
        raise ValueError("must be printable")
    return key


EventId = Annotated[str, Field(json_schema_extra={"pattern": EVENT_ID["pattern"]})]
Ref: TypeAlias = (
    Annotated[StrictStr, Field(max_length=200)]
    | Annotated[StrictInt, Field(ge=-MAX_SAFE_INTEGER, le=MAX_SAFE_INTEGER)]
    | Annotated[StrictFloat, Field(allow_inf_nan=False)]
)
Key = Annotated[
    str,
    Field(min_length=1, max_length=MAX_KEY_CHARACTERS, json_schema_extra={"pattern": "^[ -~]*$"}),
    AfterValidator(_printable),
]


class Authenticate(Body):
    __doc__ = "Authenticate, as the first command and again before the token expires."

    token: SecretStr = Field(examples=["eyJhbGciOi…"])


class Command(Body):
    """A command in a conversation; `ref` comes back with the answer."""

    ref: Ref = Field(examples=["1"])
    conversation_id: Annotated[UUID, BeforeValidator(_read_id)] = Field(
        examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"]
    )


class Send(Command, MessageCreate):
    __doc__ = "Store a message, and stream the answer."

    idempotency_key: Key | None = None


class SendAgain(Command, Regenerate):
    __doc__ = "Do an answer again, the last one or `message_id`. The old one stays, as its sibling."

    idempotency_key: Key | None = None


class GoOn(Command, Continue):
    __doc__ = "Go on with an answer that was cut, the last one or `message_id`."

    idempotency_key: Key | None = None


class GiveResults(Command, ToolResults):
    __doc__ = "Give the results of tool calls, and stream the answer that follows."

    idempotency_key: Key | None = None


class Subscribe(Command):
    __doc__ = "Follow a conversation, from its running answer's first event or from the one after `after`."

    after: Annotated[
        Cursor | None,
        PlainValidator(_read_cursor, json_schema_input_type=EventId | None),
        PlainSerializer(str),  # otherwise the description would have a schema of Cursor itself
    ] = None


class Unsubscribe(Command):
    __doc__ = "Stop following a conversation."


class Stop(Command, StopRequest):
    __doc__ = "Stop a conversation's running answer."


Start: TypeAlias = Send | SendAgain | GoOn | GiveResults
Asked: TypeAlias = Authenticate | Start | Subscribe | Unsubscribe | Stop
KINDS: dict[str, type[Asked]] = {
    "auth": Authenticate,
    "send": Send,
    "regenerate": SendAgain,
    "continue": GoOn,
    "tool_results": GiveResults,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "stop": Stop,
}

_REF: TypeAdapter[Ref] = TypeAdapter(Ref)


class Envelope(Body):
    """A frame's type and `ref`, read before the rest is validated, so that a refusal can name the `ref`."""

    type: Any = None
    ref: Any = None

    @classmethod
    def read(cls, message: str | bytes) -> Envelope:
        """Raises BadRequest if the message isn't JSON text, Invalid if it isn't an object.

        A `ref` that isn't valid becomes None.
        """
        if isinstance(message, bytes):
            raise errors.BadRequest("Send JSON in text frames, not in binary ones.")
        try:
            envelope = cls.model_validate_json(message)
        except ValidationError as error:
            raise refuse_invalid(error, "frame") from None
        try:
            _REF.validate_python(envelope.ref)
        except ValidationError:
            return envelope.model_copy(update={"ref": None})
        return envelope


def read_command(kind: object, text: str | bytes, max_tokens: int) -> Asked:
    """The command in a frame; `kind` is the frame's type, `max_tokens` the most that may be asked for.

    Raises Invalid, ConversationNotFound.
    """
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise errors.Invalid.of("type_unknown", ("frame", "type"), f"must be one of {', '.join(KINDS)}")
    try:
        return model.model_validate_json(text, context={"max_tokens": max_tokens})
    except ValidationError as error:
        raise refuse_invalid(error, "frame") from None
