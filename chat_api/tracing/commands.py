"""A WebSocket lives for hours: each command begins a trace of its own, linked to the span of the socket."""

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
    """Tell the log lines within which trace is theirs, where `trace_id`, the caller's own, is another."""
    trace_id = f"{span.get_span_context().trace_id:032x}"
    if structlog.contextvars.get_contextvars().get("trace_id") == trace_id:
        yield
        return
    with structlog.contextvars.bound_contextvars(otel_trace_id=trace_id):
        yield


@contextmanager
def socket_span(span: Span) -> Iterator[None]:
    """A span around a socket's life, which what happens within doesn't become part of."""
    token = _SOCKET.set(span.get_span_context())
    try:
        yield
    finally:
        _SOCKET.reset(token)
        span.end()


@contextmanager
def command(tracer: Tracer, name: str) -> Iterator[None]:
    """A trace for a socket's command; nothing for a request, which is a span already."""
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
