"""The bytes of a stream, and the tasks that write them."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from uuid import uuid4

import pytest
from aiohttp import HttpVersion, HttpVersion10, HttpVersion11

from chat_api.generation.readers import Reading
from chat_api.relay import Log
from chat_api.transports.sse import BYTES_A_WRITE, _Writer
from tests.conftest import Client
from tests.support.model_server import ModelServer


class Connection:
    """A request's view of its connection; while `full` is set, it takes no more."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.full = self.closing = False
        self.write = self.written.append

    def is_closing(self) -> bool:
        return self.closing

    def request(self, version: HttpVersion = HttpVersion11) -> SimpleNamespace:
        connection = self

        class Protocol:
            @property
            def writing_paused(self) -> bool:
                return connection.full

        return SimpleNamespace(transport=self, protocol=Protocol(), version=version)


async def keeping_up(log: Log, *connections: Connection) -> list[asyncio.Task[None]]:
    writers = [_Writer(connection.request(), Reading(log)) for connection in connections]  # type: ignore[arg-type]
    tasks = [asyncio.create_task(writer.keep_up()) for writer in writers]
    await asyncio.sleep(0)
    return tasks


async def test_readers_that_keep_up_are_written_to_in_the_call_that_appends() -> None:
    log, first, second = Log(uuid4(), uuid4()), Connection(), Connection()
    tasks = await keeping_up(log, first, second)
    for number in range(3):
        log.append(b'{"token":"x"}', last=number == 2)
        assert len(first.written) == len(second.written) == number + 1
        assert first.written[number] is second.written[number]  # encoded once
    async with asyncio.timeout(1):
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("state", ["full", "closing"])
async def test_a_reader_that_falls_behind_is_left_to_its_own_task(state: str) -> None:
    log, slow, quick = Log(uuid4(), uuid4()), Connection(), Connection()
    tasks = await keeping_up(log, slow, quick)
    setattr(slow, state, True)
    for _ in range(3):
        log.append(b"{}")
    assert (len(slow.written), len(quick.written)) == (1 if state == "full" else 0, 3)
    async with asyncio.timeout(1):
        await tasks[0]
    tasks[1].cancel()
    await asyncio.wait(tasks)
    log.append(b"{}")
    assert len(quick.written) == 3


async def test_a_reader_that_comes_late_is_given_portions() -> None:
    log, connection = Log(uuid4(), uuid4()), Connection()
    for _ in range(10):
        log.append(b'"%b"' % (b"x" * (BYTES_A_WRITE // 3)))
    writer = _Writer(connection.request(HttpVersion10), Reading(log))  # type: ignore[arg-type]
    log.append(b"{}", last=True)
    while not writer.ended:
        await writer.keep_up()
    assert [data.count(b"data: ") for data in connection.written] == [3, 3, 3, 2]


async def test_a_reader_that_is_ahead_of_the_log_waits_for_it() -> None:
    log, connection = Log(uuid4(), uuid4()), Connection()
    log.append(b"{}")
    writer = _Writer(connection.request(), Reading(log, 3))  # type: ignore[arg-type]

    async def follow() -> None:
        while not writer.ended:
            await writer.keep_up()

    following = asyncio.create_task(follow())
    for _ in range(3):
        await asyncio.sleep(0)
        log.append(b"{}")
    await asyncio.sleep(0)
    log.extend([b"{}", b"{}"])
    log.append(b"{}", last=True)
    await asyncio.wait_for(following, 1)
    seen = re.findall(rb"id: [0-9a-f-]{36}:(\d)\n", b"".join(connection.written))
    assert seen == [b"3", b"4", b"5", b"6"]


async def exchange(client: Client, path: str, version: str, user: dict[str, str]) -> tuple[str, bytes]:
    """Send a request as bytes. Returns the response's head, and its body as received."""
    body = b'{"content": "Hi"}'
    head = [
        f"POST {path}/messages HTTP/{version}",
        "Host: x",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in user.items()),
    ]
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    async with asyncio.timeout(5):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    first, _, rest = answer.partition(b"\r\n\r\n")
    return first.decode().lower(), rest


async def test_each_version_of_http_gets_the_body_in_its_own_form(
    client: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["a", "é"]
    head, plain = await exchange(client, conversation, "1.0", user)
    assert "transfer-encoding" not in head
    assert plain.startswith(b"id: ")
    head, body = await exchange(client, conversation, "1.1", user)
    assert "transfer-encoding: chunked" in head
    unchunked = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        unchunked += body[: int(size, 16)]
        assert body[int(size, 16) :].startswith(b"\r\n")
        body = body[int(size, 16) + 2 :]
    for form in (plain, unchunked):
        assert re.findall(r'^id: [0-9a-f-]{36}:(\d)\ndata: \{"(\w+)":[^\n]*\}\n\n', form.decode(), re.M) == [
            ("0", "generation_id"),
            ("1", "token"),
            ("2", "token"),
            ("3", "done"),
        ]
