"""Sending a message, and having the last one answered again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from chat_api import errors
from chat_api.bodies import MAX_KEY_CHARACTERS, Exchange, MessageCreate, Regenerate
from chat_api.description import declare
from chat_api.description.declare import EVENT_STREAM, Operation, Parameter, Response, describe
from chat_api.http.client import limit_subject
from chat_api.http.context import DATABASE, GENERATIONS, METRICS, PRINCIPAL, SETTINGS
from chat_api.http.requests import read_body, read_id, respond
from chat_api.transports import sse

if TYPE_CHECKING:
    from chat_api.relay import Log

routes = web.RouteTableDef()

IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "A key of your choice for this message, printable. Send the same one when you try again: nothing is "
    "stored twice, and you get the same answer. It holds within the conversation; with another content it is "
    "refused.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": "^[!-~]*$"},
    "5f0f6f3e-1",
)
ANSWERS = [
    Response(
        200,
        'The answer as it is written; with `"stream": false` the whole exchange when it is complete.',
        EVENT_STREAM,
        Exchange,
    )
]
ERRORS: list[type[errors.ChatError]] = [
    *declare.DATABASE,
    errors.GenerationRunning,
    errors.RequestRepeated,
    errors.SendingTooFast,
    errors.AddressSendingTooFast,
    errors.TooManyAnswers,
    errors.Draining,
    # of an answer in one piece, in which nothing was said
    errors.InferenceError,
    errors.InferenceRejected,
    errors.InferenceBroken,
    errors.InferenceInterrupted,
    errors.InferenceUnavailable,
    errors.InferenceTimeout,
    errors.WorkerLost,
]


@routes.post("/api/conversations/{id}/messages")
@describe(
    Operation(
        "Send a message",
        "Messages",
        ANSWERS,
        "Once this answers 200, the message is stored, and the answer is written whether you stay or not.",
        errors=ERRORS,
        parameters=[IDEMPOTENCY_KEY],
        body=MessageCreate,
        body_required=True,
    )
)
async def send(request: web.Request) -> web.StreamResponse:
    """Store the caller's message, and stream its answer."""
    return await _answer(request, MessageCreate)


@routes.post("/api/conversations/{id}/regenerate")
@describe(
    Operation(
        "Answer the last message again",
        "Messages",
        ANSWERS,
        "An answer that fails, or says nothing, leaves the old one in its place.",
        errors=[*ERRORS, errors.NothingToRegenerate],
        parameters=[IDEMPOTENCY_KEY],
        body=Regenerate,
    )
)
async def regenerate(request: web.Request) -> web.StreamResponse:
    """Answer the last message again; the new answer replaces the old one once it is stored."""
    return await _answer(request, Regenerate)


async def _answer(request: web.Request, model: type[MessageCreate | Regenerate]) -> web.StreamResponse:
    conversation_id = read_id(request)
    asked = await read_body(request, model)
    reading = await request.app[GENERATIONS].start(
        request[PRINCIPAL].user_id, conversation_id, asked, _read_key(request), limit_subject(request)
    )
    if asked.stream:
        return await sse.stream(
            request, reading, request.app[SETTINGS], request.app[METRICS], request[PRINCIPAL].expires_at
        )
    return await _whole(request, reading.log)


async def _whole(request: web.Request, log: Log) -> web.Response:
    """The answer in one piece, when it is complete."""
    if not await log.wait_closed():
        raise errors.Draining
    row = await request.app[DATABASE].row("messages.exchange", generation_id=log.generation_id)
    if row is None:
        raise errors.ConversationNotFound  # deleted meanwhile
    if row["answer"] is None and row["error_code"] is not None:
        raise errors.from_code(row["error_code"])
    return respond(f'{{"user_message":{row["question"]},"message":{row["answer"] or "null"}}}')


def _read_key(request: web.Request) -> str | None:
    key = request.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not 1 <= len(key) <= MAX_KEY_CHARACTERS or not key.isprintable():
        raise errors.Invalid.of(
            "idempotency_key_invalid",
            ("header", "Idempotency-Key"),
            f"must be 1 to {MAX_KEY_CHARACTERS} printable characters",
        )
    return key
