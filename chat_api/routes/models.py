"""The models: which there are, and changing the one that answers."""

from __future__ import annotations

from aiohttp import web

from chat_api import errors
from chat_api.context import INFERENCE, PRINCIPAL
from chat_api.models import ModelSwap
from chat_api.routes.requests import read_body, respond

routes = web.RouteTableDef()


@routes.get("/api/models")
async def models(request: web.Request) -> web.Response:
    """What the model server says of its models."""
    return respond(await request.app[INFERENCE].models())


@routes.post("/api/models/swap")
async def swap(request: web.Request) -> web.Response:
    """Load another model; for administrators."""
    if not request[PRINCIPAL].is_admin:
        raise errors.Forbidden
    body = await read_body(request, ModelSwap)
    status, answer = await request.app[INFERENCE].swap(body.model_tag)
    return respond(answer, status)
