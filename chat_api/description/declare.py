"""What a route says of itself, beside its handler."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel

from chat_api.errors import ChatError, DatabaseNotMigrated, DatabaseUnavailable

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Route = TypeVar("_Route", bound=Handler)

EVENT_STREAM = "text/event-stream"
DATABASE: tuple[type[ChatError], ...] = (DatabaseUnavailable, DatabaseNotMigrated)
EVENT_ID = {
    "type": "string",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[0-9]{1,9}$",
}

_declared: dict[Handler, Operation] = {}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A header, a part of the query or of the path; `schema` is JSON Schema."""

    place: Literal["header", "query", "path"]
    name: str
    says: str
    schema: Mapping[str, Any]
    example: str | None = None


class Response:
    """A status, when it comes, and what it brings: models as JSON, names of media types as they are."""

    def __init__(self, status: int | str, says: str, *contents: type[BaseModel] | str) -> None:
        self.status = str(status)
        self.says = says
        self.contents = contents


@dataclass(frozen=True, slots=True)
class Operation:
    """What can't be read off a handler, its models and its path. Its docstring begins the description."""

    summary: str
    tag: str
    answers: Sequence[Response]
    says: str = ""
    errors: Sequence[type[ChatError]] = ()
    parameters: Sequence[Parameter] = ()
    query: type[BaseModel] | None = None
    body: type[BaseModel] | None = None
    body_required: bool = False


def describe(operation: Operation) -> Callable[[_Route], _Route]:
    """Declare what a handler takes and answers.

    Understood without a word: the caller's token and its errors unless the handler is public, 404 where the
    path has an id, 422 where something is read, 400, 413 and 415 where that is a body, 500.
    """

    def declare(handler: _Route) -> _Route:
        _declared[handler] = operation
        return handler

    return declare


def declared(handler: Handler) -> Operation | None:
    """What was declared."""
    return _declared.get(handler)
