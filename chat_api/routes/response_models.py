"""The models, as OpenAI's API lists them."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Operation, Parameter, Response, describe
from chat_api.http.context import INFERENCE, PRINCIPAL
from chat_api.http.requests import respond
from chat_api.responses.described import ModelList, ModelObject
from chat_api.responses.requests import IDS
from chat_api.routes import models
from chat_api.routes.responses import TAG
from chat_api.settings.models import DEFAULT

routes = web.RouteTableDef()

MODEL = Parameter("path", "model", "The model's id.", {"type": "string", **IDS}, "default")


@routes.get("/v1/models", allow_head=False)
@describe(
    Operation(
        "List the models",
        TAG,
        [Response(200, "The models.", ModelList)],
        "The models that the caller may use.",
        errors=models.ERRORS,
    )
)
async def list_models(request: web.Request) -> web.Response:
    data = [_model(each) for each in await _names(request)]
    return respond(orjson.dumps({"object": "list", "data": data}))


@routes.get("/v1/models/{model}", allow_head=False)
@describe(
    Operation(
        "Read a model",
        TAG,
        [Response(200, "The model.", ModelObject)],
        "One of the models that the caller may use.",
        errors=[*models.ERRORS, errors.NotFound],
        parameters=[MODEL],
    )
)
async def get_model(request: web.Request) -> web.Response:
    name = request.match_info["model"]
    if name != DEFAULT and name not in await _names(request):
        raise errors.NotFound("There is no such model.")
    return respond(orjson.dumps(_model(name)))


async def _names(request: web.Request) -> list[str]:
    listed = orjson.loads(await request.app[INFERENCE].models(is_admin=request[PRINCIPAL].is_admin))
    found = listed.get("models")
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "samosachaat"}
