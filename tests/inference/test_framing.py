"""Framings and refusals that real model servers send, from the model server to the reader."""

from __future__ import annotations

import json
from collections.abc import Callable
from email.utils import formatdate
from time import time
from typing import Any

import pytest

from chat_api.inference import upstream
from chat_api.settings import Settings
from tests.conftest import Start
from tests.inference.test_upstream_failures import (
    Nanochat,
    OpenAI,
    Protocol,
    answering,
    event,
    failed,
    http,
)
from tests.support.chat import Chat, open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of


@pytest.fixture(params=[Nanochat, OpenAI])
def protocol(request: pytest.FixtureRequest) -> Protocol:
    chosen: Protocol = request.param
    return chosen


@pytest.fixture
def settings(settings: Settings, protocol: Protocol, model: ModelServer) -> Settings:
    changes = {
        "inference_protocol": protocol.__name__.lower(),
        "inference_service_url": f"{model.url}{protocol.path}",
        "inference_model": "tiny",
    }
    return settings.model_copy(update=changes)


def text(protocol: Protocol, *pieces: str) -> bytes:
    return b"".join(event(protocol.token(piece)) for piece in pieces)


def last(protocol: Protocol, text: str) -> bytes:
    """The last text and the reason of the end in one event, without its line break."""
    if protocol is Nanochat:
        return event({"token": text, "done": True})[:-2]
    return event({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})[:-2]


# Each makes the whole body of a stream that says "ab".
WHOLE: dict[str, Callable[[Protocol], bytes]] = {
    "the last event ends with its line": lambda p: text(p, "a") + last(p, "b") + b"\n",
    "the last event ends with the body": lambda p: text(p, "a") + last(p, "b"),
    "the last event ends with CR": lambda p: text(p, "a") + last(p, "b") + b"\r",
    "the end ends with its line": lambda p: text(p, "a", "b") + p.end[:-1],
    "the end ends with the body": lambda p: text(p, "a", "b") + p.end[:-2],
    "one line break between events": lambda p: (text(p, "a", "b") + p.end).replace(b"\n\n", b"\n"),
    "one CR between events": lambda p: (text(p, "a", "b") + p.end).replace(b"\n\n", b"\r"),
    "one CR LF, the last cut": lambda p: (text(p, "a", "b") + p.end).replace(b"\n\n", b"\r\n")[:-2],
    "CR": lambda p: (text(p, "a", "b") + p.end).replace(b"\n", b"\r"),
    "a byte order mark": lambda p: b"\xef\xbb\xbf" + text(p, "a", "b") + p.end,
    "empty data": lambda p: text(p, "a") + b"data: \n\n" + text(p, "b") + p.end,
    "empty data without a space": lambda p: text(p, "a") + b"data:\n\n" + text(p, "b") + p.end,
    "empty data without a colon": lambda p: b"data\n\ndata\ndata\n\n" + text(p, "a", "b") + p.end,
    "empty data with a name": lambda p: text(p, "a") + b"event: keepalive\ndata: \n\n" + text(p, "b") + p.end,
    "empty data before the end": lambda p: text(p, "a", "b") + b"data: \n\n" + p.end,
    "empty data after the end": lambda p: text(p, "a", "b") + p.end.replace(b"\n\n", b"\n\ndata: \n\n"),
    "two spaces": lambda p: (text(p, "a", "b")).replace(b"data: ", b"data:  ") + p.end,
}


@pytest.mark.parametrize("pieces", [1, 3], ids=["at once", "in pieces"])
@pytest.mark.parametrize("body", WHOLE.values(), ids=WHOLE.keys())
async def test_every_framing_gives_the_whole_answer(
    chat: Chat, model: ModelServer, protocol: Protocol, body: Callable[[Protocol], bytes], pieces: int
) -> None:
    response = await chat.send()
    call = await model.call()
    data = body(protocol)
    size = -(-len(data) // pieces)
    for place in range(0, len(data), size):
        call.send_bytes(data[place : place + size])
    call.close()
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("ab", "stop")
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "stop")]


@pytest.mark.parametrize(
    "error",
    [b"event: error\ndata: {}\n\n", b'error: {"code":500}\n\n', b"event: error\n\n", b"error: no memory"],
    ids=["a name", "a field", "no data", "cut"],
)
async def test_an_error_by_its_name_is_no_good_end(
    chat: Chat, model: ModelServer, protocol: Protocol, error: bytes
) -> None:
    for rest in (b"", protocol.end if error.endswith(b"\n") else b""):
        response = await chat.send()
        call = await model.call()
        call.send_bytes(text(protocol, "a") + error + rest)
        call.close()
        seen = await read_events(response)
        assert text_of(seen) == "a"
        assert failed(seen, "inference_error")["finish_reason"] == "error"


async def test_an_event_that_is_cut_off_is_no_event(
    chat: Chat, model: ModelServer, protocol: Protocol
) -> None:
    for cut in (last(protocol, "b")[:-1], b"data: [DON", b"data", b"event: x\n"):
        response = await chat.send()
        call = await model.call()
        call.send_bytes(text(protocol, "a") + cut)
        call.close()
        seen = await read_events(response)
        assert text_of(seen) == "a"
        assert failed(seen, "inference_interrupted")["finish_reason"] == "interrupted"


@pytest.mark.parametrize("content_type", ["text/plain; charset=utf-8", "text/html", "application/json", None])
async def test_a_stream_of_another_type_is_read(
    start: Start, settings: Settings, user: dict[str, str], protocol: Protocol, content_type: str | None
) -> None:
    headers = [f"Content-Type: {content_type}"] if content_type else []
    body = text(protocol, "a", "b") + protocol.end
    async with answering(http("200 OK", body, *headers)) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        assert text_of(await read_events(await chat.send())) == "ab"


@pytest.mark.parametrize("content_type", ["application/json", "text/event-stream", None])
async def test_an_error_in_place_of_a_stream_is_a_failure(
    start: Start, settings: Settings, user: dict[str, str], content_type: str | None
) -> None:
    headers = [f"Content-Type: {content_type}"] if content_type else []
    body = json.dumps({"error": {"message": "10.0.0.7"}}).encode()
    async with answering(http("200 OK", body, *headers)) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        seen = await read_events(await chat.send())
        assert seen[-2].data["error"] in ("inference_error", "inference_broken")
        assert "10.0.0.7" not in str(seen)


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", None])
@pytest.mark.parametrize("begin", ["", "\ufeff", "\r\n "], ids=repr)
async def test_a_whole_answer_in_place_of_a_stream_is_taken(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    protocol: Protocol,
    content_type: str | None,
    begin: str,
) -> None:
    """The OpenAI protocol has such answers; nanochat hasn't."""
    headers = [f"Content-Type: {content_type}"] if content_type else []
    message = {"role": "assistant", "content": "ab", "reasoning_content": "hm"}
    body = begin + json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "length"}]})
    async with answering(http("200 OK", body.encode(), *headers)) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        seen = await read_events(await chat.send())
        if protocol is Nanochat:
            failed(seen, "inference_broken")
        else:
            assert (text_of(seen), seen[-1].data["finish_reason"]) == ("ab", "length")
            assert (await chat.get())["messages"][1]["reasoning"] == "hm"


@pytest.mark.parametrize(
    ("status", "value", "least", "most"),
    [
        ("429 Too Many Requests", "42", 42, 42),
        ("503 Busy", "0", 1, 1),
        ("529 Overloaded", "99999", 3600, 3600),
        ("429 Too Many Requests", 1800, 1500, 1801),
        ("408 Timeout", "soon", 5, 5),
        ("524 Timeout", None, 5, 5),
    ],
)
async def test_the_time_that_a_busy_server_names_reaches_callers(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    status: str,
    value: str | int | None,
    least: int,
    most: int,
) -> None:
    if isinstance(value, int):  # as a date
        value = formatdate(time() + value, usegmt=True)
    headers = [f"Retry-After: {value}"] if value is not None else []
    async with answering(http(status, b"{}", *headers)) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        response = await chat.send(stream=False)
        assert (response.status, (await response.json())["code"]) == (503, "inference_unavailable")
        assert least <= int(response.headers["Retry-After"]) <= most
        error = (await read_events(await chat.send()))[-2].data
        assert error["error"] == "inference_unavailable"
        if most == 5:
            assert "retry_after" not in error
        else:
            assert least <= error["retry_after"] <= most


async def test_a_refusal_that_never_ends_is_told(
    chat: Chat,
    start: Start,
    settings: Settings,
    user: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(upstream, "REFUSAL_SECONDS", 0.05)
    endless = http("400 Bad Request", b'{"error":', "Content-Type: application/json")
    async with answering(endless.replace(b"Content-Length: 9", b"Content-Length: 99")) as url:
        chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
        failed(await read_events(await chat.send()), "inference_rejected")


@pytest.mark.parametrize("shown", ["on", "off"])
async def test_the_words_of_a_refusal_never_reach_callers(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, shown: str
) -> None:
    given: dict[str, Any] = {"log_inference_errors": shown}
    chat = await open_chat(await start(settings.model_copy(update=given)), user)
    model.refuse = (400, json.dumps({"error": {"message": "http://10.0.0.7 says no", "code": "10.0.0.7"}}))
    failed(await read_events(await chat.send()), "inference_rejected")
    response = await chat.send(stream=False)
    assert "10.0.0.7" not in await response.text()
