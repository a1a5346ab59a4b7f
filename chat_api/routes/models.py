"""Listing the models, and loading another one."""

from __future__ import annotations

from aiohttp import web

from chat_api import errors
from chat_api.bodies import Models, ModelSwap, Swapped
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.context import INFERENCE, PRINCIPAL
from chat_api.http.requests import read_body, respond
from chat_api.http.scopes import needs

routes = web.RouteTableDef()

TAG = "Models"
ERRORS: list[type[errors.ChatError]] = [
    errors.InferenceError,
    errors.InferenceRejected,
    errors.InferenceBroken,
    errors.InferenceUnavailable,
]


@routes.get("/api/models")
@describe(
    Operation(
        "List the models",
        TAG,
        [Response(200, "The models.", Models)],
        "The models that the caller may use. With `MODELS_FILE`, `available` says of each whether one of its "
        "servers answers; that is asked every 15 seconds at most. Without it, the model server's own list.",
        errors=ERRORS,
    )
)
async def models(request: web.Request) -> web.Response:
    return respond(await request.app[INFERENCE].models(is_admin=request[PRINCIPAL].is_admin))


@routes.post("/api/models/swap")
@needs("admin")
@describe(
    Operation(
        "Load another model",
        TAG,
        [
            Response(200, "It is loaded.", Swapped),
            Response(202, "It is being loaded.", Swapped),
            Response(
                "4XX",
                "The model server's own refusal, such as 404 for a model it doesn't have.",
                "application/json",
            ),
        ],
        "Load another model; for administrators. `GET /api/models` shows when it is loaded.",
        errors=[*ERRORS, errors.Forbidden, errors.NotSupported],
        body=ModelSwap,
        body_required=True,
    )
)
async def swap(request: web.Request) -> web.Response:
    if not request[PRINCIPAL].is_admin:
        raise errors.Forbidden
    body = await read_body(request, ModelSwap)
    status, answer = await request.app[INFERENCE].swap(body.model_tag)
    return respond(answer, status)
