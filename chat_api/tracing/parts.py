"""Spans around statements, calls to the model server and generations. No span holds any chat text."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chat_api.errors import ChatError
from chat_api.generation.observer import Observer
from chat_api.inference import End, Inference, Listener, Prompt, Room
from chat_api.inference.upstream import MORE_HEADERS
from chat_api.tracing.commands import command

if TYPE_CHECKING:
    from chat_api.generation.answer import Answer
    from chat_api.inference.endpoint import Endpoint
    from chat_api.relay import Log


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, with the error's code or class. The error's text is only logged."""
    span.set_attribute("error.type", error.code if isinstance(error, ChatError) else type(error).__name__)
    if not isinstance(error, asyncio.CancelledError):  # that isn't a failure: a caller left or stopped it
        span.set_status(StatusCode.ERROR)


def statement(tracer: Tracer, name: str) -> AbstractContextManager[object]:
    """A span around a statement; none if no request or generation waits for it, as with ticks."""
    return _statement(tracer, name) if trace.get_current_span().is_recording() else nullcontext()


@contextmanager
def _statement(tracer: Tracer, name: str) -> Iterator[None]:
    with tracer.start_as_current_span(
        name,
        kind=SpanKind.CLIENT,
        attributes={"db.system.name": "postgresql", "db.query.summary": name},
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        try:
            yield
        except BaseException as error:
            fail(span, error)
            raise


class TracedInference(Inference):
    """Wraps each stream in a span, sent to the model server as `traceparent`.

    The client session traces the other calls.
    """

    def __init__(self, inference: Inference, endpoint: Endpoint, tracer: Tracer) -> None:
        self._inference = inference
        self._tracer = tracer
        self._endpoint = endpoint
        self._context = TraceContextTextMapPropagator()

    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        """Stream an answer within a span."""
        with self._tracer.start_as_current_span(
            "model server",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._endpoint.server.protocol,
                "gen_ai.request.model": self._endpoint.served_as or prompt.model_tag,
                "gen_ai.request.temperature": prompt.options.temperature,
                "gen_ai.request.max_tokens": prompt.options.max_tokens,
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            headers: dict[str, str] = {}
            self._context.inject(headers)
            token = MORE_HEADERS.set("".join(f"\r\n{name}: {headers[name]}" for name in headers).encode())
            try:
                end = await self._inference.stream(prompt, listener)
            except BaseException as error:
                fail(span, error)
                raise
            finally:
                MORE_HEADERS.reset(token)
            span.set_attribute("gen_ai.response.finish_reasons", [end.reason])
            return end

    @property
    def is_unprepared(self) -> bool:
        """Whether `prepare` would learn something."""
        return self._inference.is_unprepared

    async def prepare(self) -> None:
        """Learn what `room` needs; the client session makes the span."""
        await self._inference.prepare()

    def room(self, model_tag: str | None, max_tokens: int, beside: int) -> Room:
        """The room for the conversation."""
        return self._inference.room(model_tag, max_tokens, beside)

    async def models(self) -> bytes:
        """The models as JSON; the client session makes the span."""
        return await self._inference.models()

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model; the client session makes the span."""
        return await self._inference.swap(model_tag)


class GenerationSpans(Observer):
    """Makes a span for each generation, from its start until it is stored, and links its readers to it."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._spans: dict[UUID, SpanContext] = {}

    def command(self, name: str) -> AbstractContextManager[object]:
        """Around a caller's command: a trace of its own, if it came over a WebSocket."""
        return command(self._tracer, name)

    @contextmanager
    def run(self, answer: Answer) -> Iterator[None]:
        """Around a generation's life on this worker: its span."""
        generation_id = answer.log.generation_id
        with self._tracer.start_as_current_span(
            "generation",
            attributes={
                "chat.conversation.id": str(answer.log.conversation_id),
                "chat.generation.id": str(generation_id),
                "gen_ai.conversation.id": str(answer.log.conversation_id),
            },
            record_exception=False,
        ) as span:
            self._spans[generation_id] = span.get_span_context()
            try:
                yield
            finally:
                del self._spans[generation_id]
                _describe(span, answer)

    def read(self, log: Log) -> None:
        """Add the generation's ids to the current span, and link its span, if that is in another trace."""
        span = trace.get_current_span()
        span.set_attribute("chat.conversation.id", str(log.conversation_id))
        span.set_attribute("chat.generation.id", str(log.generation_id))
        generation = self._spans.get(log.generation_id)
        if generation is not None and generation.trace_id != span.get_span_context().trace_id:
            span.add_link(generation)


def _describe(span: Span, answer: Answer) -> None:
    summary = answer.summary
    if summary is None:  # the process is ending before the answer was stored
        return
    span.set_attributes(
        {
            "chat.outcome": summary.outcome,
            "gen_ai.response.model": summary.model,
            "gen_ai.response.finish_reasons": [summary.finish_reason],
            "gen_ai.usage.output_tokens": summary.token_count,
        }
    )
    if summary.first_token_ms is not None:
        span.set_attribute("chat.time_to_first_token", summary.first_token_ms / 1000)
    if summary.error is not None:
        span.set_attribute("error.type", summary.error)
        span.set_status(StatusCode.ERROR)
