"""The tracer provider that OpenTelemetry's environment variables describe: where spans are sent."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import entry_points

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from chat_api import __version__

OTLP = {"http/protobuf": "otlp_proto_http", "grpc": "otlp_proto_grpc"}
_WANTED: ContextVar[int | None] = ContextVar("wanted_trace_id", default=None)


def make_provider(environment: Mapping[str, str]) -> TracerProvider:
    """The provider. The SDK itself reads the sampler, limits, batch sizes and headers. Raises ImportError."""
    return provider(BatchSpanProcessor(_exporter(environment)))


def provider(processor: SpanProcessor) -> TracerProvider:
    """A provider for this service. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES override its attributes."""
    known = Resource({"service.name": "chat-api", "service.version": __version__, "process.pid": os.getpid()})
    made = TracerProvider(
        resource=Resource.create().merge(known).merge(OTELResourceDetector().detect()),
        id_generator=_Ids(),
        shutdown_on_exit=False,  # `Tracing.close` shuts it down, within a time limit
    )
    made.add_span_processor(processor)
    return made


@contextmanager
def trace_id_of(text: str) -> Iterator[None]:
    """Give a trace that starts within the log lines' trace id, if that is valid for one (32 hex digits)."""
    is_one = len(text) == 32 and set(text) <= set("0123456789abcdef") and set(text) != {"0"}
    token = _WANTED.set(int(text, 16) if is_one else None)
    try:
        yield
    finally:
        _WANTED.reset(token)


class _Ids(RandomIdGenerator):
    def generate_trace_id(self) -> int:
        return _WANTED.get() or super().generate_trace_id()


def _exporter(environment: Mapping[str, str]) -> SpanExporter:
    name = environment.get("OTEL_TRACES_EXPORTER") or "otlp"
    if name == "otlp":
        protocol = (
            environment.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL")
            or environment.get("OTEL_EXPORTER_OTLP_PROTOCOL")
            or "http/protobuf"
        )
        name = OTLP.get(protocol, protocol)
    found = [*entry_points(group="opentelemetry_traces_exporter", name=name)]
    if not found:
        raise ImportError(f"no installed package provides the trace exporter {name!r}")
    made: SpanExporter = found[0].load()()
    return made
