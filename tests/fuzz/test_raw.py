"""Requests that no client library would send: each gets a response, and none a 5xx."""

from __future__ import annotations

import asyncio
import sys

from hypothesis import HealthCheck, given, settings, strategies

from tests.support.chat import Client

# Not Expect: without a route, aiohttp itself answers 500 if the header isn't text.
HEADERS = (
    b"Accept",
    b"Authorization",
    b"Connection",
    b"Content-Encoding",
    b"Content-Length",
    b"Content-Type",
    b"Cookie",
    b"Host",
    b"Idempotency-Key",
    b"If-None-Match",
    b"Last-Event-ID",
    b"Origin",
    b"Range",
    b"Sec-WebSocket-Key",
    b"Sec-WebSocket-Version",
    b"Transfer-Encoding",
    b"Upgrade",
    b"X-Trace-Id",
)
USUAL = (
    *(b"", b"*", b"close", b"keep-alive", b"Upgrade", b"websocket", b"13", b"chunked", b"gzip", b"br", b"-1"),
    *(b"0", b"2", b"99999999999999999999", b"100-continue", b"application/json", b"text/plain; charset=x"),
    *(b"http://localhost:3000", b"bytes=0-0", b'"a", W/"b"', b"Bearer x", b"Bearer \xff", b"a=b; c", b"x:0"),
)
METHODS = (
    *(b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE", b"CONNECT"),
    b"G@T",
)
QUERIES = (
    *(b"", b"?limit=1&limit=x", b"?offset=-1", b"?cursor=%00", b"?after=%ff", b"?%ff=%fe"),
    b"?limit=" + b"9" * 5000,
)
BODIES = (
    *(b"", b"{}", b'{"content":"\xff"}', b'{"title":"\\u0000"}', b"2\r\n{}\r\n0\r\n\r\n", b"zz\r\n"),
    b"[" * 9999,
)
PATIENCE = 0.1  # seconds


async def test_odd_requests_get_an_answer_and_no_failure(client: Client, user: dict[str, str]) -> None:
    response = await client.post("/api/conversations", headers=user)
    one = f"/api/conversations/{(await response.json())['id']}".encode()
    token = user["Authorization"].encode()
    paths = [b"/api/conversations", one, one + b"/messages", one + b"/stream", one + b"/stop", b"/api/health"]
    paths += [
        b"/api/ws",
        b"/api/docs",
        b"/api/openapi.json",
        b"*",
        b"//",
        b"http://[",
        b"/%00",
        b"/\xff",
        b"/../api",
    ]
    heads = strategies.tuples(
        strategies.sampled_from(METHODS),
        strategies.sampled_from(paths),
        strategies.sampled_from(QUERIES),
        strategies.sampled_from([*[b"HTTP/1.1"] * 8, b"HTTP/1.0", b"HTTP/2.0", b""]),
    ).map(lambda words: b"%b %b%b %b" % words)
    headers = strategies.tuples(
        strategies.sampled_from(HEADERS),
        strategies.sampled_from((*USUAL, token)) | strategies.binary(max_size=20),
    ).map(lambda pair: b"%b: %b" % pair)
    bodies = strategies.sampled_from(BODIES).map(lambda body: (b"Content-Length: %d" % len(body), body))
    requests = strategies.builds(
        lambda head, signed, more, body: b"\r\n".join([head, *signed, *more, body[0], b"", body[1]]),
        heads,
        strategies.sampled_from([[b"Host: x"], [b"Host: x", b"Authorization: " + token]]),
        strategies.lists(headers, max_size=2),
        bodies,
    )
    loop = asyncio.get_running_loop()
    statuses: dict[int, int] = {}

    @settings(
        max_examples=2000,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(requests)
    def each(request: bytes) -> None:
        status = asyncio.run_coroutine_threadsafe(ask(client, request), loop).result(20)
        statuses[status] = statuses.get(status, 0) + 1

    await asyncio.to_thread(each)
    sys.stdout.write(f"\n{statuses}\n")
    assert {200, 400, 401, 404, 405} <= set(statuses)
    assert (await client.get("/api/health")).status == 200


async def ask(client: Client, request: bytes) -> int:
    """The status of the response; 0 if the service waits for the rest of the request, or hangs up."""
    assert client.port is not None
    reader, writer = await asyncio.open_connection(client.host, client.port)
    try:
        writer.write(request)
        answer = await asyncio.wait_for(reader.readline(), PATIENCE)
    except (TimeoutError, ConnectionResetError):
        answer = b""
    finally:
        writer.transport.abort()
    if not answer:
        return 0
    version, status, *_ = answer.split(b" ", 2)
    assert version.startswith(b"HTTP/"), answer
    assert int(status) < 500, (status, request)
    return int(status)
