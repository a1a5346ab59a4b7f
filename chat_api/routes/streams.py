"""Answers on their way: attach to one, stop one."""

from __future__ import annotations

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.bodies import Stopped
from chat_api.description import declare
from chat_api.description.declare import EVENT_ID, EVENT_STREAM, Operation, Parameter, Response, describe
from chat_api.generation.readers import Cursor
from chat_api.http.context import GENERATIONS, METRICS, PRINCIPAL, SETTINGS
from chat_api.http.requests import read_id, respond
from chat_api.transports import sse

routes = web.RouteTableDef()

TAG = "Streams"
AFTER = "Continue after this event, the last one that you have; without it, from the first."
SAMPLE_ID = "01a2f3c4-9aab-7bcd-8ef0-112233445566:41"


@routes.get("/api/conversations/{id}/stream", allow_head=False)
@describe(
    Operation(
        "Attach to an answer",
        TAG,
        [
            Response(200, "The events, from that place to the last.", EVENT_STREAM),
            Response(204, "Nothing is being written here, and earlier events are read: see the messages."),
        ],
        "Any number may attach, on any worker; each sees every event once, in order. When an answer's events "
        "are no longer kept, one `reset` event brings its whole text.",
        errors=[*declare.DATABASE, errors.Invalid],
        parameters=[
            Parameter("header", "Last-Event-ID", f"{AFTER} Goes before `after`.", EVENT_ID, SAMPLE_ID),
            Parameter("query", "after", f"{AFTER} For who can't set headers.", EVENT_ID, SAMPLE_ID),
        ],
    )
)
async def attach(request: web.Request) -> web.StreamResponse:
    """The events of a generation from the first, or from the one after `Last-Event-ID` or `?after=`."""
    reading = await request.app[GENERATIONS].readers.attach(
        request[PRINCIPAL].user_id, read_id(request), _read_after(request)
    )
    if reading is None:
        return web.Response(status=204)
    return await sse.stream(
        request, reading, request.app[SETTINGS], request.app[METRICS], request[PRINCIPAL].expires_at
    )


@routes.post("/api/conversations/{id}/stop")
@describe(
    Operation(
        "Stop an answer",
        TAG,
        [Response(200, "It has stopped; `stopped` is false where nothing was being written.", Stopped)],
        "The model stops too. Readers see `done` with the finish reason `stopped`. Safe to repeat.",
        errors=declare.DATABASE,
    )
)
async def stop(request: web.Request) -> web.Response:
    """End the running generation; its text so far is stored when this answers."""
    generation_id = await request.app[GENERATIONS].stop(request[PRINCIPAL].user_id, read_id(request))
    return respond(
        orjson.dumps(
            {
                "generation_id": None if generation_id is None else str(generation_id),
                "stopped": generation_id is not None,
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
