"""Answers behind nginx: each token passes at once, and no reader loses one."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from tests.deploy.nginx.conftest import Front
from tests.deploy.nginx.server import AUTHORITY, Nginx, program
from tests.support.model_server import ModelServer
from tests.support.processes import open_conversation
from tests.support.reader import Seen, read_events, read_lines, text_of
from tests.support.tab import open_tab, words

Headers = dict[str, str]
WORDS = [f"word{number} " for number in range(8)]


async def test_tokens_pass_one_by_one(front: Front, user: Headers, model: ModelServer) -> None:
    async with (await front()).connect() as http:
        path = await open_conversation(http, user)
        async with http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
            assert stream.version == aiohttp.HttpVersion11
            call = await model.call()
            (begun,) = await read_events(stream, 1)
            assert begun.data["user_message_id"]
            for word in WORDS:
                call.say(word)
                assert text_of(await read_events(stream, 1)) == word
            call.finish()
            (done,) = await read_events(stream)
            assert done.data["finish_reason"] == "stop"


@asynccontextmanager
async def curl(nginx: Nginx, path: str, *options: str) -> AsyncIterator[asyncio.StreamReader]:
    """Run curl over HTTP/2, and yield an answer as it arrives."""
    command = [program("curl"), "--silent", "--show-error", "--no-buffer", "--http2", "--noproxy", "*"]
    command += ["--cacert", str(AUTHORITY), "--write-out", "\n%{http_version} %{http_code}", *options]
    process = await asyncio.create_subprocess_exec(
        *command, f"{nginx.url}{path}", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield process.stdout
        async with asyncio.timeout(5):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_tokens_pass_one_by_one_over_http2(front: Front, user: Headers, model: ModelServer) -> None:
    nginx = await front()
    async with nginx.connect() as http:
        path = await open_conversation(http, user)
    headers = [
        "--header",
        f"Authorization: {user['Authorization']}",
        "--header",
        "Content-Type: application/json",
    ]
    body = json.dumps({"content": "Hi"})
    async with curl(nginx, f"{path}/messages", *headers, "--data", body) as stream:
        call = await model.call()
        await read_lines(stream, 1)
        for word in WORDS:
            call.say(word)
            assert text_of(await read_lines(stream, 1)) == word
        call.finish()
        assert (await read_lines(stream))[-1].data["finish_reason"] == "stop"
        assert (await stream.read()).split() == [b"2", b"200"]


async def test_tokens_pass_one_by_one_over_a_websocket(
    front: Front, user: Headers, model: ModelServer
) -> None:
    nginx = await front()
    async with nginx.connect() as http:
        path = await open_conversation(http, user)
        async with open_tab(http, user, headers={"Origin": nginx.url}) as tab:
            assert (await tab.ask("send", path, content="Hi"))["type"] == "ack"
            call = await model.call()
            (begun,) = await tab.events(1)
            assert begun["type"] == "start"
            for word in WORDS:
                call.say(word)
                assert words(await tab.events(1)) == word
            call.finish()
            assert (await tab.events())[-1]["finish_reason"] == "stop"


async def test_leaving_is_not_stopping(front: Front, user: Headers, model: ModelServer) -> None:
    async with (await front()).connect() as http:
        path = await open_conversation(http, user)
        async with http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
            call = await model.call()
            call.say("so ")
            await read_events(stream, 2)
        async with http.get(f"{path}/stream", headers=user) as stream:
            await read_events(stream, 2)
            call.finish("far")
            assert text_of(await read_events(stream)) == "far"


async def test_a_reload_cuts_nobody_off(front: Front, user: Headers, model: ModelServer) -> None:
    nginx = await front()
    async with nginx.connect() as http, nginx.connect() as later:
        path = await open_conversation(http, user)
        async with (
            http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream,
            open_tab(http, user) as tab,
        ):
            call = await model.call()
            call.say("a ")
            seen = await read_events(stream, 2)
            await tab.say("subscribe", path)
            heard = (await tab.events(3))[1:]
            await nginx.reload()
            call.say("b ")
            seen += await read_events(stream, 1)
            heard += await tab.events(1)
            async with later.get(f"{path}/stream", headers=user) as again:
                assert await read_events(again, 3) == seen
                call.finish("c ")
                seen += await read_events(stream)
                assert await read_events(again) == seen[3:]
            heard += await tab.events()
        assert text_of(seen) == words(heard) == "a b c "


@pytest.mark.parametrize("transport", ["sse", "ws"])
async def test_after_a_restart_readers_go_on_with_their_last_id(
    front: Front, user: Headers, model: ModelServer, transport: str
) -> None:
    nginx = await front()
    async with nginx.connect() as http:
        path = await open_conversation(http, user)
        async with http.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
            call = await model.call()
            call.say("a ", "b ")
            seen = await read_events(stream, 3)
            await nginx.stop()
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_events(stream)
        call.say("c ")
        with pytest.raises(aiohttp.ClientConnectorError):
            await http.get(f"{path}/stream", headers=user)
        await nginx.start()
        if transport == "sse":
            last = {"Last-Event-ID": seen[-1].id}
            async with http.get(f"{path}/stream", headers=user | last) as stream:
                call.finish("d ")
                seen += await read_events(stream)
        else:
            async with open_tab(http, user) as tab:
                await tab.say("subscribe", path, after=seen[-1].id)
                call.finish("d ")
                frames = (await tab.events())[1:]
                seen += [Seen(f"{frame['generation_id']}:{frame['seq']}", frame) for frame in frames]
    assert [event.seq for event in seen] == list(range(6))
    assert text_of(seen) == "a b c d "
