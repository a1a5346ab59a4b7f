"""Tickets for EventSource, which can't send a token."""

from __future__ import annotations

import orjson
from aiohttp import web
from pydantic import Field

from chat_api.bodies import ResponseBody
from chat_api.description import declare
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import PRINCIPAL, TICKETS
from chat_api.http.requests import respond
from chat_api.http.scopes import needs
from chat_api.routes.streams import TAG

routes = web.RouteTableDef()


class Ticket(ResponseBody):
    __doc__ = "A ticket for one stream."

    ticket: str = Field(examples=["sct_3f9a0c5d7e1b2a4860918273645546372819a0bc"])
    seconds: int = Field(description="how long it may be used", examples=[30])


@routes.post("/api/tickets")
@needs("read")
@describe(
    Operation(
        "Get a ticket",
        TAG,
        [Response(201, "The ticket.", Ticket)],
        "A ticket with which `GET …/stream?ticket=` attaches to an answer of the caller's, once, within 30 "
        "seconds, on any worker. For `EventSource`, which can't send a token; a token has no place in a URL.",
        errors=declare.DATABASE,
    )
)
async def create(request: web.Request) -> web.Response:
    ticket, seconds = await request.app[TICKETS].make(request[PRINCIPAL])
    return respond(orjson.dumps({"ticket": ticket, "seconds": seconds}), 201)
