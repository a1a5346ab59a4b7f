"""The middlewares around every handler: trace id and log line, errors as JSON."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from aiohttp import HttpVersion11, web

from chat_api import errors
from chat_api.http.bearer import Handler
from chat_api.http.client import client
from chat_api.http.context import (
    GENERATIONS,
    METRICS,
    PRINCIPAL,
    REFUSALS,
    ROUTES,
    SETTINGS,
    TRACE_ID,
)
from chat_api.responses import problems

log = structlog.get_logger(__name__)

LEFT = 499  # nginx's status for a client that left before the response
SANE_TRACE_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)
# W3C Trace Context, section 3.2: version, trace id, parent id, flags; later versions may have more.
TRACEPARENT = re.compile(
    "(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?", re.ASCII
)


@web.middleware
async def trace(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request its trace id; when it has been answered, log it and count it."""
    trace_id = request[TRACE_ID] = given_trace_id(request) or f"{random.getrandbits(128):032x}"  # not secret
    # A connection's requests share one context, as do those of an application around this one.
    bound = structlog.contextvars.bind_contextvars(trace_id=trace_id)
    metrics = request.app[METRICS]
    metrics.in_flight += 1
    began = time.perf_counter()
    status = LEFT
    response: web.StreamResponse
    try:
        response = await handler(request)
        status = response.status
        return response
    except web.HTTPException as refusal:  # of a preflight request, by aiohttp-cors
        response, status = refusal, refusal.status
        raise
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
            path=request.rel_url.raw_path,  # escaped, so that no control characters reach a terminal
            status=status,
            duration_ms=round(seconds * 1000, 1),
            remote=client(request),
        )
        structlog.contextvars.reset_contextvars(**bound)
        structlog.contextvars.unbind_contextvars("user_id")


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every failure into a JSON error, as in docs/contract.md section 1."""
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
        raise  # aiohttp's own responses, such as a refused CORS preflight
    except Exception as error:
        gone = request.transport is None or request.transport.is_closing()
        if gone and isinstance(error, ConnectionResetError):
            return web.Response(status=LEFT)
        log.exception("request_failed")
        return refusal(request, errors.ChatError())


async def expect(request: web.Request) -> None:
    """Answer `Expect: 100-continue`. Other expectations are ignored, as RFC 9110 section 10.1.1 allows.

    aiohttp's own handler would refuse them without our trace id, and answer 500 if the header isn't text.
    """
    is_known = request.version >= HttpVersion11 and request.headers["Expect"].lower() == "100-continue"
    if is_known and request.transport is not None:
        request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add every response's headers. For on_response_prepare: middlewares see a stream only at its end."""
    if (trace_id := request.get(TRACE_ID)) is not None:
        response.headers["X-Trace-Id"] = trace_id
    response.headers.add("Vary", "Origin")  # aiohttp-cors answers by origin and doesn't say so to caches
    response.headers.popall("Server", None)  # it would reveal the versions that run here
    response.headers["Server"] = "chat-api"
    # What isn't declared public belongs to one user.
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.status == 101:  # after it, it isn't HTTP any more
        return
    if request.app[GENERATIONS].draining or _is_garbled(request):
        response.headers["Connection"] = "close"  # so that the next request goes elsewhere
        response.force_close()


def _is_garbled(request: web.Request) -> bool:
    """Whether the body isn't what its Content-Encoding says, or wasn't read, so that this isn't known.

    aiohttp closes a connection on which it can't find the body's end. A client that isn't told would lose
    the next request that it sends there.
    """
    body = request.content
    return body.exception() is not None or ("Content-Encoding" in request.headers and not body.is_eof())


def given_trace_id(request: web.Request) -> str | None:
    """The caller's trace id: a well-formed X-Trace-Id or X-Request-Id, else the one in `traceparent`."""
    for name in ("X-Trace-Id", "X-Request-Id"):
        text = request.headers.get(name)
        if text and SANE_TRACE_ID.fullmatch(text):
            return text
    parent = request.headers.get("traceparent")
    found = TRACEPARENT.fullmatch(parent) if parent else None
    return found[1] if found else None


def refusal(request: web.Request, error: errors.ChatError) -> web.Response:
    """An error as a response, counted. Refusals by a limit are also logged now and then."""
    request.app[METRICS].errors.labels(error.code).inc()
    if error.limit is not None:
        principal = request.get(PRINCIPAL)
        user_id = None if principal is None else str(principal.user_id)
        request.app[REFUSALS].note(error.limit, client(request), user_id)
    if _is_for_openai(request):
        return _respond(problems.body(error), problems.status(error), problems.headers(error))
    return _respond(error.body, error.status, error.headers)


def _respond(body: Mapping[str, Any], status: int, headers: Mapping[str, str]) -> web.Response:
    return web.Response(
        body=orjson.dumps(body), status=status, headers=headers, content_type="application/json"
    )


def _is_for_openai(request: web.Request) -> bool:
    """Whether a program that expects OpenAI's errors has asked."""
    path = request.rel_url.raw_path.removeprefix(request.app[SETTINGS].base_path)
    return path.startswith(problems.PATHS)
