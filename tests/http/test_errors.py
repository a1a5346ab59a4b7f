"""A person can act on every error, a program can identify it, and it reveals nothing internal."""

from __future__ import annotations

import asyncio
import gzip
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import ClientResponse
from asyncpg import Connection, Record

from chat_api import errors
from chat_api.errors import ChatError, from_code
from chat_api.http.context import GENERATIONS, METRICS
from chat_api.settings import Settings
from tests.conftest import Client
from tests.support.model_server import ModelServer
from tests.support.reader import read_events

Headers = dict[str, str]
JSON = {"Content-Type": "application/json"}
LIST = "/api/conversations"


async def refused(response: ClientResponse, status: int, code: str) -> dict[str, Any]:
    """Check an error's status and format, and return its body."""
    assert response.status == status, await response.text()
    assert response.content_type == "application/json"
    assert response.headers["X-Trace-Id"]
    assert ("Retry-After" in response.headers) == (status == 503)
    body: dict[str, Any] = await response.json()
    assert body["code"] == code
    assert body["detail"]
    if status != 422:
        assert body["detail"].endswith("."), "a sentence"
    return body


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"\xff\xfe",
        b'{"title": "\xff"}',
        b'{"title": "\\ud800"}',  # a lone surrogate
        b'{"title": "\\udc00\\ud800"}',
        b'{"title": "a"} {}',
        b"{'title': 1}",
        b" ",
        b'{"huh": ' + b"[" * 100_000,
        b"\xef\xbb\xbf{}",  # a byte order mark
    ],
    ids=["cut", "binary", "latin-1", "half", "swapped halves", "two", "quotes", "blank", "deep", "bom"],
)
async def test_a_body_that_is_not_json_is_told_so(client: Client, user: Headers, data: bytes) -> None:
    await refused(await client.post(LIST, headers=user | JSON, data=data), 400, "invalid_json")


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "nonsense", ""])
async def test_another_content_type_than_json_is_told_so(
    client: Client, user: Headers, content_type: str
) -> None:
    headers = user | {"Content-Type": content_type}
    await refused(await client.post(LIST, headers=headers, data=b"{}"), 415, "not_json")


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/x+json"]
)
async def test_json_by_any_of_its_names_is_read(client: Client, user: Headers, content_type: str) -> None:
    response = await client.post(LIST, headers=user | {"Content-Type": content_type}, data='{"title":"ä"}')
    assert (await response.json())["title"] == "ä"


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not(
    client: Client, user: Headers, settings: Settings, chunked: bool
) -> None:
    async def send(size: int) -> ClientResponse:
        data = b'{"title":"a"' + b" " * (size - 13) + b"}"

        async def slices() -> Any:
            yield data[:1000]
            yield data[1000:]

        return await client.post(LIST, headers=user | JSON, data=slices() if chunked else data)

    assert (await send(settings.max_body_bytes)).status == 201
    await refused(await send(settings.max_body_bytes + 1), 413, "body_too_large")


async def test_a_compressed_body_counts_unpacked(client: Client, user: Headers) -> None:
    headers = user | JSON | {"Content-Encoding": "gzip"}
    bomb = gzip.compress(b"[" + b" " * 50_000_000)
    await refused(await client.post(LIST, headers=headers, data=bomb), 413, "body_too_large")


async def test_a_compressed_body_that_is_broken_is_the_callers_fault(client: Client, user: Headers) -> None:
    headers = user | JSON | {"Content-Encoding": "gzip"}
    response = await client.post(LIST, headers=headers, data=b"this is not gzip")
    assert response.status == 400, await response.text()
    assert response.headers["X-Trace-Id"]


async def test_an_unknown_address_is_told_only_to_who_is_signed_in(client: Client, user: Headers) -> None:
    for path in ("/huh", "/api", "/api/huh", "/api/huh/", "/api/conversations/a/b/c", "/%00"):
        await refused(await client.get(path), 401, "unauthorized")
        await refused(await client.get(path, headers=user), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PATCH", LIST, {"GET", "HEAD", "POST"}),
        ("DELETE", "/api/models", {"GET", "HEAD"}),
        ("GET", "/api/models/swap", {"POST"}),
        ("POST", f"{LIST}/x", {"GET", "HEAD", "PUT", "DELETE"}),
    ],
)
async def test_a_method_that_an_address_does_not_take_names_those_that_it_does(
    client: Client, user: Headers, method: str, path: str, allowed: set[str]
) -> None:
    response = await client.request(method, path, headers=user)
    await refused(response, 405, "method_not_allowed")
    assert set(response.headers["Allow"].split(", ")) - {"OPTIONS"} == allowed


async def test_a_second_answer_at_a_time_is_refused_and_names_the_first(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    async with client.post(f"{conversation}/messages", headers=user, json={"content": "hi"}) as stream:
        start = (await read_events(stream, 1))[0]
        for path, body in [("messages", {"content": "and"}), ("regenerate", {})]:
            answer = await refused(
                await client.post(f"{conversation}/{path}", headers=user, json=body),
                409,
                "generation_running",
            )
            assert answer["generation_id"] == start.data["generation_id"]
        (await model.call()).finish("x")
        await read_events(stream)


async def test_there_must_be_something_to_regenerate(
    client: Client, user: Headers, conversation: str
) -> None:
    response = await client.post(f"{conversation}/regenerate", headers=user)
    await refused(response, 400, "nothing_to_regenerate")


@pytest.mark.parametrize(
    ("body", "loc"),
    [
        ({}, ["body", "content"]),
        ({"content": ""}, ["body", "content"]),
        ({"content": "x" * 8001}, ["body", "content"]),
        ({"content": "🦜" * 8001}, ["body", "content"]),
        ({"content": "a\0"}, ["body", "content"]),
        ({"content": None}, ["body", "content"]),
        ({"content": ["a"]}, ["body", "content"]),
        ({"content": "a", "temperature": 2.001}, ["body", "temperature"]),
        ({"content": "a", "temperature": -0.001}, ["body", "temperature"]),
        ({"content": "a", "temperature": float("nan")}, ["body", "temperature"]),
        ({"content": "a", "temperature": float("inf")}, ["body", "temperature"]),
        ({"content": "a", "max_tokens": 0}, ["body", "max_tokens"]),
        ({"content": "a", "max_tokens": 4097}, ["body", "max_tokens"]),
        ({"content": "a", "max_tokens": 1.5}, ["body", "max_tokens"]),
        ({"content": "a", "max_tokens": 10**4000}, ["body", "max_tokens"]),
        ({"content": "a", "top_k": -1}, ["body", "top_k"]),
        ({"content": "a", "top_k": 201}, ["body", "top_k"]),
        ({"content": "a", "stream": "perhaps"}, ["body", "stream"]),
    ],
)
async def test_a_message_that_is_not_valid_is_not_stored(
    client: Client,
    user: Headers,
    conversation: str,
    sql: Connection[Record],
    body: dict[str, Any],
    loc: list[str],
) -> None:
    response = await client.post(f"{conversation}/messages", headers=user, json=body)
    answer = await refused(response, 422, "validation_failed")
    assert [problem["loc"] for problem in answer["detail"]] == [loc]
    assert all(problem.keys() == {"type", "loc", "msg"} for problem in answer["detail"])
    assert await sql.fetchval("select count(*) from messages") == 0


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
async def test_an_idempotency_key_that_is_none_is_refused(
    client: Client, user: Headers, conversation: str, key: str
) -> None:
    headers = user | {"Idempotency-Key": key}
    response = await client.post(f"{conversation}/messages", headers=headers, json={"content": "hi"})
    answer = await refused(response, 422, "validation_failed")
    assert answer["detail"][0]["loc"] == ["header", "Idempotency-Key"]


@pytest.mark.parametrize("event_id", ["x", ":", "1:1", "0" * 36 + ":x", "-" * 36 + ":1", "é🦜:0"])
async def test_a_place_in_a_stream_that_is_none_is_refused(
    client: Client, user: Headers, conversation: str, event_id: str
) -> None:
    response = await client.get(f"{conversation}/stream", headers=user, params={"after": event_id})
    answer = await refused(response, 422, "validation_failed")
    assert answer["detail"][0]["loc"] == ["query", "after"]


async def test_a_draining_server_refuses_new_answers_and_serves_the_rest(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    model.say = ["never said"]
    await client.app[GENERATIONS].drain()  # type: ignore[union-attr]
    for path, body in [("messages", {"content": "hi"}), ("regenerate", {})]:
        response = await client.post(f"{conversation}/{path}", headers=user, json=body)
        await refused(response, 503, "draining")
    assert (await client.get(conversation, headers=user)).status == 200
    ready = await client.get("/api/ready")
    assert ready.status == 503
    assert (await ready.json())["checks"]["worker"] == "draining"


async def test_an_unforeseen_failure_tells_nothing_of_itself(
    client: Client, user: Headers, sql: Connection[Record]
) -> None:
    await sql.execute("alter table conversations add constraint no_secrets check (title not like '%secret%')")
    body = await refused(
        await client.post(LIST, headers=user, json={"title": "my secret"}), 500, "internal_error"
    )
    assert body == {
        "detail": "Something went wrong in the service; the details are in its log.",
        "code": "internal_error",
    }


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"X-Trace-Id": "abc-1.2:3_4/5+6="}, "abc-1.2:3_4/5+6="),
        ({"X-Request-Id": "req-1"}, "req-1"),
        ({"X-Trace-Id": "trace", "X-Request-Id": "req"}, "trace"),
        ({"X-Trace-Id": "not sane", "X-Request-Id": "req"}, "req"),
        ({"X-Trace-Id": "x" * 128}, "x" * 128),
        ({"X-Trace-Id": "x" * 129}, None),
        ({"X-Trace-Id": ""}, None),
        ({"X-Trace-Id": "né"}, None),
        ({"X-Trace-Id": 'a","level":"error'}, None),
        ({}, None),
    ],
)
async def test_every_answer_carries_the_callers_sane_trace_id_or_a_new_one(
    client: Client,
    user: Headers,
    conversation: str,
    model: ModelServer,
    headers: Headers,
    expected: str | None,
) -> None:
    model.say = ["a"]
    seen = []
    for method, path, body in [
        ("GET", "/api/health", None),
        ("GET", "/api/ready", None),
        ("GET", "/metrics", None),
        ("GET", LIST, None),
        ("GET", "/nowhere", None),
        ("PATCH", LIST, None),
        ("POST", LIST, [1]),
        ("POST", f"{conversation}/messages", {"content": "hi"}),
        ("GET", f"{conversation}/stream", None),
        ("OPTIONS", LIST, None),
    ]:
        async with client.request(method, path, headers=user | headers, json=body) as response:
            seen.append(response.headers.get("X-Trace-Id"))
            await response.read()
    unsigned = await client.get(LIST, headers=headers)
    seen.append(unsigned.headers.get("X-Trace-Id"))
    if expected is None:
        assert len(set(seen)) == len(seen)
        assert all(name and len(name) == 32 for name in seen)
    else:
        assert set(seen) == {expected}


async def raw(client: Client, request: bytes, *, leave: bool = False) -> bytes:
    """Send these bytes, and return the response."""
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request)
    if leave:
        writer.write_eof()
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


@pytest.mark.parametrize(
    "head",
    [b"GET /api/\xff HTTP/1.1", b"GET /api/%ff%00 HTTP/1.1", b"GET /api/?a=%ed%a0%80 HTTP/1.1"],
)
async def test_an_address_that_is_no_text_is_just_unknown(client: Client, user: Headers, head: bytes) -> None:
    token = user["Authorization"].encode()
    answer = await raw(
        client, head + b"\r\nHost: x\r\nConnection: close\r\nAuthorization: " + token + b"\r\n\r\n"
    )
    assert answer.split(b" ")[1] in (b"404", b"400"), answer
    assert b"Traceback" not in answer


@pytest.mark.parametrize("expectation", [b"200-maybe", b"\x80", b"100-CONTINUE"])
async def test_an_expectation_is_met_or_ignored(client: Client, user: Headers, expectation: bytes) -> None:
    head = b"POST /api/conversations HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n"
    head += b"Authorization: " + user["Authorization"].encode() + b"\r\nExpect: " + expectation + b"\r\n\r\n"
    answer = await raw(client, head)
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\n") == (expectation == b"100-CONTINUE"), answer
    assert b"HTTP/1.1 201 Created\r\n" in answer
    assert b"X-Trace-Id" in answer


async def test_a_caller_that_leaves_while_sending_is_no_failure_of_the_service(
    client: Client, user: Headers, caplog: pytest.LogCaptureFixture
) -> None:
    token = user["Authorization"].encode()
    head = b"POST /api/conversations HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\nAuthorization: " + token
    await raw(client, head + b'\r\n\r\n{"title"', leave=True)
    metrics = client.app[METRICS]  # type: ignore[union-attr]
    async with asyncio.timeout(5):
        while (counted := (await metrics.exposition()).decode()).count("POST") == 0:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0.005)
    assert 'route="/api/conversations",status="499"' in counted
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_every_code_belongs_to_one_kind_of_error() -> None:
    kinds = [ChatError]
    for kind in kinds:
        kinds += [sub for sub in kind.__subclasses__() if sub not in kinds]
    codes = [kind.code for kind in kinds if "code" in vars(kind)]
    assert len(set(codes)) == len(codes)
    assert all(kind.status in range(400, 600) for kind in kinds)
    assert type(from_code("inference_timeout")).__name__ == "InferenceTimeout"
    assert type(from_code("a code of an older version")) is ChatError
    assert type(from_code(None)) is ChatError


async def test_a_failed_answer_of_one_piece_is_the_error_itself(
    client: Client, user: Headers, conversation: str, model: ModelServer
) -> None:
    model.refuse = (500, "Traceback: /srv/secret")
    response = await client.post(
        f"{conversation}/messages", headers=user, json={"content": "hi", "stream": False}
    )
    assert "secret" not in str(await refused(response, 502, "inference_error"))


def below(kind: type[ChatError], depth: int = 0) -> Iterator[str]:
    """The lines of the tree in the docstring of chat_api/errors/__init__.py, starting with one kind."""
    if not kind.__name__.startswith("_"):
        yield f"{'    ' * depth}{kind.__name__} {kind.status}"
        depth += 1
    for each in kind.__subclasses__():
        if each.__bases__[0] is kind:
            yield from below(each, depth)


def test_the_tree_in_the_docstring_is_that_of_the_code() -> None:
    tree = (errors.__doc__ or "").partition("\n\n")[2].strip()
    assert tree.splitlines() == list(below(ChatError))


def test_what_callers_read_survives_without_docstrings() -> None:
    script = "from chat_api.errors import *; print(*(e.sentence for e in kinds()), Draining(), sep='\\n')"
    done = subprocess.run([sys.executable, "-OO", "-c", script], check=True, capture_output=True, text=True)
    *sentences, draining = done.stdout.splitlines()
    assert sentences == [kind.sentence for kind in errors.kinds()]
    assert all(sentences)
    assert draining == errors.Draining.sentence
