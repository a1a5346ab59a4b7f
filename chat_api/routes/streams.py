"""Attaching to an answer, and stopping one."""

from __future__ import annotations

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.bodies import Stopped, StopRequest
from chat_api.description import declare
from chat_api.description.declare import EVENT_ID, EVENT_STREAM, Operation, Parameter, Response, describe
from chat_api.generation.readers import Cursor
from chat_api.http.bearer import TICKET, ticketed
from chat_api.http.context import GENERATIONS, METRICS, PRINCIPAL, SETTINGS
from chat_api.http.requests import has_left, read_body, read_id, respond
from chat_api.transports import sse

routes = web.RouteTableDef()

TAG = "Streams"
AFTER = "The last event that you have: the stream continues after it. Without it, from the first event."
SAMPLE_ID = "01a2f3c4-9aab-7bcd-8ef0-112233445566:41"


@routes.get("/api/conversations/{id}/stream", allow_head=False)
@ticketed
@describe(
    Operation(
        "Attach to an answer",
        TAG,
        [
            Response(200, "The events, from there to the last one.", EVENT_STREAM),
            Response(204, "No answer is being written, and you have every event; read the messages."),
        ],
        "The events of an answer from the first, or from the one after `Last-Event-ID` or `?after=`. Any "
        "number of readers may attach, on any worker. Each sees every event once, in order. If an answer's "
        "events are no longer kept, one `reset` event brings its whole text.",
        errors=[*declare.DATABASE, errors.Invalid, errors.InvalidTicket],
        parameters=[
            Parameter(
                "header", "Last-Event-ID", f"{AFTER} Takes precedence over `after`.", EVENT_ID, SAMPLE_ID
            ),
            Parameter("query", "after", f"{AFTER} For clients that can't set headers.", EVENT_ID, SAMPLE_ID),
            Parameter(
                "query",
                TICKET,
                "A ticket of `POST /api/tickets`, in place of a token. It counts once: when an `EventSource` "
                "has lost its connection, make a new one with a new ticket, and with the last event in "
                "`after`.",
                {"type": "string"},
            ),
        ],
        security=("bearer", "ticket"),
    )
)
async def attach(request: web.Request) -> web.StreamResponse:
    reading = await request.app[GENERATIONS].readers.attach(
        request[PRINCIPAL].user_id, read_id(request), _read_after(request)
    )
    if reading is None:
        return web.Response(status=204)
    with reading.log.audience.join(lambda: has_left(request)):
        return await sse.stream(
            request, reading, request.app[SETTINGS], request.app[METRICS], request[PRINCIPAL].expires_at
        )


@routes.post("/api/conversations/{id}/stop")
@describe(
    Operation(
        "Stop an answer",
        TAG,
        [
            Response(
                200,
                "Whether it has stopped. False: nothing was being written, or, with an id, it is asked to.",
                Stopped,
            )
        ],
        "Stop the running answer. Its text so far is stored before the response is sent. The model stops "
        "too. Readers see `done` with the finish reason `stopped`. Safe to repeat. If the end isn't "
        "confirmed within five seconds, because its worker or the database is away, `stopped` is false "
        "beside the id. The turn of the next message that waits comes, unless you clear the queue.",
        errors=declare.DATABASE,
        body=StopRequest,
    )
)
async def stop(request: web.Request) -> web.Response:
    conversation_id = read_id(request)
    asked = await read_body(request, StopRequest)
    generation_id, is_confirmed = await request.app[GENERATIONS].stop(
        request[PRINCIPAL].user_id, conversation_id, clear=asked.queue == "clear"
    )
    return respond(
        orjson.dumps(
            {
                "generation_id": None if generation_id is None else str(generation_id),
                "stopped": is_confirmed,
            }
        )
    )


def _read_after(request: web.Request) -> Cursor | None:
    for place, name, text in (
        ("header", "Last-Event-ID", request.headers.get("Last-Event-ID")),
        ("query", "after", request.query.get("after")),
    ):
        if text:
            try:
                return Cursor.parse(text)
            except ValueError:
                raise errors.Invalid.of(
                    "event_id_invalid",
                    (place, name),
                    "must look like <generation id>:<number>, as in a stream's id: lines",
                ) from None
    return None
