"""Reading requests, and answering with JSON."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterable
from contextlib import nullcontext
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import structlog
from aiohttp import web
from pydantic import ValidationError

from chat_api import errors
from chat_api.http.context import INFERENCE, SETTINGS

if TYPE_CHECKING:
    from chat_api.bodies import Body

logger = structlog.get_logger(__name__)

Model = TypeVar("Model", bound="Body")

VERSION = r'"(0|[1-9]\d{0,8})"'
JSON = {"Content-Type": "application/json; charset=utf-8"}


async def read_body(request: web.Request, model: type[Model]) -> Model:
    """The JSON body, validated. A missing body counts as an empty object.

    Raises NotJson, BodyTooLarge, RequestTimeout, BadRequest (not JSON), Invalid.
    """
    is_here = request.content.is_eof()  # nearly always true; a timer would cost more than the rest of this
    try:
        async with nullcontext() if is_here else asyncio.timeout(request.app[SETTINGS].request_timeout):
            data = await request.read()
    except TimeoutError:
        raise errors.RequestTimeout from None
    except web.RequestPayloadError:
        raise errors.BadRequest("The request body is not what its Content-Encoding says.") from None
    # aiohttp has checked this already, unless this application is mounted in another, whose limit applied.
    if len(data) > request.app[SETTINGS].max_body_bytes:
        raise errors.BodyTooLarge
    if not data:
        data = b"{}"
    elif request.content_type != "application/json" and not request.content_type.endswith("+json"):
        raise errors.NotJson
    context = {"max_tokens": request.app[INFERENCE].catalogue.most_tokens}
    try:
        return model.model_validate_json(data, context=context)
    except ValidationError as error:
        raise refuse_invalid(error, "body") from None


def has_left(request: web.Request) -> bool:
    """Whether the caller's connection has ended."""
    return request.transport is None or request.transport.is_closing()


def read_query(request: web.Request, model: type[Model]) -> Model:
    """The query string, validated. Raises Invalid."""
    try:
        return model.model_validate(dict(request.query) if request.query_string else {})
    except ValidationError as error:
        raise refuse_invalid(error, "query") from None


def read_id(request: web.Request) -> UUID:
    """The conversation's id in the path. Raises ConversationNotFound if it isn't a UUID."""
    return parse_id(request.match_info["id"])


def read_message_id(request: web.Request) -> UUID:
    """The message's id in the path. Raises MessageNotFound if it isn't a UUID."""
    return parse_id(request.match_info["message_id"], errors.MessageNotFound)


def parse_id(text: str, missing: type[errors.NotFound] = errors.ConversationNotFound) -> UUID:
    """An id. Raises `missing` if it isn't a UUID."""
    try:
        parsed = UUID(text)
    except ValueError:
        raise missing from None
    if str(parsed) != text.lower():  # Python's parser accepts braces, and hyphens anywhere
        raise missing
    return parsed


def read_version(request: web.Request) -> int | None:
    """The version in `If-Match`, None if any will do (RFC 9110 section 13.1.1). Raises Invalid."""
    given = request.headers.get("If-Match", "*").strip()
    if given == "*":
        return None
    version = re.fullmatch(VERSION, given, re.ASCII)
    if version is None:
        raise errors.Invalid.of(
            "version_invalid", ("header", "If-Match"), 'must be a version in quotes, such as "3", or *'
        )
    return int(version[1])


def respond(body: str | bytes, status: int = 200) -> web.Response:
    """A response with a body that is JSON already."""
    data = body.encode() if isinstance(body, str) else body
    return web.Response(body=data, status=status, headers=JSON)


async def respond_in_pieces(request: web.Request, pieces: AsyncIterable[str]) -> web.StreamResponse:
    """A response with a body that is made while it is sent, as fast as the client takes it.

    When a piece can't be made, the connection breaks: the client sees that the body isn't complete.
    """
    response = web.StreamResponse(headers=JSON)
    try:
        await response.prepare(request)
        if (
            request.method != "HEAD"
        ):  # aiohttp would send the body, which the next response would seem to begin with
            async for piece in pieces:
                await response.write(piece.encode())
        await response.write_eof()
    except errors.ChatError:  # logged where it was raised; it is too late for another status
        if request.transport is not None:
            request.transport.abort()
    except ConnectionError:
        logger.debug("reader_left")
    return response


def refuse_invalid(error: ValidationError, place: str) -> errors.ChatError:
    """BadRequest or Invalid, from what pydantic found wrong in `place`: a body, a query or a frame."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    if problems[0]["type"] == "json_invalid":
        what = "request body" if place == "body" else place
        return errors.BadRequest(f"The {what} is not valid JSON: {problems[0]['msg'].partition(': ')[2]}.")
    return errors.Invalid([{**problem, "loc": [place, *problem["loc"]]} for problem in problems])
