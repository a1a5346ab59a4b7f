"""Declarations beside the handlers, for the API's description."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from chat_api.errors import ChatError, DatabaseNotMigrated, DatabaseUnavailable, QueryBroken

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Route = TypeVar("_Route", bound=Handler)

EVENT_STREAM = "text/event-stream"
DATABASE: tuple[type[ChatError], ...] = (DatabaseUnavailable, DatabaseNotMigrated, QueryBroken)
EVENT_ID = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[0-9]{1,9}$",
}

_declared: dict[Handler, Operation] = {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, or a parameter of the query or the path; `schema` is JSON Schema."""

    place: Literal["header", "query", "path"]
    name: str
    says: str
    schema: Mapping[str, Any]
    example: str | None = None


class Response:
    """A status, its meaning and its contents: models stand for JSON, strings are media types."""

    def __init__(self, status: int | str, says: str, *contents: type[BaseModel] | str) -> None:
        self.status = str(status)
        self.says = says
        self.contents = contents


@dataclass(frozen=True, slots=True)
class Operation:
    """What can't be derived from a handler, its models and its path; `says` is the description."""

    summary: str
    tag: str
    answers: Sequence[Response]
    says: str
    errors: Sequence[type[ChatError]] = ()
    parameters: Sequence[Parameter] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = False
    security: Sequence[str] = ("bearer",)
    """The ways to say who is asking, by their names in openapi.py."""


def describe(operation: Operation) -> Callable[[_Route], _Route]:
    """Declare what a handler takes and answers.

    Some things needn't be declared: the token and its errors, unless the handler is public; 404 if the path
    has an id; 422 if there is input, and 400, 413 and 415 if that is a body; 500.
    """

    def declare(handler: _Route) -> _Route:
        _declared[handler] = operation
        return handler

    return declare


def declared(handler: Handler) -> Operation | None:
    """What a handler declares, if anything."""
    return _declared.get(handler)
