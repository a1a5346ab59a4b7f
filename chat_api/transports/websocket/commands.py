"""What a WebSocket's client may ask for: docs/contract.md section 3, as pydantic models."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias
from uuid import UUID

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
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
from chat_api.bodies import MAX_KEY_CHARACTERS, Body, MessageCreate, Regenerate
from chat_api.description.declare import EVENT_ID
from chat_api.generation.readers import Cursor
from chat_api.http.requests import parse_id, refuse_invalid

MAX_SAFE_INTEGER = 2**53 - 1  # RFC 8259 section 6: beyond it, JSON's readers disagree


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
    """Who is asking, at first and again before the token expires."""

    token: SecretStr = Field(examples=["eyJhbGciOi…"])


class Command(Body):
    """Something to be done in a conversation; `ref` comes back with the answer."""

    ref: Ref = Field(examples=["1"])
    conversation_id: Annotated[UUID, BeforeValidator(_read_id)] = Field(
        examples=["01a2f3c4-5d6e-7f80-8a1b-2c3d4e5f6071"]
    )


class Send(Command, MessageCreate):
    """Store a message, and stream its answer."""

    idempotency_key: Key | None = None


class SendAgain(Command, Regenerate):
    """Answer the last message again."""

    idempotency_key: Key | None = None


class Subscribe(Command):
    """Follow a conversation, from its running generation's first event or from the one after `after`."""

    after: Annotated[Cursor | None, PlainValidator(_read_cursor, json_schema_input_type=EventId | None)] = (
        None
    )


class Unsubscribe(Command):
    """Follow it no more."""


class Stop(Command):
    """End its running generation."""


Asked: TypeAlias = Authenticate | Send | SendAgain | Subscribe | Unsubscribe | Stop
KINDS: dict[str, type[Asked]] = {
    "auth": Authenticate,
    "send": Send,
    "regenerate": SendAgain,
    "subscribe": Subscribe,
    "unsubscribe": Unsubscribe,
    "stop": Stop,
}

_REF: TypeAdapter[Ref] = TypeAdapter(Ref)


class Envelope(Body):
    """What can be told of a frame before it is known to be right: its type, and a ref to answer under."""

    type: Any = None
    ref: Any = None

    @classmethod
    def read(cls, message: str | bytes) -> Envelope:
        """Raises BadRequest when it is no JSON text, Invalid when it is no object. A wrong `ref` is null."""
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


def read_command(kind: object, text: str | bytes) -> Asked:
    """A frame as the command that its type names. Raises Invalid, ConversationNotFound."""
    model = KINDS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise errors.Invalid.of("type_unknown", ("frame", "type"), f"must be one of {', '.join(KINDS)}")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise refuse_invalid(error, "frame") from None
