"""OpenTelemetry traces: where they start, who continues them, and what they never reveal."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp.test_utils import TestClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from chat_api.app import create_app
from chat_api.inference import Inference
from chat_api.settings import Settings
from chat_api.tracing import is_wanted
from chat_api.tracing.export import provider
from chat_api.tracing.parts import TracedInference
from chat_api.tracing.tracing import Tracing
from tests.conftest import LastingServer
from tests.observe.collector import Collector
from tests.support import processes
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT_ID = "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{PARENT_ID}-01"
SECRET = "klaatu-barada"


@dataclass
class Traced:
    """The service, and the spans that have ended."""

    client: Client
    exporter: InMemorySpanExporter

    def spans(self, name: str) -> list[ReadableSpan]:
        """The spans of a name, in the order in which they ended."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    async def span(self, name: str) -> ReadableSpan:
        """The span of a name, once it has ended. A request's span ends after its last byte is read."""
        async with asyncio.timeout(5):
            while not (found := self.spans(name)):  # noqa: ASYNC110 - there is no event for it
                await asyncio.sleep(0.005)
        assert len(found) == 1
        return found[0]


def trace_id(span: ReadableSpan) -> str:
    return f"{span.context.trace_id:032x}"


def span_id(span: ReadableSpan) -> str:
    return f"{span.context.span_id:016x}"


def parent_id(span: ReadableSpan) -> str | None:
    return None if span.parent is None else f"{span.parent.span_id:016x}"


@pytest.fixture
async def traced(settings: Settings) -> AsyncIterator[Traced]:
    """The service with an exporter that keeps its spans."""
    exporter = InMemorySpanExporter()
    tracing = Tracing(provider(SimpleSpanProcessor(exporter)))
    async with TestClient(LastingServer(create_app(settings, tracing=tracing))) as client:
        yield Traced(client, exporter)


@pytest.fixture
async def traced_chat(traced: Traced, user: dict[str, str]) -> Chat:
    """A conversation on the traced service, without the spans of its creation."""
    chat = await open_chat(traced.client, user)
    await traced.span("POST /api/conversations")
    traced.exporter.clear()
    return chat


SEND = "POST /api/conversations/{id}/messages"


def test_a_traced_model_server_does_what_any_does() -> None:
    public = {name for name in vars(Inference) if not name.startswith("_")}
    assert public - vars(TracedInference).keys() == set()


async def test_a_message_is_one_trace_from_the_callers_span_to_the_model_server(
    traced: Traced, traced_chat: Chat, model: ModelServer
) -> None:
    traced_chat.user["traceparent"] = TRACEPARENT
    async with await traced_chat.send(SECRET, temperature=0.5) as response:
        call = await model.call()
        call.finish(SECRET, SECRET, "!")
        events = await read_events(response)
    assert response.headers["X-Trace-Id"] == TRACE_ID

    request = await traced.span(SEND)
    generation = await traced.span("generation")
    upstream = await traced.span("model server")
    started = await traced.span("generations.start")
    finished = await traced.span("generations.finish")
    family = [request, generation, upstream, started, finished]
    assert {trace_id(span) for span in family} == {TRACE_ID}
    assert (request.kind, parent_id(request)) == (SpanKind.SERVER, PARENT_ID)
    assert parent_id(started) == parent_id(generation) == span_id(request)
    assert parent_id(upstream) == parent_id(finished) == span_id(generation)
    assert call.headers["traceparent"] == f"00-{TRACE_ID}-{span_id(upstream)}-01"

    first = events[0].data
    assert request.attributes is not None
    assert generation.attributes is not None
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["http.route"] == "/api/conversations/{id}/messages"
    assert {
        name: generation.attributes[name] for name in generation.attributes if name.startswith("chat.")
    } == {
        "chat.conversation.id": first["conversation_id"],
        "chat.generation.id": first["generation_id"],
        "chat.outcome": "completed",
        "chat.time_to_first_token": generation.attributes["chat.time_to_first_token"],
    }
    assert 0 <= float(str(generation.attributes["chat.time_to_first_token"])) < 5
    assert generation.attributes["gen_ai.usage.output_tokens"] == 3
    assert generation.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert upstream.attributes is not None
    assert upstream.attributes["gen_ai.request.temperature"] == 0.5


async def test_no_span_tells_a_text_or_a_token(
    traced: Traced,
    traced_chat: Chat,
    model: ModelServer,
    auth: AuthService,
    sql: asyncpg.Connection[asyncpg.Record],
) -> None:
    async def send(script: Any) -> None:
        sending = asyncio.create_task(traced_chat.send(SECRET, stream=False))
        script(await model.call())
        await (await sending).read()

    await send(lambda call: call.finish(SECRET))
    await send(lambda call: call.send({"error": SECRET}))
    await send(lambda call: (call.say(SECRET), call.cut()))
    model.refuse = (500, SECRET)
    await (await traced_chat.send(SECRET, stream=False)).read()
    await sql.execute(
        f"alter table conversations add constraint no_title check (title not like '{SECRET}%') not valid"
    )
    failed = await traced_chat.client.put(traced_chat.path, json={"title": SECRET}, headers=traced_chat.user)
    assert failed.status == 500

    await traced.span("PUT /api/conversations/{id}")
    spans = traced.exporter.get_finished_spans()
    assert len(spans) > 15
    assert [span.name for span in spans if span.events] == [], "exceptions, which have texts"
    words = [SECRET, traced_chat.user["Authorization"].partition(" ")[2], auth.internal_key, "insert into"]
    assert [span.name for span in spans if any(word in span.to_json() for word in words)] == []


async def test_without_a_traceparent_the_trace_has_the_id_of_the_log_lines(
    traced: Traced, user: dict[str, str]
) -> None:
    response = await traced.client.get("/api/conversations", headers=user)
    span = await traced.span("GET /api/conversations")
    assert parent_id(span) is None
    assert response.headers["X-Trace-Id"] == trace_id(span)
    traced.exporter.clear()

    of_nginx = "0af7651916cd43dd8448eb211c80319c"  # nginx's $request_id has the same format
    response = await traced.client.get("/api/conversations", headers={**user, "X-Trace-Id": of_nginx})
    assert response.headers["X-Trace-Id"] == of_nginx == trace_id(await traced.span("GET /api/conversations"))


async def test_a_callers_own_trace_id_stays_and_both_name_each_other(
    traced: Traced, user: dict[str, str], model: ModelServer, capsys: pytest.CaptureFixture[str]
) -> None:
    model.say = ["one"]
    headers = {**user, "X-Trace-Id": "order-66", "traceparent": TRACEPARENT}
    response = await traced.client.get("/api/models", headers=headers)
    assert response.headers["X-Trace-Id"] == "order-66"
    span = await traced.span("GET /api/models")
    assert trace_id(span) == TRACE_ID
    assert span.attributes is not None
    assert span.attributes["chat.trace_id"] == "order-66"

    conversation = await open_chat(traced.client, headers)
    async with await conversation.send(stream=False):
        pass
    lines = [line for line in capsys.readouterr().out.splitlines() if "generation_ended" in line]
    assert "trace_id=order-66" in lines[0]
    assert f"otel_trace_id={TRACE_ID}" in lines[0]


@pytest.mark.parametrize(
    "traceparent",
    [
        "",
        "00",
        f"ff-{TRACE_ID}-{PARENT_ID}-01",
        f"00-{'0' * 32}-{PARENT_ID}-01",
        TRACEPARENT.upper(),
        "é" * 55,
    ],
)
async def test_a_traceparent_that_is_none_begins_a_new_trace(
    traced: Traced, user: dict[str, str], traceparent: str
) -> None:
    response = await traced.client.get("/api/conversations", headers={**user, "traceparent": traceparent})
    assert response.status == 200
    span = await traced.span("GET /api/conversations")
    assert parent_id(span) is None
    assert response.headers["X-Trace-Id"] == trace_id(span) != TRACE_ID


async def test_the_neighbours_are_told_the_trace(
    traced: Traced, user: dict[str, str], auth: AuthService
) -> None:
    await traced.client.get("/api/models", headers={**user, "traceparent": TRACEPARENT})
    request = await traced.span("GET /api/models")
    asked, listed = await traced.span("POST /auth/validate"), await traced.span("GET /models")
    assert auth.traceparents == [f"00-{TRACE_ID}-{span_id(asked)}-01"]
    assert parent_id(asked) == parent_id(listed) == span_id(request)
    assert listed.attributes is not None
    assert listed.attributes["http.response.status_code"] == 200


async def test_a_reader_in_another_trace_is_linked_to_the_generation(
    traced: Traced, traced_chat: Chat, model: ModelServer
) -> None:
    response, call, _ = await traced_chat.begin(model, "one")
    async with response, await traced_chat.attach() as attached:
        call.finish("two")
        await read_events(attached)
        await read_events(response)
    generation = await traced.span("generation")
    reader = await traced.span("GET /api/conversations/{id}/stream")
    assert [link.context.span_id for link in reader.links] == [generation.context.span_id]
    assert trace_id(reader) != trace_id(generation)
    assert reader.attributes is not None
    assert generation.attributes is not None
    assert reader.attributes["chat.generation.id"] == generation.attributes["chat.generation.id"]
    assert (await traced.span(SEND)).links == ()


async def test_each_command_of_a_socket_is_a_trace_of_its_own_linked_to_the_socket(
    traced: Traced, traced_chat: Chat, model: ModelServer
) -> None:
    async with open_tab(traced.client, traced_chat.user) as tab:
        await tab.ask("send", traced_chat.path, content="a")
        (await model.call()).finish("one")
        await tab.events()
        await tab.ask("subscribe", traced_chat.path)
        await tab.ask("stop", traced_chat.path)
    socket = await traced.span("GET /api/ws")
    commands = [await traced.span(f"WS {name}") for name in ("send", "subscribe", "stop")]
    assert len({trace_id(span) for span in [socket, *commands]}) == 4
    assert {link.context.span_id for span in commands for link in span.links} == {socket.context.span_id}
    generation = await traced.span("generation")
    assert parent_id(generation) == span_id(commands[0])
    assert parent_id(await traced.span("generations.start")) == span_id(commands[0])


async def test_failures_are_marked_by_their_codes(
    traced: Traced, traced_chat: Chat, model: ModelServer
) -> None:
    model.refuse = (503, "busy")
    async with await traced_chat.send() as response:
        await read_events(response)
    for name in ("generation", "model server"):
        span = await traced.span(name)
        assert span.status.status_code is StatusCode.ERROR
        assert span.attributes is not None
        assert span.attributes["error.type"] == "inference_unavailable"
    assert (await traced.span(SEND)).status.status_code is StatusCode.UNSET


async def test_a_stopped_answer_is_no_failure(traced: Traced, traced_chat: Chat, model: ModelServer) -> None:
    response, _, _ = await traced_chat.begin(model, "one")
    await traced_chat.stop()
    response.close()
    generation = await traced.span("generation")
    assert generation.attributes is not None
    assert generation.attributes["chat.outcome"] == "stopped"
    assert {span.status.status_code for span in traced.exporter.get_finished_spans()} == {StatusCode.UNSET}


async def test_probes_and_ticks_leave_no_trace(traced: Traced) -> None:
    for path in ("/api/health", "/api/ready", "/metrics"):
        assert (await traced.client.get(path)).status == 200
    await asyncio.sleep(0.3)  # longer than a tick, in which spans would be made
    assert traced.exporter.get_finished_spans() == ()


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_SERVICE_NAME": "chat"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "console"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "True"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
    ],
)
def test_what_asks_for_traces(variables: dict[str, str], wanted: bool) -> None:
    assert is_wanted(variables) is wanted


async def test_workers_send_their_spans_to_a_collector(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    model.say = [SECRET]
    async with Collector() as collector:
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=chai",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,service.version=mine",
            "OTEL_BSP_SCHEDULE_DELAY": "60000",  # the end of the service sends them
        }
        async with processes.Service(settings, "--workers", "2", **variables) as service:
            path = await processes.open_conversation(service.session, user)
            async with service.session.post(
                f"{path}/messages", json={"content": SECRET}, headers=user
            ) as response:
                await read_events(response)
            service.send(processes.signal.SIGTERM)
            assert await service.ended() == 0
    names = {name for name, _ in collector.spans}
    assert {SEND, "generation", "model server", "generations.start", "generations.finish"} <= names
    assert {each["service.name"] for each in collector.resources} == {"chat-api"}
    assert {each["service.version"] for each in collector.resources} == {"mine"}
    assert collector.headers[0]["x-tenant"] == "chai"
    assert SECRET not in str(collector.spans)


async def test_a_collector_that_takes_nothing_holds_nobody_up(
    settings: Settings, user: dict[str, str]
) -> None:
    async with Collector() as collector:
        collector.hold = asyncio.Event()
        variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        async with processes.Service(settings, **variables) as service:
            await processes.open_conversation(service.session, user)
            await asyncio.sleep(0.2)  # by now the exporter waits for a response
            began = time.monotonic()
            await processes.open_conversation(service.session, user)
            assert time.monotonic() - began < 2
            service.send(processes.signal.SIGTERM)
            assert await service.ended() == 0
            assert time.monotonic() - began < 10
        collector.hold.set()


WITHOUT = """
import sys
for name in {hidden}: sys.modules[name] = None
from chat_api.tracing import load_tracing
print(load_tracing(), "opentelemetry.sdk" in sys.modules)
"""


@pytest.mark.parametrize(
    ("variables", "hidden", "said"),
    [
        ({}, [], ""),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}, ["opentelemetry.sdk"], "tracing_unavailable"),
        ({"OTEL_TRACES_EXPORTER": "carrier-pigeon"}, [], "tracing_unavailable"),
    ],
    ids=["off", "not_installed", "unknown_exporter"],
)
def test_without_the_extra_it_goes_on_and_says_what_to_install(
    checkout: Path, variables: dict[str, str], hidden: list[str], said: str
) -> None:
    script = WITHOUT.format(hidden=hidden)
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=variables,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1].startswith("None")
    assert said in done.stdout
    if said:
        assert "samosachaat-chat-api[opentelemetry]" in done.stdout
    else:
        assert re.search("None False$", done.stdout.strip())


async def test_what_a_middleware_refuses_ends_its_span(traced: Traced) -> None:
    response = await traced.client.get("/api/conversations")
    assert response.status == 401
    span = await traced.span("GET /api/conversations")
    assert span.attributes is not None
    assert span.attributes["http.response.status_code"] == 401
    assert "user.id" not in span.attributes
