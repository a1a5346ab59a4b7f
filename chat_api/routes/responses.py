"""OpenAI's Responses API: a response is a generation (docs/openai.md)."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, cast

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description import declare
from chat_api.description.declare import EVENT_STREAM, Operation, Parameter, Response, describe
from chat_api.generation.readers import Reading
from chat_api.http.client import limit_subject
from chat_api.http.context import GENERATIONS, METRICS, PRINCIPAL, SETTINGS
from chat_api.http.requests import has_left, read_body, read_query, respond
from chat_api.responses import ids, inputs, items
from chat_api.responses.described import Deleted, ItemList, ResponseObject
from chat_api.responses.requests import IDS, RESPONSE, ItemsQuery, ResponseCreate, ResponseQuery
from chat_api.responses.response import began_conversation, begun, given, now
from chat_api.responses.translation import Translation
from chat_api.routes import branches, conversations, messages
from chat_api.routes.response_places import Place, find_place, find_response, leave
from chat_api.transports import sse

if TYPE_CHECKING:
    import asyncpg

    from chat_api.relay import Log

routes = web.RouteTableDef()

TAG = "OpenAI's API"
RESPONSE_ID = Parameter("path", "response_id", "The response's id.", {"type": "string", **IDS}, RESPONSE)
ERRORS = [*messages.ERRORS, errors.ResponseNotFound]


@routes.post("/v1/responses")
@describe(
    Operation(
        "Create a response",
        TAG,
        [
            Response(
                200,
                "The response: with `stream`, its events; with `background`, as it has begun; else when it "
                "has ended.",
                ResponseObject,
                EVENT_STREAM,
            )
        ],
        "Ask a model. Without `conversation` and `previous_response_id`, this begins a conversation. The "
        "answer is written whether you stay connected or not.",
        errors=[
            *ERRORS,
            errors.ConversationNotFound,
            errors.NoOpenCalls,
            errors.UnknownUser,
            errors.TooManyConversations,
        ],
        parameters=[messages.IDEMPOTENCY_KEY],
        body=ResponseCreate,
        body_required=True,
    )
)
async def create(request: web.Request) -> web.StreamResponse:
    wanted = await read_body(request, ResponseCreate)
    turn = inputs.read(wanted.input)
    key = messages.read_key(request)
    place = await find_place(request, wanted, turn, key)
    who = request[PRINCIPAL]
    try:
        started = await request.app[GENERATIONS].start(
            who.user_id,
            place.conversation_id,
            place.asked,
            key,
            limit_subject(request),
            is_admin=who.is_admin,
        )
    except errors.ChatError:
        await leave(request, place)
        raise
    log = cast("Reading", started).log  # only messages that may wait are Waiting
    with _audience(request, log, is_background=wanted.background):
        row = await find_response(request, ids.response_id(place.conversation_id, log.generation_id))
        if wanted.stream:
            return await _stream(request, row, log)
        if wanted.background:
            return respond(orjson.dumps(now(row)))
        return await _whole(request, place, log)


@routes.get("/v1/responses/{response_id}", allow_head=False)
@describe(
    Operation(
        "Read a response",
        TAG,
        [Response(200, "The response, or with `stream` its events.", ResponseObject, EVENT_STREAM)],
        "A response as it is by now. With `stream=true`, its events from the first, or after "
        "`starting_after`, on any worker, also of one that the page has begun. Once they are no longer kept, "
        "few events bring the whole.",
        errors=[*declare.DATABASE, errors.ResponseNotFound],
        parameters=[RESPONSE_ID],
        query=ResponseQuery,
    )
)
async def get(request: web.Request) -> web.StreamResponse:
    query = read_query(request, ResponseQuery)
    row = await find_response(request, request.match_info["response_id"])
    if not query.stream:
        return respond(orjson.dumps(now(row)))
    log = await request.app[GENERATIONS].readers.find(row["generation_id"], row["conversation_id"])
    after = -1 if query.starting_after is None else query.starting_after
    with _audience(request, log, is_background=begun(row)["background"]):
        return await _stream(request, row, log, after)


@routes.post("/v1/responses/{response_id}/cancel")
@describe(
    Operation(
        "Cancel a response",
        TAG,
        [Response(200, "The response; one that had ended before is as it was.", ResponseObject)],
        "Stop a response that is being written. Its text so far is kept, and its status is `cancelled`.",
        errors=[*declare.DATABASE, errors.ResponseNotFound],
        parameters=[RESPONSE_ID],
    )
)
async def cancel(request: web.Request) -> web.Response:
    row = await find_response(request, request.match_info["response_id"])
    if row["status"] == "running":
        await request.app[GENERATIONS].stop(
            request[PRINCIPAL].user_id, row["conversation_id"], generation_id=row["generation_id"]
        )
        row = await find_response(request, request.match_info["response_id"])
    return respond(orjson.dumps(now(row)))


@routes.delete("/v1/responses/{response_id}")
@describe(
    Operation(
        "Delete a response",
        TAG,
        [Response(200, "It is gone.", Deleted)],
        "Delete a response with its input; if it began its conversation, that goes too. Not while it is "
        "being written, and not where something comes after it.",
        errors=[
            *declare.DATABASE,
            errors.ResponseNotFound,
            errors.GenerationRunning,
            errors.Followed,
            errors.LegalHold,
        ],
        parameters=[RESPONSE_ID],
    )
)
async def delete(request: web.Request) -> web.Response:
    row = await find_response(request, request.match_info["response_id"])
    if row["status"] == "running":
        raise errors.GenerationRunning
    if row["is_followed"]:
        raise errors.Followed
    is_again = row["kind"] in ("regenerate", "continue")
    taken = row["message_id"] if is_again and row["message_id"] is not None else row["first_id"]
    await branches.take_back_from(request, row["conversation_id"], taken)
    if began_conversation(row):
        await conversations.delete_of(request, row["conversation_id"])
    response_id = ids.response_id(row["conversation_id"], row["generation_id"])
    return respond(orjson.dumps({"id": response_id, "object": "response", "deleted": True}))


@routes.get("/v1/responses/{response_id}/input_items", allow_head=False)
@describe(
    Operation(
        "List a response's input",
        TAG,
        [Response(200, "The items.", ItemList)],
        "What a response answers: the question, or the outputs of calls.",
        errors=[*declare.DATABASE, errors.ResponseNotFound],
        parameters=[RESPONSE_ID],
        query=ItemsQuery,
    )
)
async def input_items(request: web.Request) -> web.Response:
    query = read_query(request, ItemsQuery)
    row = await find_response(request, request.match_info["response_id"])
    all_items = given(row)
    if query.order == "desc":
        all_items.reverse()
    first = 0
    if query.after is not None:
        first = 1 + next((place for place, each in enumerate(all_items) if each["id"] == query.after), -1)
        if not first:
            raise errors.Invalid.of(
                "message_not_found", ("query", "after"), "must be the id of one of the items"
            )
    page = all_items[first : first + query.limit]
    return respond(orjson.dumps(items.listed(page, has_more=first + len(page) < len(all_items))))


def _audience(request: web.Request, log: Log, *, is_background: bool) -> AbstractContextManager[None]:
    """Readers whose leaving may end an answer (ABANDONED_SECONDS); one in the background needs none."""
    return nullcontext() if is_background else log.audience.join(lambda: has_left(request))


async def _stream(request: web.Request, row: asyncpg.Record, log: Log, after: int = -1) -> web.StreamResponse:
    translation = Translation(log.generation_id, begun(row), after)
    settings, metrics = request.app[SETTINGS], request.app[METRICS]
    expires_at = request[PRINCIPAL].expires_at
    return await sse.stream(request, Reading(log), settings, metrics, expires_at, translation)


async def _whole(request: web.Request, place: Place, log: Log) -> web.Response:
    """The response once it has ended; an error if the model failed before it said anything."""
    if not await log.wait_closed():
        raise errors.Draining
    row = await find_response(request, ids.response_id(place.conversation_id, log.generation_id))
    response = now(row)
    if response["status"] == "failed" and not response["output"]:
        await leave(request, place)
        raise messages.failure(row["error_code"], log)
    return respond(orjson.dumps(response))
