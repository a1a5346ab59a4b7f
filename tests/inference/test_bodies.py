"""What a model server may send in place of an event stream, and how its refusals are read to the end."""

from __future__ import annotations

import time
from typing import Any

import pytest
from structlog.testing import capture_logs

from chat_api import errors
from chat_api.inference import upstream
from chat_api.inference.body import Body, kind_of
from chat_api.inference.event_parser import BOM, Event, Named
from chat_api.inference.refusal import MAX_REFUSAL_BYTES
from chat_api.inference.response import MAX_WHOLE_BYTES, Response
from tests.inference.test_upstream import Reader, chunked, post
from tests.support.raw_server import RawServer

STREAM = b"data: a\n\nevent: x\ndata: b\n\ndata: [DONE]"
WHOLE = b' {"choices":[{"message":{"content":"a"}}]}\n'


def answer(body: bytes, content_type: str | None = None, status: str = "200 OK", *more: str) -> bytes:
    """A response whose body is in one chunk."""
    types = [] if content_type is None else [f"Content-Type: {content_type}"]
    head = [f"HTTP/1.1 {status}", "Transfer-Encoding: chunked", *types, *more]
    return "\r\n".join([*head, "", ""]).encode() + (chunked(body) if body else b"0\r\n\r\n")


TYPES = [
    None,
    "text/event-stream",
    "Text/Event-Stream; charset=UTF-8",
    "text/event-stream;x",
    "text/plain; charset=utf-8",
    "text/html; charset=utf-8",
    "application/json",
    "application/octet-stream",
    "",
]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("begin", [b"", BOM, b"\r\n", b": hello\n\n", b"id: 1\n", b"retry: 1\n\n"], ids=repr)
def test_a_stream_is_one_by_its_first_bytes(content_type: str | None, begin: bytes) -> None:
    text = answer(begin + STREAM, content_type)
    for pieces in ([text], [bytes([byte]) for byte in text]):
        seen: list[Event] = []
        response = Response(seen.append, seen.append)
        assert [response.feed(piece) for piece in pieces][-1]
        response.end()
        assert seen == [b"a", Named(b"x", b"b"), b"[DONE]"]


@pytest.mark.parametrize("content_type", [*TYPES, "application/problem+json", "application/x-ndjson"])
@pytest.mark.parametrize("begin", [b"", BOM, b"\r\n"], ids=repr)
def test_an_object_is_a_whole_answer(content_type: str | None, begin: bytes) -> None:
    text = answer(begin + WHOLE, content_type)
    for pieces in ([text], [bytes([byte]) for byte in text]):
        seen: list[Event] = []
        response = Response(seen.append, seen.append)
        assert [response.feed(piece) for piece in pieces][-1]
        response.end()
        assert seen == [begin + WHOLE]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("text/html", b"<html>Welcome"),
        ("text/html; charset=utf-8", b"<!DOCTYPE html>\n<p>data: a\n\n"),
        ("text/plain", b"ok"),
        ("text/plain", b"database: a\n\n"),
        ("text/plain", b""),
        ("text/plain", b"dat"),
        ("image/png", b"\x89PNG"),
        ("application/xml", b"\n\n"),
        ("text/plain", b" " * 5000),
    ],
)
async def test_another_type_is_told_as_such(content_type: str, body: bytes) -> None:
    reader = Reader()
    with capture_logs() as lines:
        async with RawServer(answer(body, content_type)) as server:
            with pytest.raises(errors.InferenceBroken):
                await post(server.url, reader)
    assert reader.seen == []
    assert [(line["event"], line["content_type"]) for line in lines] == [
        ("inference_broken", content_type.partition(";")[0])
    ]


async def test_a_page_that_goes_on_for_ever_is_left_at_its_first_bytes() -> None:
    text = answer(b"<html>", "text/html").removesuffix(b"0\r\n\r\n")
    async with RawServer(text, then="stay") as server:
        with pytest.raises(errors.InferenceBroken):
            await post(server.url)


async def test_a_whole_answer_is_handed_on_once_it_is_complete() -> None:
    reader = Reader()
    async with RawServer(answer(WHOLE, "application/json")) as server:
        assert await post(server.url, reader) == "whole"
    assert reader.seen == [WHOLE]
    to_the_end = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + WHOLE
    async with RawServer(to_the_end) as server:
        assert await post(server.url) == "whole"
    for then in ("close", "reset"):
        async with RawServer(answer(WHOLE, "application/json")[:-1], then=then) as server:
            with pytest.raises(errors.InferenceInterrupted):
                await post(server.url)


async def test_a_whole_answer_has_a_limit() -> None:
    body = b'{"a":"' + b"x" * (MAX_WHOLE_BYTES - 8) + b'"}'
    async with RawServer(answer(body, "application/json")) as server:
        assert await post(server.url) == "whole"
    async with RawServer(answer(body + b" ", "application/json"), then="stay") as server:
        with pytest.raises(errors.InferenceBroken):
            await post(server.url)


def test_a_kind_needs_enough_bytes() -> None:
    assert kind_of(b"", b"") is None
    assert kind_of(b"", BOM[:2]) is None
    assert kind_of(b"", b"\n" * 2000) is Body.STREAM
    assert kind_of(b"text/plain", b"even") is None
    assert kind_of(b"text/plain", b"even", complete=True) is Body.OTHER
    assert kind_of(b"application/json", b"", complete=True) is Body.JSON
    assert kind_of(b"", b"", complete=True) is Body.STREAM


@pytest.mark.parametrize("cut", [b"", b"\n"])
@pytest.mark.parametrize("then", ["close", "reset"])
async def test_the_last_event_counts_also_where_the_connection_breaks(cut: bytes, then: str) -> None:
    reader = Reader()
    text = answer(b'data: a\n\ndata: {"b":1}' + cut).removesuffix(b"0\r\n\r\n")
    async with RawServer(text, then=then) as server:
        with pytest.raises(errors.InferenceInterrupted):
            await post(server.url, reader)
    assert reader.seen == [b"a", b'{"b":1}']


async def test_a_named_event_reaches_its_own_method() -> None:
    reader = Reader()
    async with RawServer(answer(b"event: x\ndata: a\n\nerror: b\n\ndata: end\n\ndata: c\n\n")) as server:
        assert await post(server.url, reader) == "ended"
    assert reader.seen == [b"x=a", b"error=b", b"end"]


@pytest.mark.parametrize(
    "piece", [b"data: \n\n", b"data:  \n\n", b"data:\n\n", b"data: a\rdata: b\n\n"], ids=repr
)
async def test_an_event_in_a_chunk_of_its_own_is_read_like_any_other(piece: bytes) -> None:
    seen: list[Event] = []
    response = Response(seen.append, seen.append)
    for data in (answer(b"data: x\n\n").removesuffix(b"0\r\n\r\n"), b"%x\r\n%b\r\n" % (len(piece), piece)):
        if (event := response.event(data)) is not None:
            seen.append(event)
        else:
            response.feed(data)
    assert seen == [b"x", b"a\nb"][: 1 + (b"\r" in piece)]


REASON = b'{"error":{"message":"m","code":"c","param":"p"}}'


@pytest.mark.parametrize(
    "text",
    [
        answer(REASON, "application/json", "400 Bad Request"),
        answer(REASON, "text/plain", "404 Not Found"),
        b"HTTP/1.1 422 No\r\nContent-Length: %d\r\n\r\n%b" % (len(REASON), REASON),
        b"HTTP/1.1 413 No\r\n\r\n" + REASON,
    ],
    ids=["chunks", "text", "length", "to the end"],
)
async def test_a_refusals_reason_is_read_to_its_end(text: bytes) -> None:
    async with RawServer(text) as server:
        with pytest.raises(errors.InferenceRejected) as caught:
            await post(server.url)
    assert caught.value.reason is not None
    assert caught.value.reason[1:] == ("c", "m", "p")


@pytest.mark.parametrize(
    ("text", "then"),
    [
        (answer(REASON, None, "400 No")[:-20], "reset"),
        (answer(REASON, None, "400 No")[:-20], "close"),
        (answer(REASON, None, "400 No", "Content-Encoding: gzip"), "stay"),
        (answer(b" " * 2 * MAX_REFUSAL_BYTES + REASON, None, "400 No"), "stay"),
        (answer(b"", None, "400 No"), "stay"),
    ],
    ids=["reset", "closed", "compressed", "too large", "empty"],
)
async def test_a_refusal_without_a_reason_is_one_too(text: bytes, then: str) -> None:
    async with RawServer(text, then=then) as server:
        with pytest.raises(errors.InferenceRejected) as caught:
            await post(server.url)
    assert caught.value.reason == errors.Refusal(400)


@pytest.mark.parametrize("status", [400, 401, 429, 500])
async def test_a_refusal_whose_body_never_comes_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr(upstream, "REFUSAL_SECONDS", 0.05)
    text = b"HTTP/1.1 %d No\r\nContent-Length: 99\r\nRetry-After: 42\r\n\r\n{" % status
    async with RawServer(text, then="stay") as server:
        began = time.monotonic()
        with pytest.raises(errors.InferenceError) as caught:
            await post(server.url)
        assert time.monotonic() - began < 2
        assert caught.value.retry_after == (42 if status == 429 else None)
        await server.left.wait()


async def test_the_servers_words_are_logged_if_the_operator_wants_them() -> None:
    said: list[Any] = []
    for log_messages in (False, True):
        async with RawServer(answer(REASON, None, "400 No")) as server:
            asked = upstream.Upstream(server.url, {}, 5, log_messages=log_messages)
            with capture_logs() as lines, pytest.raises(errors.InferenceRejected):
                await asked.post(b"{}", Reader())
        said += [line["reason"] for line in lines]
    assert said == [None, "m"]
