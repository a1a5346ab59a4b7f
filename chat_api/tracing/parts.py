"""The parts that are watched: the plain ones, with spans around what they do. No span holds what was said."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any
from uuid import UUID

from opentelemetry import trace
from opentelemetry.trace import Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from chat_api.bodies import MessageCreate, Regenerate
from chat_api.errors import ChatError
from chat_api.generation.generations import Generations
from chat_api.generation.readers import Cursor, Readers, Reading, Resumption
from chat_api.inference import End, Inference, Prompt, Take
from chat_api.inference.upstream import MORE_HEADERS
from chat_api.postgres.database import Database
from chat_api.tracing.commands import command

if TYPE_CHECKING:
    from chat_api.generation.answer import Answer
    from chat_api.observe.metrics import Metrics
    from chat_api.relay import Hub, Log
    from chat_api.settings import Settings


def fail(span: Span, error: BaseException) -> None:
    """Mark a span as failed, by the error's code or kind; its text stays in the log."""
    span.set_attribute("error.type", error.code if isinstance(error, ChatError) else type(error).__name__)
    if not isinstance(error, asyncio.CancelledError):  # somebody left, or stopped it
        span.set_status(StatusCode.ERROR)


class TracedDatabase(Database):
    """A span a statement, by its name in sql/; none for what no request or generation waits for, as ticks."""

    def __init__(self, settings: Settings, metrics: Metrics, tracer: Tracer) -> None:
        super().__init__(settings, metrics)
        self._tracer = tracer

    async def _run(
        self, name: str, parameters: dict[str, Any], fetch: Callable[..., Coroutine[Any, Any, Any]]
    ) -> Any:
        if not trace.get_current_span().is_recording():
            return await super()._run(name, parameters, fetch)
        with self._tracer.start_as_current_span(
            name,
            kind=SpanKind.CLIENT,
            attributes={"db.system.name": "postgresql", "db.query.summary": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                return await super()._run(name, parameters, fetch)
            except BaseException as error:
                fail(span, error)
                raise


class TracedInference(Inference):
    """A span a stream, which the model server is told by `traceparent`. Other calls are the session's."""

    def __init__(self, inference: Inference, settings: Settings, tracer: Tracer) -> None:
        self._inference = inference
        self._tracer = tracer
        self._provider = settings.inference_protocol
        self._context = TraceContextTextMapPropagator()

    async def stream(self, prompt: Prompt, take: Take) -> End:
        """See Inference."""
        with self._tracer.start_as_current_span(
            "model server",
            kind=SpanKind.CLIENT,
            attributes={
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": self._provider,
                "gen_ai.request.model": prompt.model_tag,
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
                end = await self._inference.stream(prompt, take)
            except BaseException as error:
                fail(span, error)
                raise
            finally:
                MORE_HEADERS.reset(token)
            span.set_attribute("gen_ai.response.finish_reasons", [end.reason])
            return end

    async def models(self) -> bytes:
        """See Inference."""
        return await self._inference.models()

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """See Inference."""
        return await self._inference.swap(model_tag)


class TracedGenerations(Generations):
    """A span a generation, from its start until it is stored; requests that read it are linked to it."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        inference: Inference,
        metrics: Metrics,
        tracer: Tracer,
    ) -> None:
        super().__init__(settings, database, inference, metrics)
        self._tracer = tracer
        self._spans: dict[UUID, SpanContext] = {}
        self.readers = TracedReaders(database, self._hub, settings.replay_seconds, tracer, self._spans)

    async def start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: MessageCreate | Regenerate,
        idempotency_key: str | None = None,
        address: str | None = None,
    ) -> Reading:
        """See Generations."""
        with command(self._tracer, "send" if isinstance(asked, MessageCreate) else "regenerate"):
            reading = await super().start(user_id, conversation_id, asked, idempotency_key, address)
            link(reading.log, self._spans)
            return reading

    async def stop(self, user_id: UUID, conversation_id: UUID) -> UUID | None:
        """See Generations."""
        with command(self._tracer, "stop"):
            return await super().stop(user_id, conversation_id)

    async def _run(self, answer: Answer, generation_id: UUID) -> None:
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
                await super()._run(answer, generation_id)
            finally:
                del self._spans[generation_id]
                _tell(span, answer)


class TracedReaders(Readers):
    """Readers whose spans are linked to the generation's, where that runs here, and name it anyhow."""

    def __init__(
        self,
        database: Database,
        hub: Hub,
        replay_seconds: float,
        tracer: Tracer,
        spans: dict[UUID, SpanContext],
    ) -> None:
        super().__init__(database, hub, replay_seconds)
        self._tracer = tracer
        self._spans = spans

    async def attach(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Reading | None:
        """See Readers."""
        reading = await super().attach(user_id, conversation_id, after)
        if reading is not None:
            link(reading.log, self._spans)
        return reading

    async def resume(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Resumption:
        """See Readers."""
        with command(self._tracer, "subscribe"):
            resumption = await super().resume(user_id, conversation_id, after)
            for reading in resumption.readings:
                link(reading.log, self._spans)
            return resumption


def link(log: Log, spans: dict[UUID, SpanContext]) -> None:
    """Name the generation in the current span, and link its span, if that is another trace's."""
    span = trace.get_current_span()
    span.set_attribute("chat.conversation.id", str(log.conversation_id))
    span.set_attribute("chat.generation.id", str(log.generation_id))
    generation = spans.get(log.generation_id)
    if generation is not None and generation.trace_id != span.get_span_context().trace_id:
        span.add_link(generation)


def _tell(span: Span, answer: Answer) -> None:
    report = answer.report
    if report is None:  # the process ends before it was stored
        return
    span.set_attributes(
        {
            "chat.outcome": report.outcome,
            "gen_ai.response.model": report.model,
            "gen_ai.response.finish_reasons": [report.finish_reason],
            "gen_ai.usage.output_tokens": report.token_count,
        }
    )
    if report.first_token_ms is not None:
        span.set_attribute("chat.time_to_first_token", report.first_token_ms / 1000)
    if report.error is not None:
        span.set_attribute("error.type", report.error)
        span.set_status(StatusCode.ERROR)
