"""Connections without a valid request: too large, too slow, or not HTTP at all."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest
from structlog.testing import capture_logs

from chat_api.serving.server import serve
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.processes import free_port, open_conversation
from tests.support.reader import read_events

GET = b"GET /api/health HTTP/1.1\r\nHost: x\r\n"


@dataclass(frozen=True)
class Answer:
    """What the service sent until it closed the connection, or fell silent."""

    status: int
    head: str
    body: Any
    rest: bytes


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[int]:
    """Run the service as `chat-api serve` does, and yield its port."""
    port, ready, stop = free_port(), asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve(settings, port=port, ready=ready.set, stop=stop))
    try:
        async with asyncio.timeout(10):
            await ready.wait()
        yield port
    finally:
        stop.set()
        await task


async def send(port: int, *parts: bytes, pause: float = 0) -> bytes:
    """Send these bytes, and return everything that arrives until the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        async with asyncio.timeout(15):
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def read(came: bytes) -> Answer:
    head, _, rest = came.partition(b"\r\n\r\n")
    text = head.decode()
    length = int(text.lower().partition("content-length: ")[2].split("\r\n")[0])
    return Answer(int(text.split(" ")[1]), text.lower(), json.loads(rest[:length]), rest[length:])


@pytest.fixture
async def port(settings: Settings) -> AsyncIterator[int]:
    """The port of a service with the default limits."""
    async with serving(settings) as port:
        yield port


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /api/health?" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        GET + b"Authorization: Bearer " + b"secret" * 1500 + b"\r\n\r\n",
        GET + b"X" * 9000 + b": y\r\n\r\n",
        GET + b"".join(b"X-%d: y\r\n" % number for number in range(1000)) + b"\r\n",
        GET + b"Cookie: " + b"secret" * 5000,  # without an end
    ],
    ids=["address", "value", "name", "many", "endless"],
)
async def test_headers_that_are_too_large_are_told_so(port: int, request_: bytes) -> None:
    with capture_logs() as lines:
        answer = read(await send(port, request_))
    assert (answer.status, answer.body["code"]) == (431, "headers_too_large")
    assert answer.body["detail"].endswith(".")
    assert "content-type: application/json" in answer.head
    assert not answer.rest
    assert "secret" not in f"{lines}"
    figures = await send(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert b'chat_refusals_total{limit="max_header_bytes"} 1.0' in figures


async def test_headers_may_be_as_large_as_the_setting_says(settings: Settings) -> None:
    large = GET + b"Connection: close\r\nX: " + b"y" * 20_000 + b"\r\n\r\n"
    async with serving(settings.model_copy(update={"max_header_bytes": 32_768})) as port:
        assert read(await send(port, large)).status == 200
    async with serving(settings.model_copy(update={"max_header_bytes": 16_384})) as port:
        assert read(await send(port, large)).status == 431


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03secret\r\n\r\n",
        b"secret\r\n\r\n",
        b"GET /api/health HTTP/9.9\r\n\r\n",
        GET + b"secret\r\n\r\n",
        GET + b"Content-Length: secret\r\n\r\n",
    ],
    ids=["TLS", "a word", "version", "no colon", "length"],
)
async def test_what_is_no_http_gets_a_sentence_and_shows_up_in_no_log(port: int, request_: bytes) -> None:
    with capture_logs() as lines:
        answer = read(await send(port, request_))
    assert (answer.status, answer.body["code"]) == (400, "not_http")
    assert "secret" not in f"{answer} {lines}"


POST = b"POST /api/conversations HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("line", [POST, POST.replace(b"conversations", b"nowhere")], ids=["there", "nowhere"])
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "cut"])
async def test_a_body_without_its_encoding_ends_the_connection_and_says_so(
    port: int, line: bytes, encoding: bytes, is_whole: bool
) -> None:
    """A client that isn't told sends its next request there, and loses it."""
    request = line + b"Content-Encoding: " + encoding + b"\r\nContent-Length: 20\r\n\r\n"
    answer = read(await send(port, request + b"this is not packed.."[: 20 if is_whole else 0]))
    assert answer.status == 401
    assert "connection: close" in answer.head


async def test_a_packed_body_leaves_the_connection_open(port: int, user: dict[str, str]) -> None:
    body = gzip.compress(b'{"title": "a"}')
    lines = f"Authorization: {user['Authorization']}\r\nContent-Encoding: gzip\r\n".encode()
    request = POST + lines + b"Content-Length: %d\r\n\r\n" % len(body) + body
    came = await send(port, request, GET + b"Connection: close\r\n\r\n", pause=0.2)
    assert (came.count(b"HTTP/1.1 201 "), came.count(b"HTTP/1.1 200 ")) == (1, 1), came


@pytest.mark.parametrize("encoding", [b"br", b"zstd"])
async def test_an_encoding_that_is_not_known_is_named_as_the_fault(port: int, encoding: bytes) -> None:
    request = POST + b"Content-Encoding: " + encoding + b"\r\nContent-Length: 2\r\n\r\n{}"
    answer = read(await send(port, request))
    assert (answer.status, answer.body["code"]) == (400, "invalid_json")
    assert "gzip" in answer.body["detail"]


@pytest.mark.parametrize(
    "line", [b"OPTIONS /api/conversations", b"PATCH /api/conversations", b"GET /nowhere"]
)
@pytest.mark.parametrize("expectation", [b"\xff", b"100-continue\xff", b"\xed\xa0\x80"])
async def test_an_expectation_that_is_no_text_is_no_failure(
    port: int, line: bytes, expectation: bytes
) -> None:
    with capture_logs() as lines:
        answer = read(
            await send(port, line + b" HTTP/1.1\r\nHost: x\r\nExpect: " + expectation + b"\r\n\r\n")
        )
    assert (answer.status, answer.body["code"]) == (400, "not_http")
    assert "no-store" in answer.head
    assert [line for line in lines if line["log_level"] in ("error", "critical")] == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: +5\r\n",
        b"Content-Length : 5\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
        b"Transfer-Encoding:\x0bchunked\r\n",
        b"X: y\r\n Content-Length: 5\r\n",
    ],
)
async def test_a_request_of_which_two_may_be_made_is_none(port: int, headers: bytes) -> None:
    """Smuggling: if a proxy and the service disagree on where a request ends, it can hide another one."""
    hidden = b"0\r\n\r\nGET /api/health HTTP/1.1\r\nHost: hidden\r\nConnection: close\r\n\r\n"
    came = await send(port, b"POST /api/conversations HTTP/1.1\r\nHost: x\r\n" + headers + b"\r\n" + hidden)
    assert came.count(b"HTTP/1.") == 1
    assert read(came).status == 400


@pytest.mark.parametrize("begun", [b"", b"GET /api/health HTTP/1.1\r\nHost: x\r\nX: "])
async def test_who_sends_no_whole_request_in_time_is_cut(settings: Settings, begun: bytes) -> None:
    async with serving(settings.model_copy(update={"request_timeout": 0.3})) as port:
        began = asyncio.get_running_loop().time()
        drops = [b"x"] * 40  # a byte now and then, but never the end
        assert await send(port, begun, *(drops if begun else ()), pause=0.05) == b""
        assert asyncio.get_running_loop().time() - began < 4
        figures = await send(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b'chat_refusals_total{limit="request_timeout"} 1.0' in figures


async def test_a_body_that_does_not_come_is_not_waited_for(settings: Settings, user: dict[str, str]) -> None:
    head = "POST /api/conversations HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n"
    head += f"Content-Type: application/json\r\nAuthorization: {user['Authorization']}\r\n\r\n"
    async with serving(settings.model_copy(update={"request_timeout": 0.3})) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(head.encode() + b'{"title"')
            async with asyncio.timeout(5):
                came = await reader.readuntil(b"\r\n\r\n") + await reader.readuntil(b"}")
        finally:
            writer.transport.abort()
    answer = read(came)
    assert (answer.status, answer.body["code"]) == (408, "request_timeout")


async def test_a_request_that_came_may_take_as_long_as_it_likes(
    settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    async with (
        serving(settings.model_copy(update={"request_timeout": 0.2})) as port,
        aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session,
    ):
        path = await open_conversation(session, user)
        async with (
            session.ws_connect("/api/ws", headers=user) as socket,
            session.post(f"{path}/messages", json={"content": "hi"}, headers=user) as stream,
        ):
            call = await model.call()
            await asyncio.sleep(0.6)
            call.finish("still here")
            assert (await read_events(stream))[-1].data["done"]
            assert (await socket.receive_json(timeout=5))["type"] == "ready"
            assert not socket.closed
