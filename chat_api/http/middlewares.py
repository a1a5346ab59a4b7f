"""What happens around every handler: the trace id and the log line, errors as JSON, the caller's token."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import orjson
import structlog
from aiohttp import HttpVersion11, web

from chat_api import errors
from chat_api.access.tokens import Principal
from chat_api.http.client import client, limit_subject
from chat_api.http.context import (
    GENERATIONS,
    METRICS,
    PRINCIPAL,
    REFUSALS,
    ROUTES,
    TRACE_ID,
    VERIFIER,
)
from chat_api.libraries.aiohttp import forget_output

log = structlog.get_logger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Route = TypeVar("_Route", bound=Handler)

LEFT = 499  # nginx's number for a caller that left before the answer
SANE_TRACE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
# W3C Trace Context, section 3.2: version, trace id, parent id, flags; later versions may have more.
TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII
)
_public: set[Handler] = set()


def public(handler: _Route) -> _Route:
    """Mark a handler that wants no token."""
    _public.add(handler)
    return handler


def is_public(handler: Handler) -> bool:
    """Whether it was marked so."""
    return handler in _public


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its trace id, and write one log line and one count when it is answered."""
    trace_id = request[TRACE_ID] = given_trace_id(request) or f"{random.getrandbits(128):032x}"  # no secret
    # A connection's requests share one context, with those of an application around this one too.
    bound = structlog.contextvars.bind_contextvars(trace_id=trace_id)
    metrics = request.app[METRICS]
    metrics.in_flight += 1
    began = time.perf_counter()
    status = LEFT
    try:
        response = await handler(request)
        status = response.status
        return response
    finally:
        route = request.app[ROUTES].get(request.match_info.route.resource, "unknown")
        seconds = time.perf_counter() - began
        is_whole = status not in (101, LEFT) and response.content_type != "text/event-stream"
        metrics.in_flight -= 1
        metrics.answered(request.method, route, status, seconds if is_whole else None)
        log.info(
            "request",
            method=request.method,
            route=route,
            path=request.rel_url.raw_path,  # escaped: nobody draws on the terminal
            status=status,
            duration_ms=round(seconds * 1000, 1),
            remote=client(request),
        )
        structlog.contextvars.reset_contextvars(**bound)
        structlog.contextvars.unbind_contextvars("user_id")


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into the JSON error of docs/contract.md section 1."""
    try:
        return await handler(request)
    except errors.ChatError as error:
        return refusal(request, error)
    except web.HTTPMethodNotAllowed as error:
        return refusal(request, errors.MethodNotAllowed(error.allowed_methods))
    except web.HTTPNotFound:
        return refusal(request, errors.NotFound())
    except web.HTTPRequestEntityTooLarge:
        return refusal(request, errors.BodyTooLarge())
    except web.HTTPException:
        raise  # aiohttp's own answers, such as a refused CORS preflight
    except Exception as error:
        gone = request.transport is None or request.transport.is_closing()
        if gone and isinstance(error, ConnectionResetError):
            return web.Response(status=LEFT)
        log.exception("request_failed")
        return refusal(request, errors.ChatError("Something went wrong in this service; try again."))


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let only the holder of a good token through, and say who it is."""
    if request.method != "OPTIONS" and not is_public(request.match_info.handler):
        principal = await verify_bearer(request)
        request[PRINCIPAL] = principal
        structlog.contextvars.bind_contextvars(user_id=str(principal.user_id))
    return await handler(request)


async def verify_bearer(request: web.Request) -> Principal:
    """Who sent the `Authorization` header.

    Raises Unauthorized, TooManySignInFailures, AuthBroken, AuthUnavailable.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.Unauthorized
    return await request.app[VERIFIER].verify(token.strip(), lambda: limit_subject(request))


async def expect(request: web.Request) -> None:
    """Tell a caller that waits to go on sending; another expectation is ignored, as RFC 9110 10.1.1 allows.

    aiohttp's own would refuse it without our trace id, and answer 500 where it is no text.
    """
    if request.version >= HttpVersion11 and request.headers["Expect"].lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        forget_output(request)  # the answer itself has not begun


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """For on_response_prepare, which streams pass too: middlewares see these only when they are over."""
    if (trace_id := request.get(TRACE_ID)) is not None:
        response.headers["X-Trace-Id"] = trace_id
    response.headers.add("Vary", "Origin")  # aiohttp-cors answers by origin and leaves caches unaware of it
    response.headers.popall("Server", None)  # which versions run here is nobody's business
    response.headers["Server"] = "chat-api"
    if response.status != 101 and request.app[GENERATIONS].draining:  # 101: its connection is no more HTTP's
        response.headers["Connection"] = "close"  # the next request shall find another worker
        response.force_close()


def given_trace_id(request: web.Request) -> str | None:
    """The caller's: a sane X-Trace-Id or X-Request-Id, else that of its `traceparent`."""
    for name in ("X-Trace-Id", "X-Request-Id"):
        text = request.headers.get(name)
        if text and SANE_TRACE_ID.fullmatch(text):
            return text
    parent = request.headers.get("traceparent")
    found = TRACEPARENT.fullmatch(parent) if parent else None
    return found[1] if found else None


def refusal(request: web.Request, error: errors.ChatError) -> web.Response:
    """An error as a response, counted; a limit's is told to the log as well, once in a while."""
    request.app[METRICS].errors.labels(error.code).inc()
    if error.limit is not None:
        principal = request.get(PRINCIPAL)
        user_id = None if principal is None else str(principal.user_id)
        request.app[REFUSALS].note(error.limit, client(request), user_id)
    return web.Response(
        body=orjson.dumps(error.body),
        status=error.status,
        headers=error.headers,
        content_type="application/json",
    )
