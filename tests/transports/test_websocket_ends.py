"""The beginning and end of a socket: who may open one, and every close code."""

from __future__ import annotations

import asyncio
import base64
import os
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import WSMsgType, WSServerHandshakeError, web
from aiohttp.test_utils import TestClient

from chat_api.routes import socket as socket_route
from chat_api.settings import Settings
from chat_api.transports.websocket.socket import SOCKETS
from tests.support.auth_service import AuthService
from tests.support.chat import Sql, until
from tests.support.model_server import ModelServer
from tests.support.queries import kill_workers
from tests.support.tab import open_tab, token_of

Client = TestClient[web.Request, web.Application]
Start = Callable[[Settings], Awaitable[Client]]
User = dict[str, str]


async def no_socket_is_left(client: Client) -> None:
    async def none() -> bool:
        return not client.app[SOCKETS]

    await until(none)


async def test_a_client_that_can_set_headers_is_ready_at_once(client: Client, auth: AuthService) -> None:
    user_id = uuid4()
    async with open_tab(client, headers=auth.sign_in(user_id)) as tab:
        assert await tab.hear() == {"type": "ready", "user_id": str(user_id)}


@pytest.mark.parametrize("frame", ["auth", "subscribe", "nonsense"])
async def test_whoever_does_not_authenticate_first_is_closed_with_4401(
    client: Client, conversation: str, frame: str
) -> None:
    async with open_tab(client) as tab:
        await tab.say(frame, conversation, token="nobody's")
        assert await tab.close_code() == 4401


@pytest.mark.parametrize("header", ["Bearer nobodys", "Basic dXNlcjpwYXNz"])
async def test_a_refused_header_is_closed_with_4401(client: Client, header: str) -> None:
    async with open_tab(client, headers={"Authorization": header}) as tab:
        assert await tab.close_code() == 4401


async def test_who_says_nothing_is_closed_with_4408(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket_route, "AUTHENTICATION_SECONDS", 0.05)
    async with open_tab(client) as tab:
        assert await tab.close_code() == 4408


async def test_while_the_auth_service_is_away_the_token_may_be_sent_again(
    client: Client, user: User, auth: AuthService
) -> None:
    auth.replies[token_of(user)] = (503, {})
    async with open_tab(client) as tab:
        refused = await tab.ask("auth", token=token_of(user))
        assert (refused["type"], refused["code"]) == ("error", "auth_unavailable")
        with pytest.raises(WSServerHandshakeError) as caught:
            await client.ws_connect("/api/ws", headers=user)
        assert caught.value.status == 503
        del auth.replies[token_of(user)]
        assert (await tab.ask("auth", token=token_of(user)))["type"] == "ready"


async def test_a_socket_ends_with_its_token_unless_that_is_renewed(
    client: Client, conversation: str, auth: AuthService
) -> None:
    user_id = uuid4()
    short = auth.sign_in(user_id, exp=time.time() + 1)
    async with open_tab(client, short) as expiring, open_tab(client, short) as renewed:
        assert (await renewed.ask("auth", token=token_of(auth.sign_in(user_id))))["user_id"] == str(user_id)
        assert await expiring.close_code() == 4401
        assert (await renewed.ask("subscribe", conversation, 2))["ref"] == 2


@pytest.mark.parametrize("who", ["somebody else", "nobody"])
async def test_a_renewal_by_anyone_else_is_closed_with_4401(
    client: Client, user: User, auth: AuthService, who: str
) -> None:
    async with open_tab(client, user) as tab:
        await tab.say("auth", token=token_of(auth.sign_in()) if who == "somebody else" else "nobody's")
        assert await tab.close_code() == 4401


@pytest.mark.parametrize("origin", ["http://localhost:3000", "https://chat.example"])
async def test_a_page_of_an_allowed_origin_may_connect(
    start: Start, settings: Settings, user: User, origin: str
) -> None:
    allowing = {"frontend_url": "http://localhost:3000, https://chat.example/"}
    client = await start(settings.model_copy(update=allowing))
    async with open_tab(client, user, origin=origin):
        pass


@pytest.mark.parametrize("origin", ["https://evil.example", "http://localhost:3000.evil.example", "null"])
async def test_a_page_of_another_origin_is_closed_with_1008_whatever_it_knows(
    client: Client, user: User, origin: str
) -> None:
    async with open_tab(client, origin=origin, headers=user) as tab:
        assert await tab.close_code() == 1008


async def test_who_does_not_speak_websocket_is_told_so(client: Client, user: User) -> None:
    response = await client.get("/api/ws", headers=user)
    assert (response.status, response.headers["Upgrade"]) == (426, "websocket")
    assert (await response.json())["code"] == "upgrade_required"


async def test_a_frame_up_to_the_limit_is_taken_and_a_larger_one_closes_with_1009(
    start: Start, settings: Settings, user: User
) -> None:
    client = await start(settings.model_copy(update={"max_frame_bytes": 2000}))
    async with open_tab(client, user) as tab:
        await tab.socket.send_str("x" * 2000)
        assert (await tab.hear())["code"] == "invalid_json"
        await tab.socket.send_str("x" * 2001)
        assert await tab.close_code() == 1009


GARBAGE: list[tuple[str | bytes, Any, str]] = [
    ("no json", None, "invalid_json"),
    ('{"type":"stop"', None, "invalid_json"),
    (b'{"type":"stop","ref":1}', None, "invalid_json"),
    ("[" * 5000, None, "invalid_json"),
    ('{"type":"stop","ref":"\\ud800"}', None, "invalid_json"),
    ("[]", None, "validation_failed"),
    ("null", None, "validation_failed"),
    ("{}", None, "validation_failed"),
    ('{"type":"ready","ref":"a"}', "a", "validation_failed"),
    ('{"type":["send"],"ref":1.5}', 1.5, "validation_failed"),
    ('{"type":"stop","ref":7}', 7, "validation_failed"),
    ('{"type":"stop","ref":7,"conversation_id":7}', 7, "validation_failed"),
    ('{"type":"stop","ref":7,"conversation_id":"{ID}"}', 7, "conversation_not_found"),
    ('{"type":"stop","conversation_id":"ID"}', None, "validation_failed"),
    ('{"type":"stop","ref":true,"conversation_id":"ID"}', None, "validation_failed"),
    ('{"type":"stop","ref":1e999,"conversation_id":"ID"}', None, "validation_failed"),
    ('{"type":"stop","ref":{"a":1},"conversation_id":"ID"}', None, "validation_failed"),
    ('{"type":"stop","ref":"' + "r" * 201 + '","conversation_id":"ID"}', None, "validation_failed"),
    ('{"type":"send","ref":1,"conversation_id":"ID"}', 1, "validation_failed"),
    ('{"type":"send","ref":1,"conversation_id":"ID","content":"\\u0000"}', 1, "validation_failed"),
    ('{"type":"subscribe","ref":1,"conversation_id":"ID","after":"x:1"}', 1, "validation_failed"),
    ('{"type":"subscribe","ref":1,"conversation_id":"ID","after":{}}', 1, "validation_failed"),
    ('{"type":"auth","ref":1,"token":5}', 1, "validation_failed"),
]


async def test_a_frame_that_makes_no_sense_is_refused_under_its_ref_and_changes_nothing(
    client: Client, user: User, conversation: str
) -> None:
    async with open_tab(client, user) as tab:
        for garbage, ref, code in GARBAGE:
            frame = garbage.replace("ID", str(uuid4())) if isinstance(garbage, str) else garbage
            await (tab.socket.send_bytes(frame) if isinstance(frame, bytes) else tab.socket.send_str(frame))
            refused = await tab.hear()
            assert (refused["type"], refused["ref"], refused["code"]) == ("error", ref, code), frame
            assert refused["detail"]
        longest = "r" * 200
        assert (await tab.ask("subscribe", conversation, longest))["ref"] == longest


async def test_who_asks_too_much_at_once_is_refused_and_stays(
    start: Start, settings: Settings, user: User, conversation: str
) -> None:
    client = await start(settings.model_copy(update={"commands_per_minute": 60}))
    async with open_tab(client, user) as tab:
        for ref in range(70):
            await tab.say("subscribe", conversation, ref)
        answers = [await tab.hear() for _ in range(70)]
        assert [answer["ref"] for answer in answers] == list(range(70))
        refused = [answer for answer in answers if answer["type"] == "error"]
        assert {answer["code"] for answer in refused} == {"rate_limited"}
        assert len(refused) > 5  # one request for the token was sent, and others arrived meanwhile

        async def accepted() -> bool:
            return (await tab.ask("subscribe", conversation))["type"] == "ack"

        await until(accepted)


async def test_a_command_that_fails_unforeseen_is_refused_without_its_reason(
    client: Client, user: User, conversation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr("chat_api.generation.readers.Readers.resume", broken)
    async with open_tab(client, user) as tab:
        refused = await tab.ask("subscribe", conversation)
        assert (refused["code"], refused["ref"]) == ("internal_error", 1)
        assert "secret" not in refused["detail"]
        assert (await tab.ask("unsubscribe", conversation))["type"] == "ack"


async def test_a_client_that_is_gone_without_a_word_is_found_out(
    start: Start, settings: Settings, user: User
) -> None:
    client = await start(settings.model_copy(update={"heartbeat_interval": 0.1}))
    async with (
        open_tab(client, user, autoping=False) as dead,
        open_tab(client, user) as living,
    ):
        assert (await dead.socket.receive(timeout=5)).type is WSMsgType.PING
        receiving = asyncio.create_task(living.hear())  # a client answers pings only while it receives

        async def one_is_left() -> bool:
            return len(client.app[SOCKETS]) == 1

        await until(one_is_left)
        await living.say("nonsense")
        assert (await receiving)["type"] == "error"


@asynccontextmanager
async def raw_socket(
    client: Client, user: User
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A raw WebSocket, whose client buffers at most 64 KiB."""
    port = client.server.port
    assert port is not None
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**15)
    key = base64.b64encode(os.urandom(16)).decode()
    writer.write(
        f"GET /api/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"Authorization: {user['Authorization']}\r\n\r\n".encode()
    )
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


def masked(text: str) -> bytes:
    """A client's text frame of less than 126 bytes."""
    return bytes((0x81, 0x80 | len(text))) + bytes(4) + text.encode()


HANDSHAKE = {
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Version": b"13",
    b"Sec-WebSocket-Key": b"dGhlIHNhbXBsZSBub25jZQ==",
}


@pytest.mark.parametrize("value", [b"\xff", b"websocket\xff", b"\xc3\xa9", b"\xed\xa0\x80", b""])
@pytest.mark.parametrize("name", [name.decode() for name in HANDSHAKE])
async def test_a_handshake_that_is_no_text_is_none(client: Client, name: str, value: bytes) -> None:
    lines = [b": ".join(pair) for pair in (HANDSHAKE | {name.encode(): value}).items()]
    request = b"\r\n".join([b"GET /api/ws HTTP/1.1", b"Host: x", *lines, b"", b""])
    reader, writer = await asyncio.open_connection(client.host, client.port)
    writer.write(request)
    async with asyncio.timeout(5):
        answer = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    assert answer.startswith(b"HTTP/1.1 426 "), answer


async def first_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """The next short frame: its first byte, its payload."""
    first, length = await reader.readexactly(2)
    return first, await reader.readexactly(length)


@pytest.mark.parametrize(
    "pieces",
    [
        [bytes((0x81, 0xFE)), b"\0\xff", bytes(4), *[b"x"] * 200],
        [bytes((0x01, 0x81)) + bytes(4) + b"x", *[bytes((0x00, 0x81)) + bytes(4) + b"x"] * 200],
        [bytes((0x01, 0x80)) + bytes(4), *[bytes((0x00, 0x80)) + bytes(4)] * 200],
    ],
    ids=["byte by byte", "fragments", "empty fragments"],
)
async def test_a_message_that_never_ends_ends_the_socket(
    start: Start, settings: Settings, user: User, pieces: list[bytes]
) -> None:
    client = await start(settings.model_copy(update={"request_timeout": 0.5}))
    async with raw_socket(client, user) as (reader, writer):
        assert (await first_frame(reader))[0] == 0x81  # ready

        async def drip() -> None:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.05)

        dripping = asyncio.create_task(drip())
        try:
            async with asyncio.timeout(3):
                kind, payload = await first_frame(reader)
        finally:
            dripping.cancel()
        assert kind == 0x88
        assert int.from_bytes(payload[:2], "big") == 4408
    await no_socket_is_left(client)


async def test_a_socket_that_only_answers_pings_stays(start: Start, settings: Settings, user: User) -> None:
    update = {"request_timeout": 0.3, "heartbeat_interval": 0.1}
    client = await start(settings.model_copy(update=update))
    async with raw_socket(client, user) as (reader, writer):
        await first_frame(reader)
        async with asyncio.timeout(5):
            for _ in range(8):
                kind, payload = await first_frame(reader)
                assert (kind, payload) == (0x89, b"")
                writer.write(bytes((0x8A, 0x80)) + bytes(4))
            writer.write(bytes((0x89, 0x82)) + bytes(4) + b"hi")
            kind = 0x89
            while kind == 0x89:
                kind, payload = await first_frame(reader)
            assert (kind, payload) == (0x8A, b"hi")


async def test_a_message_may_take_its_time_and_a_pause_follow(
    start: Start, settings: Settings, user: User, conversation: str
) -> None:
    client = await start(settings.model_copy(update={"request_timeout": 0.6}))
    async with raw_socket(client, user) as (reader, writer):
        await first_frame(reader)
        message = masked(
            '{"type":"unsubscribe","ref":1,"conversation_id":"ID"}'.replace("ID", conversation[-36:])
        )
        for _ in range(2):
            for place in range(0, len(message), 30):
                writer.write(message[place : place + 30])
                await asyncio.sleep(0.05)
            async with asyncio.timeout(5):
                assert b'"ack"' in (await first_frame(reader))[1]
            await asyncio.sleep(0.8)


async def fill(client: Client, user: User, conversation: str, model: ModelServer) -> Any:
    """Start an answer of some 12 MB, which is larger than all buffers together."""
    async with open_tab(client, user) as tab:
        await tab.ask("send", conversation, content="hi")
        call = await model.call()
        for _ in range(60):
            call.say("x" * 200_000)
        await tab.events(61)
    return call


@pytest.mark.parametrize("wakes", [True, False], ids=["closed with 1013", "cut"])
async def test_a_reader_that_takes_nothing_is_told_so_or_cut_and_disturbs_nobody(
    start: Start, settings: Settings, user: User, conversation: str, model: ModelServer, wakes: bool
) -> None:
    update = {"slow_reader_timeout": 1.0, "max_answer_characters": 100_000_000}
    client = await start(settings.model_copy(update=update))
    call = await fill(client, user, conversation, model)
    async with raw_socket(client, user) as (reader, writer):
        writer.write(
            masked('{"type":"subscribe","ref":1,"conversation_id":"ID"}'.replace("ID", conversation[-36:]))
        )
        [slow] = await until(lambda: _blocked(client))
        await until(lambda: _ended(slow) if wakes else _gone(slow))
        async with asyncio.timeout(5):
            *_, last = [chunk async for chunk in _chunks(reader)]
        assert (b"\x03\xf5The client reads too slowly" in last) is wakes
    await no_socket_is_left(client)
    figures = await (await client.get("/metrics")).text()
    assert re.search(r'^chat_readers_cut_total{transport="websocket"} [1-9]', figures, re.MULTILINE)
    async with open_tab(client, user) as tab:
        assert (await tab.ask("subscribe", conversation))["type"] == "ack"
        call.finish()
        assert (await tab.events())[-1]["seq"] == 61


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while chunk := await reader.read(2**20):
        yield chunk


async def _blocked(client: Client) -> list[Any]:
    return [socket for socket in client.app[SOCKETS] if socket._request.protocol.writing_paused]


async def _ended(socket: Any) -> bool:
    return socket._why is not None


async def _gone(socket: Any) -> bool:
    return socket._request.transport is None


async def test_a_drained_worker_ends_its_answers_and_then_its_sockets_with_1001(
    client: Client, user: User, conversation: str, model: ModelServer
) -> None:
    async with open_tab(client, user) as tab:
        await tab.ask("send", conversation, content="hi")
        (await model.call()).say("so far")
        await tab.events(2)
        draining = asyncio.create_task(client.server.close())
        frames = await tab.events()
        assert [frame["type"] for frame in frames] == ["error", "done"]
        assert frames[1]["finish_reason"] == "interrupted"
        assert await tab.close_code() == 1001
        await draining


async def test_a_worker_that_drains_refuses_messages_and_goes_on_with_what_runs(
    start: Start, settings: Settings, user: User, conversation: str, model: ModelServer
) -> None:
    client = await start(settings.model_copy(update={"drain_seconds": 5}))
    async with open_tab(client, user) as tab:
        await tab.ask("send", conversation, content="hi")
        call = await model.call()
        await tab.events(1)
        draining = asyncio.create_task(client.server.close())
        answer: dict[str, Any] = {}

        async def refused() -> bool:
            answer.update(await tab.ask("regenerate", conversation))
            return answer["code"] == "draining"

        await until(refused)
        call.finish("all of it")
        assert [frame["type"] for frame in await tab.events()] == ["token", "done"]
        assert await tab.close_code() == 1001
        await draining


async def test_a_client_that_leaves_or_breaks_off_leaves_nothing_behind(
    client: Client, user: User, conversation: str, model: ModelServer
) -> None:
    async with open_tab(client, user) as leaving:
        await leaving.ask("send", conversation, content="hi")
    async with raw_socket(client, user):
        pass
    await no_socket_is_left(client)
    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("subscription-")]
    (await model.call()).finish("to the end")

    async def stored() -> bool:
        messages = (await (await client.get(conversation, headers=user)).json())["messages"]
        return [message["content"] for message in messages] == ["hi", "to the end"]

    await until(stored)


async def test_who_saw_more_than_a_dead_worker_wrote_down_is_sent_for_the_end(
    client: Client, conversation: str, user: User, start: Start, settings: Settings, sql: Sql
) -> None:
    worker = uuid4()
    await sql.execute("insert into workers values ($1, now(), now() + interval '1 minute')", worker)
    await sql.execute(
        "insert into messages (conversation_id, role, content) select id, 'user', 'Hi' from conversations"
    )
    generation_id = await sql.fetchval(
        "insert into generations (conversation_id, kind, user_message_id, worker_id)"
        " select conversation_id, 'send', id, $1 from messages returning id",
        worker,
    )
    after = f"{generation_id}:7"  # and nothing is in the journal
    async with open_tab(client, user) as tab:
        await tab.ask("subscribe", conversation, after=after)
        await kill_workers(sql)
        await start(settings)  # a worker that looks for orphans
        assert await tab.close_code() == 1001
    async with open_tab(client, user) as tab:
        assert (await tab.ask("subscribe", conversation, after=after))["type"] == "ack"
        frames = await tab.events()
    assert [frame["type"] for frame in frames] == ["reset", "error", "done"]
    assert frames[0]["seq"] == 8
