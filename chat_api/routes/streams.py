"""Answers on their way: attach to one, stop one."""

from __future__ import annotations

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.context import GENERATIONS, PRINCIPAL, SETTINGS
from chat_api.reading import Cursor
from chat_api.routes.requests import read_id, respond
from chat_api.transports import sse

routes = web.RouteTableDef()


@routes.get("/api/conversations/{id}/stream", allow_head=False)
async def attach(request: web.Request) -> web.StreamResponse:
    """The events of a generation from the first, or from the one after `Last-Event-ID` or `?after=`."""
    reading = await request.app[GENERATIONS].readers.attach(
        request[PRINCIPAL].user_id, read_id(request), _read_after(request)
    )
    if reading is None:
        return web.Response(status=204)
    return await sse.stream(request, reading, request.app[SETTINGS], request[PRINCIPAL].expires_at)


@routes.post("/api/conversations/{id}/stop")
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
