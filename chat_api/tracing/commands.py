"""Traces of WebSocket commands. A socket is open for hours, so each command starts a trace of its own.

The trace is linked to the socket's span.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import structlog
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, Tracer

_SOCKET: ContextVar[SpanContext | None] = ContextVar("socket_span", default=None)


@contextmanager
def note_trace(span: Span) -> Iterator[None]:
    """Add `otel_trace_id` to the log lines within, if their `trace_id`, the caller's own, is different."""
    trace_id = f"{span.get_span_context().trace_id:032x}"
    if structlog.contextvars.get_contextvars().get("trace_id") == trace_id:
        yield
        return
    with structlog.contextvars.bound_contextvars(otel_trace_id=trace_id):
        yield


@contextmanager
def socket_span(span: Span) -> Iterator[None]:
    """A span for the life of a socket. Spans made within don't become its children."""
    token = _SOCKET.set(span.get_span_context())
    try:
        yield
    finally:
        _SOCKET.reset(token)
        span.end()


@contextmanager
def command(tracer: Tracer, name: str) -> Iterator[None]:
    """A trace for a socket's command; nothing for a request, which has a span already."""
    socket = _SOCKET.get()
    if socket is None:
        yield
        return
    with (
        tracer.start_as_current_span(
            f"WS {name}",
            context=Context(),
            kind=SpanKind.SERVER,
            links=[Link(socket)],
            record_exception=False,
        ) as span,
        note_trace(span),
    ):
        yield
