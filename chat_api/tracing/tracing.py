"""The tracing of one application: what `app` hands to the parts that are traced."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING

import aiohttp
import structlog
from aiohttp import web
from opentelemetry import trace
from opentelemetry.instrumentation.aiohttp_client import create_trace_config
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chat_api import __version__
from chat_api.http.client import client
from chat_api.http.context import PRINCIPAL, ROUTES, TRACE_ID
from chat_api.libraries.opentelemetry import STABLE_NAMES
from chat_api.tracing.commands import note_trace, socket_span
from chat_api.tracing.export import trace_id_of
from chat_api.tracing.parts import GenerationSpans, TracedInference, statement

if TYPE_CHECKING:
    from chat_api.generation.observer import Observer
    from chat_api.inference import Inference
    from chat_api.inference.endpoint import Endpoint

log = structlog.get_logger(__name__)

PROBES = ("/api/health", "/api/ready", "/metrics")  # requested every few seconds, and of no interest
CLOSING_SECONDS = 5  # how long the collector has to take the last spans

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Tracing:
    """Spans for requests, commands, statements, calls and generations, made with one provider's tracer."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("chat_api", __version__)
        self._context = TraceContextTextMapPropagator()

    def statement(self, name: str) -> AbstractContextManager[object]:
        """For the database: a span around each statement that a request or generation waits for."""
        return statement(self._tracer, name)

    def inference(self, inference: Inference, endpoint: Endpoint) -> Inference:
        """A model server with a span for each stream, sent to it as `traceparent`."""
        return TracedInference(inference, endpoint, self._tracer)

    def observer(self) -> Observer:
        """For generations: a span for each, from its start until it is stored."""
        return GenerationSpans(self._tracer)

    def client(self) -> aiohttp.TraceConfig:
        """For a client session: a span for each call, sent to the neighbour as `traceparent`."""
        return create_trace_config(
            tracer_provider=self._provider,
            sem_conv_opt_in_mode=STABLE_NAMES,
            request_hook=lambda span, params: span.update_name(f"{params.method} {params.url.path}"),
        )

    async def close(self) -> None:
        """Send the remaining spans, but don't wait long for a collector that doesn't take them."""
        sending = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        sending.start()
        await asyncio.to_thread(sending.join, CLOSING_SECONDS)
        if sending.is_alive():
            log.warning("traces_lost", reason="the collector didn't take the last ones in time")

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A span for each request, whose parent is the caller's `traceparent`. Runs inside `trace`."""
        route = request.app[ROUTES].get(request.match_info.route.resource)
        if route in PROBES:
            return await handler(request)
        with trace_id_of(request[TRACE_ID]):
            span = self._tracer.start_span(
                f"{request.method} {route}" if route else request.method,
                context=self._context.extract(request.headers),
                kind=SpanKind.SERVER,
                attributes={
                    "http.request.method": request.method,
                    "http.route": route or "",
                    "url.path": request.rel_url.raw_path,
                    "url.scheme": request.scheme,
                    "client.address": client(request),
                    "chat.trace_id": request[TRACE_ID],
                },
            )
        is_socket = request.headers.get("Upgrade", "").lower() == "websocket"
        with note_trace(span), socket_span(span) if is_socket else _request_span(span):
            response = await handler(request)
            span.set_attribute("http.response.status_code", response.status)
            if (principal := request.get(PRINCIPAL)) is not None:
                span.set_attribute("user.id", str(principal.user_id))
            if response.status >= 500:
                span.set_status(StatusCode.ERROR)
            return response


def _request_span(span: Span) -> AbstractContextManager[object]:
    # An exception's text may quote what the user wrote, so the span gets only its class.
    return trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False)
