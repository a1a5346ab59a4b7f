"""Requests for an answer: to a message, once more, going on, with the results of tool calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from chat_api import errors, events
from chat_api.bodies import (
    MAX_KEY_CHARACTERS,
    AnswerRequest,
    Continue,
    Exchange,
    MessageCreate,
    Queued,
    Regenerate,
    ToolResults,
)
from chat_api.description import declare
from chat_api.description.declare import EVENT_STREAM, Operation, Parameter, Response, describe
from chat_api.generation.queue import Waiting
from chat_api.http.client import limit_subject
from chat_api.http.context import DATABASE, GENERATIONS, METRICS, PRINCIPAL, SETTINGS
from chat_api.http.requests import has_left, read_body, read_id, respond
from chat_api.transports import sse

if TYPE_CHECKING:
    from chat_api.relay import Log

routes = web.RouteTableDef()

IDEMPOTENCY_KEY = Parameter(
    "header",
    "Idempotency-Key",
    "A key of your choice for this message, in printable characters. Send the same key when you retry: "
    "nothing is stored twice, and you get the same answer. A key is valid within one conversation, for 24 "
    "hours. With different content it is refused.",
    {"type": "string", "minLength": 1, "maxLength": MAX_KEY_CHARACTERS, "pattern": "^[!-~]*$"},
    "5f0f6f3e-1",
)
ANSWERS = [
    Response(
        200,
        'The answer as it is written. With `"stream": false`, the whole exchange once it is complete.',
        EVENT_STREAM,
        Exchange,
    )
]
ERRORS: list[type[errors.ChatError]] = [
    *declare.DATABASE,
    errors.Forbidden,
    errors.GenerationRunning,
    errors.ModelGone,
    errors.RequestRepeated,
    errors.SendingTooFast,
    errors.AddressSendingTooFast,
    errors.TooManyAnswers,
    errors.BudgetExhausted,
    errors.Draining,
    errors.NotSupported,
    # for an answer that isn't streamed and failed before anything was said
    errors.InferenceError,
    errors.InferenceRejected,
    errors.ConversationTooLong,
    errors.InferenceBroken,
    errors.InferenceInterrupted,
    errors.InferenceUnavailable,
    errors.InferenceTimeout,
    errors.WorkerLost,
    errors.AnswerEmpty,
    errors.AnswerFiltered,
    errors.AnswerCutBeforeText,
]


@routes.post("/api/conversations/{id}/messages")
@describe(
    Operation(
        "Send a message",
        "Messages",
        [*ANSWERS, Response(202, "The message waits for its turn (`when_running` is `queue`).", Queued)],
        "Store the caller's message, and stream the answer. With the status 200 the message is stored, and "
        "the answer is written whether you stay connected or not. With `parent_id`, it comes after that "
        "message, beside what else does: so a message is edited.",
        errors=[*ERRORS, errors.MessageNotFound, errors.QueueFull],
        parameters=[IDEMPOTENCY_KEY],
        body=MessageCreate,
        body_required=True,
    )
)
async def send(request: web.Request) -> web.StreamResponse:
    return await _answer(request, MessageCreate)


@routes.post("/api/conversations/{id}/regenerate")
@describe(
    Operation(
        "Do an answer again",
        "Messages",
        ANSWERS,
        "Do an answer again: the last one, or the one that `message_id` names. The new answer is shown in "
        "place of the old one once it is stored; the old one stays, as its sibling. If the new answer fails "
        "or is empty, the old one is still shown.",
        errors=[*ERRORS, errors.NothingToRegenerate, errors.MessageNotFound],
        parameters=[IDEMPOTENCY_KEY],
        body=Regenerate,
    )
)
async def regenerate(request: web.Request) -> web.StreamResponse:
    return await _answer(request, Regenerate)


@routes.post("/api/conversations/{id}/continue")
@describe(
    Operation(
        "Go on with an answer",
        "Messages",
        ANSWERS,
        "Go on with an answer that was cut (`finish_reason` is `length`, `stopped` or `interrupted`): the "
        "last one, or the one that `message_id` names. What was said before comes first, in one event. The "
        "whole is shown in place of the old answer, which stays as its sibling; if the model adds nothing, "
        "a `reset` takes it all back, and the old one is still shown.",
        errors=[*ERRORS, errors.NothingToContinue, errors.MessageNotFound],
        parameters=[IDEMPOTENCY_KEY],
        body=Continue,
    )
)
async def go_on(request: web.Request) -> web.StreamResponse:
    return await _answer(request, Continue)


@routes.post("/api/conversations/{id}/tool_results")
@describe(
    Operation(
        "Give the results of tool calls",
        "Messages",
        ANSWERS,
        "Store what your tools gave for the calls that the last answer ended with (`finish_reason` is "
        "`tool_calls`), and stream the answer that follows. The calls of an answer take results once: those "
        "without one are closed as not run, and the same request again gets the same answer, with or "
        "without a key. `user_message` is the question that all this belongs to.",
        errors=[*ERRORS, errors.NoOpenCalls],
        parameters=[IDEMPOTENCY_KEY],
        body=ToolResults,
        body_required=True,
    )
)
async def give_results(request: web.Request) -> web.StreamResponse:
    return await _answer(request, ToolResults)


async def _answer(request: web.Request, model: type[AnswerRequest]) -> web.StreamResponse:
    conversation_id = read_id(request)
    asked = await read_body(request, model)
    who = request[PRINCIPAL]
    reading = await request.app[GENERATIONS].start(
        who.user_id,
        conversation_id,
        asked,
        read_key(request),
        limit_subject(request),
        is_admin=who.is_admin,
    )
    if isinstance(reading, Waiting):
        return respond(f'{{"queued":{reading.message}}}', 202)
    with reading.log.audience.join(lambda: has_left(request)):
        if asked.stream:
            return await sse.stream(
                request, reading, request.app[SETTINGS], request.app[METRICS], request[PRINCIPAL].expires_at
            )
        return await _whole(request, reading.log)


async def _whole(request: web.Request, log: Log) -> web.Response:
    """The whole exchange, once the answer is complete."""
    if not await log.wait_closed():
        raise errors.Draining
    row = await request.app[DATABASE].row("messages.exchange", generation_id=log.generation_id)
    if row is None:
        raise errors.ConversationNotFound  # deleted meanwhile
    if row["answer"] is None and row["error_code"] is not None:
        raise failure(row["error_code"], log)
    return respond(f'{{"user_message":{row["question"]},"message":{row["answer"] or "null"}}}')


def failure(code: str, log: Log) -> errors.ChatError:
    """Why an answer that has ended has no text, as a stream's readers were told."""
    error = errors.from_code(code)
    told = events.read_failure(log.events(max(0, log.count - 2)))
    if told is not None and told["error"] == error.code:
        error.detail = told["detail"]
        error.retry_after = told.get("retry_after") or error.retry_after
    return error


def read_key(request: web.Request) -> str | None:
    """The request's Idempotency-Key, None without one. Raises Invalid."""
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
