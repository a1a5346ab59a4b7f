"""Reading what callers send, and answering with JSON."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

from aiohttp import web
from pydantic import ValidationError

from chat_api import errors
from chat_api.http.context import SETTINGS

if TYPE_CHECKING:
    from chat_api.bodies import Body

Model = TypeVar("Model", bound="Body")

JSON = {"Content-Type": "application/json; charset=utf-8"}


async def read_body(request: web.Request, model: type[Model]) -> Model:
    """The JSON body, validated. No body at all is an empty object.

    Raises NotJson, BodyTooLarge, RequestTimeout, BadRequest (no JSON), Invalid.
    """
    is_here = request.content.is_eof()  # nearly always: a timer would cost more than the rest of this
    try:
        async with nullcontext() if is_here else asyncio.timeout(request.app[SETTINGS].request_timeout):
            data = await request.read()
    except TimeoutError:
        raise errors.RequestTimeout from None
    except web.RequestPayloadError:
        raise errors.BadRequest("The request body is not what its Content-Encoding says.") from None
    # aiohttp has looked already, unless this application lies within another one, whose limit counted.
    if len(data) > request.app[SETTINGS].max_body_bytes:
        raise errors.BodyTooLarge
    if not data:
        data = b"{}"
    elif request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise errors.NotJson
    try:
        return model.model_validate_json(data)
    except ValidationError as error:
        raise refuse_invalid(error, "body") from None


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query string, validated. Raises Invalid."""
    try:
        return model.model_validate(dict(request.query) if request.query_string else {})
    except ValidationError as error:
        raise refuse_invalid(error, "query") from None


def read_id(request: web.Request) -> UUID:
    """The conversation's id in the path. Raises ConversationNotFound when it is none."""
    return parse_id(request.match_info["id"])


def parse_id(text: str) -> UUID:
    """A conversation's id. Raises ConversationNotFound when it is none."""
    try:
        conversation_id = UUID(text)
    except ValueError:
        raise errors.ConversationNotFound from None
    if str(conversation_id) != text.lower():  # Python's reader takes braces, and hyphens anywhere
        raise errors.ConversationNotFound
    return conversation_id


def respond(body: str | bytes, status: int = 200) -> web.Response:
    """A response of ready JSON."""
    data = body.encode() if isinstance(body, str) else body
    return web.Response(body=data, status=status, headers=JSON)


def refuse_invalid(error: ValidationError, place: str) -> errors.ChatError:
    """What pydantic found wrong with a body, a query or a frame (the `place`): BadRequest or Invalid."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        what = "request body" if place == "body" else place
        return errors.BadRequest(f"The {what} is not valid JSON: {problems[0]['msg'].partition(': ')[2]}.")
    return errors.Invalid([{**problem, "loc": [place, *problem["loc"]]} for problem in problems])
