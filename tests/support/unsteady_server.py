"""A model server with OpenAI's API that fails as it is told, at any point of a stream."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from typing import Any, Self

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
LIST = b'HTTP/1.1 200 OK\r\nContent-Length: 29\r\n\r\n{"data":[{"id":"the model"}]}'
ERROR = b"HTTP/1.1 %d No\r\nContent-Type: application/json\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"
ROLE = b'data: {"choices":[{"delta":{"role":"assistant"}}]}\n\n'
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
PAUSE_SECONDS = 0.001  # between two words, so that they arrive as several

# How it ends before it has said a word: what it sends, and whether it closes, resets or hangs then.
SILENT: dict[str, tuple[bytes, str]] = {
    "refused": (b"", "reset"),
    "closed": (b"", "close"),
    "hangs": (b"", "hang"),
    "no http": (b"\x00\x01 not http\r\n\r\n", "close"),
    "a page": (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>hello</html>", "close"),
    "half a head": (b"HTTP/1.1 200 OK\r\nContent-Ty", "close"),
    "a head": (HEAD, "close"),
    "a head, hangs": (HEAD, "hang"),
    "a role": (HEAD + ROLE, "close"),
    "a role, hangs": (HEAD + ROLE, "hang"),
    "an error": (HEAD + b'data: {"error":{"message":"out of memory","code":"oom"}}\n\n', "close"),
    "nothing": (HEAD + END, "close"),
    **{str(status): (ERROR % status, "close") for status in (401, 403, 404, 408, 429, 500, 502, 503, 529)},
}
# How it ends after the first words.
CUT = ("cut", "cut, reset", "cut, hangs", "cut, an error")
FINE = "fine"

Script = Callable[[dict[str, Any]], tuple[str, int]]
"""From a request to what becomes of it, and how many words it gets."""


class UnsteadyServer:
    """Does with each request what `script` says. Its words are its name and their numbers: `a1 a2 a3 `."""

    def __init__(self, name: str, script: Script) -> None:
        self.name = name
        self.script = script
        self.now = self.most = 0  # streams at once
        self.requests: list[dict[str, Any]] = []
        self._answer_with = b""
        self._answering: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._answering:
            task.cancel()
        await asyncio.gather(*self._answering, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address that MODELS_FILE has."""
        return f"http://127.0.0.1:{self.port}/v1"

    def answer_with(self, answer: bytes) -> None:
        """Answer every request with these bytes, and close."""
        self._answer_with = answer
        self.script = lambda _: ("answer", 0)

    def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Not a coroutine: StreamWriter would make a task of it, which logs the errors that tests cause.
        task = asyncio.create_task(self._answer(reader, writer))
        self._answering.add(task)
        task.add_done_callback(self._answering.discard)

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET"):
                writer.write(LIST)
                return
            length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
            asked = json.loads(await reader.readexactly(int(length)))
            self.requests.append(asked)
            await self._do(*self.script(asked), reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the service left
        finally:
            self.now -= 1
            writer.close()

    async def _do(
        self, fate: str, words: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        if fate in SILENT or fate == "answer":
            sent, then = SILENT.get(fate, (self._answer_with, "close"))
            writer.write(sent)
        else:
            writer.write(HEAD)
            for number in range(1, words + 1):
                writer.write(_chunk({"content": f"{self.name}{number} "}))
                await writer.drain()
                await asyncio.sleep(PAUSE_SECONDS)
            then = "close"
            if fate == FINE:
                writer.write(END)
            elif fate == "cut, an error":
                writer.write(b'data: {"error":{"message":"out of memory"}}\n\n')
            else:
                then = {"cut": "close", "cut, reset": "reset", "cut, hangs": "hang"}[fate]
        await writer.drain()
        if then == "hang":
            await reader.read()  # until the service leaves
        elif then == "reset":
            sock = writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()


def _chunk(delta: dict[str, str]) -> bytes:
    return b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "delta": delta}]}).encode()
