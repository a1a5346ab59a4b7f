"""The connection to the model server: every form of response, every way to break it, nothing left behind."""

from __future__ import annotations

import asyncio
import resource
import ssl
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import uvloop

from chat_api import errors, events
from chat_api.inference.base import read_object
from chat_api.inference.event_parser import MAX_EVENT_BYTES, Event, EventParser, EventTooLarge
from chat_api.inference.response import MAX_HEAD_BYTES, Response
from chat_api.inference.upstream import Upstream, _ssl_context
from chat_api.relay import Log
from tests.support.raw_server import RawServer

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TLS = Path(__file__).parents[1] / "support" / "fixtures" / "tls"


class Reader:
    """Keeps the events' data; the event `end` ends the stream."""

    def __init__(self, error: Exception | None = None) -> None:
        self.seen: list[bytes] = []
        self._error = error

    def event(self, data: bytes) -> str | None:
        self.seen.append(data)
        if self._error is not None:
            raise self._error
        return "ended" if data == b"end" else None

    def named(self, name: bytes, data: bytes) -> str | None:
        return self.event(b"%b=%b" % (name, data))

    def whole(self, data: bytes) -> str:
        self.seen.append(data)
        return "whole"

    def end(self) -> str:
        return "closed"


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def post(url: str, reader: Reader | None = None, *, connect_timeout: float = 5) -> str:
    async with asyncio.timeout(5):
        return await Upstream(f"{url}/generate", {}, connect_timeout).post(b"{}", reader or Reader())


class TestParsing:
    """The response alone: the test decides where reads are cut."""

    ANSWERS = pytest.mark.parametrize(
        "answer",
        [
            CHUNKED + chunked(b"data: a\n\n", b"data: b1\ndata: b2\n\n", "data: é\n\n".encode()),
            b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\nA: b\r\n\r\n"
            + CHUNKED
            + chunked(
                "data:a\r\n\r\ndata: b1\r\ndata: b2\r\n\r\n: x\n\nid: 1\ndata: é\n\ndata: cut".encode()
            ),
            OK.replace(b"\r", b"")
            + b"Content-Length: 38\nContent-Encoding: identity\n\n"
            + "data: a\n\ndata: b1\ndata: b2\n\ndata: é\n\n".encode(),
        ],
        ids=["chunks", "1xx first, CR LF", "length, LF"],
    )
    EVENTS = (b"a", b"b1\nb2", "é".encode())

    @ANSWERS
    def test_every_cut_gives_the_same_events(self, answer: bytes) -> None:
        cuts = [[answer[:place], answer[place:]] for place in range(len(answer))]
        for pieces in [*cuts, [bytes([byte]) for byte in answer]]:
            seen: list[Event] = []
            response = Response(seen.append, seen.append)
            complete = [response.feed(piece) for piece in pieces if piece]
            assert tuple(seen) == self.EVENTS
            assert complete == [False] * (len(complete) - 1) + [True]

    def test_the_cut_of_a_chunks_size_hides_nothing_from_the_parser(self) -> None:
        # What follows the first digit of 1a looks like a separate chunk.
        stream = chunked(b"data: a\n\n", b"data: b1\n\n\r\ndata: c\n\n".ljust(0x1A, b"\n"))
        begin = stream.index(b"1a\r\n") + 1
        end = stream.index(b"\n\n\r\n", begin) + 4
        seen: list[Event] = []
        response = Response(seen.append, seen.append)
        for data in (
            CHUNKED,
            stream[: begin - 1],
            stream[begin - 1 : begin],
            stream[begin:end],
            stream[end:],
        ):
            if (event := response.event(data)) is not None:
                seen.append(event)
            else:
                response.feed(data)
        assert seen == [b"a", b"b1", b"c"]

    def test_an_event_has_a_limit_however_it_is_cut(self) -> None:
        fits = b"data: " + b"x" * (MAX_EVENT_BYTES - 6) + b"\n\n"
        assert [len(each) for each in EventParser().feed(fits)] == [MAX_EVENT_BYTES - 6]
        assert [len(each) for each in EventParser().feed(fits.replace(b"\n", b"\r"))] == [MAX_EVENT_BYTES - 6]
        for stream in (
            b"x" * 600_000,
            b"data: " + b"x" * 600_000,
            b"data: x\n" * 75_000,
            b"data:\n" * 99_000,
        ):
            for size in (1000, len(stream)):
                pieces = [stream[place : place + size] for place in range(0, len(stream), size)]
                with pytest.raises(EventTooLarge):
                    deque(map(EventParser().feed, pieces), maxlen=0)

    def test_small_events_and_comments_never_reach_the_limit(self) -> None:
        parser = EventParser()
        for _ in range(10_000):
            assert parser.feed(b": keep-alive\r\n\r") == []
            assert parser.feed(b"\ndata: " + b"x" * 40) == []
            assert parser.feed(b"\n\n") == [b"x" * 40]

    def test_no_nul_comes_through_whatever_the_field(self) -> None:
        assert read_object(rb'{"token":"a\u0000","x\u0000":["\u0000\u0000", "\\u0000", "\\\u0000"]}') == {
            "token": "a\ufffd",
            "x\ufffd": ["\ufffd\ufffd", "\\u0000", "\\\ufffd"],
        }


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (CHUNKED + chunked(b"data: a\n\n", b"data: end\n\n"), "ended"),
        (CHUNKED + chunked(b"data: a\n\ndata: end\n\ndata: more\n\n"), "ended"),
        (CHUNKED + chunked(b"data: a\n\n", b"data: en") + b"what else", "closed"),
        (OK + b"Content-Length: 9\r\n\r\ndata: a\n\n", "closed"),
        (OK + b"\r\ndata: a\n\ndata: en", "closed"),
    ],
    ids=["end", "more after it", "chunks", "length", "to the connection's end"],
)
async def test_an_answer_is_read_to_its_end(answer: bytes, outcome: str) -> None:
    reader = Reader()
    async with RawServer(answer) as server:
        assert await post(server.url, reader) == outcome
    assert [data for data in reader.seen if data != b"end"] == [b"a"]


async def test_the_request_is_complete_and_says_that_the_connection_ends() -> None:
    async with RawServer(CHUNKED + chunked(b"data: end\n\n")) as server:
        url = server.url.replace("//", "//user:word@")
        upstream = Upstream(f"{url}/a b?c=d", {"X-Internal-API-Key": "ké"}, 5)
        assert await upstream.post('{"é":1}'.encode(), Reader()) == "ended"
        head, _, body = server.request.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    assert line == "POST /a%20b?c=d HTTP/1.1"
    assert dict(each.split(": ") for each in lines) == {
        "Host": f"127.0.0.1:{server.port}",
        "Content-Type": "application/json",
        "Accept": "text/event-stream",
        "Accept-Encoding": "identity",
        "Connection": "close",
        "X-Internal-API-Key": "ké",
        "Authorization": "Basic dXNlcjp3b3Jk",
        "Content-Length": "8",
    }
    assert body.decode() == '{"é":1}'


def test_a_key_with_a_line_break_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        Upstream("http://host", {"X-Internal-API-Key": "k\r\nX: y"}, 5)


@pytest.mark.parametrize(
    ("answer", "then", "error"),
    [
        (b"", "close", errors.InferenceInterrupted),
        (b"", "reset", errors.InferenceInterrupted),
        (OK, "close", errors.InferenceInterrupted),
        (CHUNKED + b"9\r\ndata: a\n\n\r\n", "close", errors.InferenceInterrupted),
        (CHUNKED + b"9\r\ndata: a\n\n\r\n", "reset", errors.InferenceInterrupted),
        (OK + b"Content-Length: 10\r\n\r\ndata: a\n\n", "close", errors.InferenceInterrupted),
        (OK + b"\r\ndata: a\n\n", "reset", errors.InferenceInterrupted),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "stay", errors.InferenceBroken),
        (b"\x16\x03\x01\x02\x00", "stay", errors.InferenceBroken),
        (OK + b"A: " + b"x" * 2 * MAX_HEAD_BYTES, "stay", errors.InferenceBroken),
        (OK + b"A: b\r\n" * MAX_HEAD_BYTES, "stay", errors.InferenceBroken),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * MAX_HEAD_BYTES, "stay", errors.InferenceBroken),
        (CHUNKED + b"0\r\nA: " + b"x" * 2 * MAX_HEAD_BYTES, "stay", errors.InferenceBroken),
        (CHUNKED + b"zz\r\n", "stay", errors.InferenceBroken),
        (OK + b"Content-Length: -1\r\n\r\n", "stay", errors.InferenceBroken),
        (OK + b"Content-Encoding: gzip\r\n\r\n", "stay", errors.InferenceBroken),
        (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n", "stay", errors.InferenceBroken),
        (
            b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
            "stay",
            errors.InferenceBroken,
        ),
        (CHUNKED + chunked(b"data: " + b"x" * 2 * MAX_EVENT_BYTES), "stay", errors.InferenceBroken),
        (b"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n", "stay", errors.InferenceRejected),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "stay", errors.InferenceRejected),
        (b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n", "stay", errors.InferenceRejected),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 9\r\n\r\n", "stay", errors.InferenceUnavailable),
    ],
)
async def test_what_is_wrong_ends_the_request_at_once(
    answer: bytes, then: str, error: type[errors.ChatError]
) -> None:
    async with RawServer(answer, then=then) as server:
        with pytest.raises(errors.ChatError) as caught:
            await post(server.url)
        assert type(caught.value) is error
        async with asyncio.timeout(5):
            await server.left.wait()


async def test_a_reader_that_refuses_an_event_ends_the_request() -> None:
    problem = errors.InferenceError()
    reader = Reader(problem)
    async with RawServer(CHUNKED + chunked(b"data: a\n\ndata: b\n\n"), then="stay") as server:
        with pytest.raises(errors.InferenceError) as caught:
            await post(server.url, reader)
        assert caught.value is problem
        async with asyncio.timeout(5):
            await server.left.wait()
    assert reader.seen == [b"a"]


async def test_the_end_that_is_told_closes_a_connection_that_would_go_on() -> None:
    async with RawServer(CHUNKED + b"b\r\ndata: end\n\n\r\n", then="stay") as server:
        assert await post(server.url) == "ended"
        async with asyncio.timeout(5):
            await server.left.wait()


@pytest.mark.parametrize("answer", [b"", CHUNKED, CHUNKED + b"9\r\ndata: a\n\n\r\n"])
async def test_cancelling_reaches_the_model_server_at_once(answer: bytes) -> None:
    async with RawServer(answer, then="stay") as server:
        asking = asyncio.create_task(post(server.url))
        async with asyncio.timeout(5):
            await server.came.wait()
            asking.cancel()
            await asyncio.wait({asking})
            await server.left.wait()
        assert asking.cancelled()


async def test_cancelling_before_the_connection_is_made_leaves_nothing() -> None:
    async with RawServer(then="be silent") as server:
        asking = asyncio.create_task(post(server.url.replace("http:", "https:")))
        async with asyncio.timeout(5):
            await server.came.wait()  # TCP connects, but TLS never will
            asking.cancel()
            await asyncio.wait({asking})
            await server.left.wait()
        assert asking.cancelled()


async def test_a_handshake_that_never_ends_is_a_server_out_of_reach() -> None:
    async with RawServer(then="be silent") as server:
        with pytest.raises(errors.InferenceUnavailable):
            await post(server.url.replace("http:", "https:"), connect_timeout=0.1)
        async with asyncio.timeout(5):
            await server.left.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid", f"{'x' * 64}.invalid"])
async def test_a_server_that_is_not_there_is_unavailable(host: str, unused_tcp_port: int) -> None:
    with pytest.raises(errors.InferenceUnavailable):
        await post(f"http://{host}:{unused_tcp_port}")


async def test_ipv6_is_an_address_like_another() -> None:
    try:
        async with RawServer(CHUNKED + chunked(b"data: end\n\n"), host="::1") as server:
            assert await post(server.url) == "ended"
            assert f"Host: [::1]:{server.port}\r\n".encode() in server.request
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")


class TestTls:
    @pytest.fixture(autouse=True)
    def own_context(self) -> Iterator[None]:
        """Make the TLS context once a test, instead of once a process."""
        _ssl_context.cache_clear()
        yield
        _ssl_context.cache_clear()

    @pytest.fixture
    def server(self) -> RawServer:
        """A server on `localhost`, with a certificate from tls/authority.pem."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(TLS / "localhost.pem")
        return RawServer(CHUNKED + chunked(b"data: a\n\n", b"data: end\n\n"), context=context)

    async def test_an_authority_that_is_trusted_opens_the_stream(
        self, server: RawServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
        async with server:
            assert await post(f"https://localhost:{server.port}") == "ended"

    @pytest.mark.parametrize(("host", "trusted"), [("localhost", False), ("127.0.0.1", True)])
    async def test_another_authority_or_name_is_refused_before_anything_is_said(
        self, server: RawServer, monkeypatch: pytest.MonkeyPatch, host: str, trusted: bool
    ) -> None:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(TLS / "authority.pem"))
        async with server:
            with pytest.raises(errors.InferenceUnavailable):
                await post(f"https://{host}:{server.port}")
        assert server.request == b""


def test_the_loop_of_the_server_process_does_the_same() -> None:
    async def ask() -> None:
        async with RawServer(CHUNKED + chunked(b"data: a\n\n", b"data: end\n\n"), then="stay") as server:
            assert await post(server.url) == "ended"
            async with asyncio.timeout(5):
                await server.left.wait()
        async with RawServer(CHUNKED + b"9\r\n", then="reset") as server:
            with pytest.raises(errors.InferenceInterrupted):
                await post(server.url)
        await test_cancelling_before_the_connection_is_made_leaves_nothing()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(ask())


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the memory in use is read from /proc")
def test_an_event_holds_little_more_than_its_bytes() -> None:
    def pages() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1])

    logs = [Log(uuid4(), uuid4()) for _ in range(20)]
    before = pages()
    for log in logs:
        for number in range(1000):
            log.append(events.token(f" tok{number}", {"gpu": 0}))
    assert (pages() - before) * resource.getpagesize() / 20_000 < 1000
