"""Whatever a model server does wrong: an `error`, a `done`, the text so far kept, and nothing left behind."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from chat_api.inference.event_parser import MAX_EVENT_BYTES, Event, EventParser, EventTooLarge
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, no_answer_lives, open_chat, until
from tests.support.model_server import Call, ModelServer
from tests.support.reader import Seen, read_events, text_of

SECRET = "http://10.0.0.7:8000 said: key sk-123 is wrong"


def event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


class Nanochat:
    path = ""

    @staticmethod
    def token(text: Any) -> dict[str, Any]:
        return {"token": text}

    end = event({"done": True})


class OpenAI:
    path = "/v1"

    @staticmethod
    def token(text: Any) -> dict[str, Any]:
        return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}

    end = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}) + b"data: [DONE]\n\n"


Protocol = type[Nanochat] | type[OpenAI]


@pytest.fixture(params=[Nanochat, OpenAI])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


@pytest.fixture
def settings(settings: Settings, protocol: Protocol, model: ModelServer) -> Settings:
    return settings.model_copy(
        update={
            "inference_protocol": protocol.__name__.lower(),
            "inference_service_url": f"{model.url}{protocol.path}",
            "inference_model": "tiny",
        }
    )


async def nothing_is_left(model: ModelServer) -> None:
    """Wait until no answer's task and no connection to the model server is left."""

    async def closed() -> bool:
        return model.connections == 0

    await no_answer_lives()
    await until(closed)


async def goes_on(chat: Chat, model: ModelServer, protocol: Protocol) -> None:
    """Check that the conversation takes the next message."""
    response = await chat.send("And now?")
    call = await model.call()
    call.send_bytes(event(protocol.token("fine")) + protocol.end)
    assert text_of(await read_events(response)) == "fine"
    assert (await chat.messages())[-1] == ("assistant", "fine", "stop")
    call.close()
    await nothing_is_left(model)


def failed(seen: list[Seen], code: str) -> dict[str, Any]:
    """Check that the stream ended with this error and `done`, and return `done`."""
    *_, error, done = seen
    assert error.data.keys() == {"error", "detail"}
    assert error.data["error"] == code
    assert "10.0.0.7" not in str(seen)
    assert done.data["done"] is True
    return done.data


BROKEN, INTERRUPTED = ("inference_broken", "error"), ("inference_interrupted", "interrupted")

FAILURES: dict[str, tuple[tuple[str, str], Callable[[Protocol], bytes]]] = {
    "garbage": (BROKEN, lambda _: b"data: <garbage>\n\n"),
    "half an object": (BROKEN, lambda _: b'data: {"token": \n\n'),
    "a list": (BROKEN, lambda _: b"data: [1]\n\n"),
    "a text": (BROKEN, lambda _: b'data: "x"\n\n'),
    "no JSON at all": (BROKEN, lambda _: b"data: NaN\n\n"),
    "too deep": (BROKEN, lambda _: b"data: " + b'{"a":' * 5000 + b"1" + b"}" * 5000 + b"\n\n"),
    "half a surrogate pair": (
        BROKEN,  # a token may have one: test_openai_answer.py, test_nanochat_events.py
        lambda _: event({"choices": "\ud83d"}),
    ),
    "a number for a token": (BROKEN, lambda protocol: event(protocol.token(5))),
    "true for a token": (BROKEN, lambda protocol: event(protocol.token(True))),
    "an event of a megabyte": (BROKEN, lambda protocol: event(protocol.token("x" * 2**20))),
    "an event of a megabyte in lines": (BROKEN, lambda _: b"data: xxxxxxxxx\n" * 2**16 + b"\n"),
    "a line without end": (BROKEN, lambda _: b"data: " + b"x" * 2**20),
    "an error": (("inference_error", "error"), lambda _: event({"error": SECRET})),
    "an error object": (("inference_error", "error"), lambda _: event({"error": {"message": SECRET}})),
}


# What nanochat's answers pass over once they have begun (test_nanochat_events.py): it must come first.
SKIPPED = {
    "garbage",
    "half an object",
    "a list",
    "a text",
    "no JSON at all",
    "too deep",
    "half a surrogate pair",
    "a number for a token",
    "true for a token",
}


@pytest.mark.parametrize("name", FAILURES)
async def test_what_is_no_event_ends_the_answer(
    chat: Chat, model: ModelServer, protocol: Protocol, name: str
) -> None:
    (code, finish_reason), data = FAILURES[name]
    text = "" if protocol is Nanochat and name in SKIPPED else "ab"
    response = await chat.send()
    call = await model.call()
    call.send(*map(protocol.token, text))
    call.send_bytes(data(protocol))
    seen = await read_events(response)
    assert text_of(seen) == text
    done = failed(seen, code)
    assert (done["finish_reason"], done["token_count"]) == (finish_reason, len(text))
    conversation = await chat.get()
    assert conversation["generation"] is None
    assert [message["id"] for message in conversation["messages"][1:]] == (
        [done["message_id"]] if text else []
    )
    kept = [("assistant", text, finish_reason)] if text else []
    assert await chat.messages() == [("user", "Hi", None), *kept]
    await nothing_is_left(model)
    await goes_on(chat, model, protocol)


@pytest.mark.parametrize("end", [Call.close, Call.cut])
@pytest.mark.parametrize("tokens", [["a", "b"], []], ids=["text", "nothing"])
async def test_an_end_without_done_is_an_interruption(
    chat: Chat,
    model: ModelServer,
    protocol: Protocol,
    end: Callable[[Call], None],
    tokens: list[str],
) -> None:
    kept = [("assistant", "ab", "interrupted")] if tokens else []
    for turn, rest in enumerate(
        [b"", b'data: {"tok', b"data: {}", b": only a comment\n\n", b"\xff\xfe\0"], 1
    ):
        response = await chat.send()
        call = await model.call()
        call.send(*map(protocol.token, tokens))
        call.send_bytes(rest)
        end(call)
        seen = await read_events(response)
        assert text_of(seen) == "".join(tokens)
        done = failed(seen, "inference_interrupted")
        assert done["finish_reason"] == "interrupted"
        assert (done["message_id"] is not None) == bool(tokens)
        assert await chat.messages() == [("user", "Hi", None), *kept] * turn
        await nothing_is_left(model)


@pytest.mark.parametrize("tokens", [["a", "b"], []], ids=["between tokens", "before the first"])
async def test_silence_is_a_timeout(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    protocol: Protocol,
    tokens: list[str],
) -> None:
    limit = "inference_token_timeout" if tokens else "inference_first_token_timeout"
    chat = await open_chat(await start(settings.model_copy(update={limit: 0.1})), user)
    response = await chat.send()
    call = await model.call()
    call.send(*map(protocol.token, tokens))
    call.send_bytes(b": a comment is no token\n\n")
    seen = await read_events(response)
    assert text_of(seen) == "".join(tokens)
    assert failed(seen, "inference_timeout")["finish_reason"] == "interrupted"
    async with asyncio.timeout(5):
        await call.closed.wait()
    await nothing_is_left(model)
    model.refuse = (500, "")
    await (await chat.send()).read()
    assert [role for role, _, _ in await chat.messages()].count("user") == 2


async def test_an_answer_that_never_begins_is_a_timeout(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    model.hold_headers = asyncio.Event()
    quick = settings.model_copy(update={"inference_first_token_timeout": 0.1})
    chat = await open_chat(await start(quick), user)
    failed(await read_events(await chat.send()), "inference_timeout")
    response = await chat.send(stream=False)
    assert (response.status, (await response.json())["code"]) == (503, "inference_timeout")
    model.hold_headers.set()
    await nothing_is_left(model)


async def test_a_refusal_is_told_without_its_body(chat: Chat, model: ModelServer, protocol: Protocol) -> None:
    for upstream in (400, 401, 403, 404, 408, 422, 429, 500, 501, 502, 503, 504, 520, 524, 529, 530):
        busy = upstream in (408, 429, 502, 503, 504) or upstream >= 520
        code = "inference_unavailable" if busy else "inference_rejected"
        if upstream in (500, 501):
            code = "inference_error"
        model.refuse = (upstream, json.dumps({"detail": SECRET}))
        done = failed(await read_events(await chat.send()), code)
        assert (done["finish_reason"], done["message_id"], done["token_count"]) == ("error", None, 0)
        response = await chat.send(stream=False)
        body = await response.json()
        assert (response.status, body["code"]) == (503 if busy else 502, code)
        assert ("Retry-After" in response.headers) == busy
        assert "10.0.0.7" not in str(body)
        for _ in range(2):
            await model.call()
    assert await chat.messages() == [("user", "Hi", None)] * 32
    model.refuse = None
    await goes_on(chat, model, protocol)


async def test_a_model_server_that_is_not_there_is_unavailable(
    start: Start, settings: Settings, user: dict[str, str], unused_tcp_port: int
) -> None:
    away = settings.model_copy(update={"inference_service_url": f"http://127.0.0.1:{unused_tcp_port}"})
    chat = await open_chat(await start(away), user)
    done = failed(await read_events(await chat.send()), "inference_unavailable")
    assert (done["finish_reason"], done["message_id"]) == ("error", None)
    response = await chat.send(stream=False)
    assert (response.status, response.headers["Retry-After"]) == (503, "5")
    assert await chat.messages() == [("user", "Hi", None)] * 2
    await no_answer_lives()


@asynccontextmanager
async def answering(data: bytes) -> AsyncIterator[str]:
    """The URL of a server that answers everything with these bytes and closes."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(data)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(status: str, body: bytes, *headers: str) -> bytes:
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*head, "", ""]).encode() + body


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", "inference_broken"),
        (b"", "inference_interrupted"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\ndata:", "inference_interrupted"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "inference_broken"),
        (http("204 No Content", b""), "inference_rejected"),
        (
            http("200 OK", b"<html><body>Welcome to nginx!\n\n", "Content-Type: text/html"),
            "inference_broken",
        ),
        (http("200 OK", b"no gzip", "Content-Encoding: gzip"), "inference_broken"),
    ],
    ids=["no HTTP", "nothing", "too short", "bad chunk", "no content", "a page", "bad gzip"],
)
async def test_what_is_no_stream_is_a_failure(
    start: Start, settings: Settings, user: dict[str, str], answer: bytes, code: str
) -> None:
    async with answering(answer) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        assert failed(await read_events(await chat.send()), code)["message_id"] is None
        assert await chat.messages() == [("user", "Hi", None)]
        await no_answer_lives()


async def test_a_redirect_is_not_followed(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    async with answering(http("307 Temporary Redirect", b"", f"Location: {model.url}/generate")) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        failed(await read_events(await chat.send()), "inference_rejected")
    assert model.requests == []  # where the key would have been sent


async def test_a_compressed_stream_was_not_asked_for(
    start: Start, settings: Settings, user: dict[str, str], protocol: Protocol
) -> None:
    body = gzip.compress(event(protocol.token("a")) + protocol.end)
    async with answering(http("200 OK", body, "Content-Encoding: gzip")) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        failed(await read_events(await chat.send()), "inference_broken")


def utf8(protocol: Protocol, text: str) -> bytes:
    return b"data: " + json.dumps(protocol.token(text), ensure_ascii=False).encode() + b"\n\n"


ACCEPTED: dict[str, tuple[Callable[[Protocol], list[bytes]], str]] = {
    "many events in one chunk": (lambda p: [b"".join(event(p.token(c)) for c in "abc") + p.end], "abc"),
    "one byte a chunk": (lambda p: [bytes([byte]) for byte in utf8(p, "a🥟") + p.end], "a🥟"),
    "CR LF": (lambda p: [(event(p.token("a")) + p.end).replace(b"\n", b"\r\n")], "a"),
    "no space after the colon": (lambda p: [event(p.token("a")).replace(b"data: ", b"data:"), p.end], "a"),
    "an object in two lines": (
        lambda p: [event(p.token("a")).replace(b': "a"', b':\ndata: "a"'), p.end],
        "a",
    ),
    "comments and other fields": (
        lambda p: [b": hello\n\nevent: x\nid: 7\nretry: 1\n\nid: 8\n" + event(p.token("a")) + p.end],
        "a",
    ),
    "bytes that are no UTF-8": (lambda p: [event(p.token("a?")).replace(b"?", b"\xff"), p.end], "a\ufffd"),
    "NUL": (lambda p: [event(p.token("a\0b")), p.end], "a\ufffdb"),
    "empty tokens": (lambda p: [event(p.token("")), event(p.token("a")), event(p.token("")), p.end], "a"),
    "something after the end": (lambda p: [event(p.token("a")), p.end, event(p.token("b"))], "a"),
    "a surrogate pair": (lambda p: [event(p.token("🥟")), p.end], "🥟"),
}


@pytest.mark.parametrize(("data", "text"), ACCEPTED.values(), ids=ACCEPTED.keys())
async def test_a_stream_is_read_however_it_is_written(
    chat: Chat, model: ModelServer, protocol: Protocol, data: Callable[[Protocol], list[bytes]], text: str
) -> None:
    response = await chat.send()
    call = await model.call()
    for chunk in data(protocol):
        call.send_bytes(chunk)
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == (text, "stop")
    assert await chat.messages() == [("user", "Hi", None), ("assistant", text, "stop")]
    call.close()
    await nothing_is_left(model)


async def test_an_empty_answer_leaves_no_message(chat: Chat, model: ModelServer, protocol: Protocol) -> None:
    for stream in (True, False):
        sending = asyncio.create_task(chat.send(stream=stream))
        call = await model.call()
        call.send_bytes(protocol.end)
        response = await sending
        if stream:
            _, error, done = await read_events(response)
            assert error.data["error"] == "answer_empty"
            assert (done.data["message_id"], done.data["finish_reason"]) == (None, "error")
        else:
            assert (response.status, (await response.json())["code"]) == (502, "answer_empty")
    assert await chat.messages() == [("user", "Hi", None)] * 2
    await goes_on(chat, model, protocol)


async def test_an_answer_without_end_is_ended(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, protocol: Protocol
) -> None:
    small = settings.model_copy(update={"max_answer_characters": 1000})
    chat = await open_chat(await start(small), user)
    response = await chat.send()
    call = await model.call()
    call.send(*[protocol.token("x" * 100)] * 30)
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("x" * 1000, "length")
    async with asyncio.timeout(5):
        await call.closed.wait()
    await nothing_is_left(model)


class TestReadingEvents:
    """The parser alone: the test decides how chunks are cut."""

    @staticmethod
    def read(*chunks: bytes) -> list[Event]:
        parser = EventParser()
        return [data for chunk in chunks for data in parser.feed(chunk)]

    def test_every_cut_gives_the_same_events(self) -> None:
        stream = "data: é\r\n\r\n:c\ndata:b\ndata: c\n\ndata\n\ndata: cut off".encode()
        expected = ["é".encode(), b"b\nc"]
        for place in range(len(stream) + 1):
            assert self.read(stream[:place], stream[place:]) == expected
        assert self.read(*(bytes([byte]) for byte in stream)) == expected

    def test_the_limit_is_exact(self) -> None:
        largest = b"x" * MAX_EVENT_BYTES
        assert self.read(b"data:" + largest[5:] + b"\n\n") == [largest[5:]]
        with pytest.raises(EventTooLarge):
            self.read(b"data:" + largest + b"x\n\n")
