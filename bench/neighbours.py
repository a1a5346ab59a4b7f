"""A model server and an auth service in one process, at a given pace: `python -m bench.neighbours`.

A raw protocol with one TCP write per token, so that its own cost stays small beside what is measured.

    POST /generate        nanochat's stream: `tokens` tokens at `rate` tokens a second (0: all at once);
the same at …/messages, for relays that pass a client's request on
POST /auth/validate   every token `user-<uuid>` belongs to that user
    GET /late             the longest delay of a token since the last call, in seconds
"""

from __future__ import annotations

import argparse
import asyncio
import json

import uvloop

HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n"
)


def chunk(data: bytes) -> bytes:
    """A chunk of a body without a length."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Neighbour(asyncio.Protocol):
    """A connection. It answers requests one after the other, some of them with a stream."""

    tokens = 0
    rate = 0.0
    late = 0.0
    events: list[bytes]
    end = chunk(b'data: {"done":true}\n\n') + b"0\r\n\r\n"

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._received = b""
        self._timer: asyncio.TimerHandle | None = None
        self._sent = 0
        self._next = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def connection_lost(self, _: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            head = self._received[:end].lower()
            place = head.find(b"\r\ncontent-length:")
            length = int(head[place + 17 :].split(b"\r\n", 1)[0]) if place >= 0 else 0
            if len(self._received) < end + 4 + length:
                return
            body = self._received[end + 4 : end + 4 + length]
            self._received = self._received[end + 4 + length :]
            self._answer(head.split(b" ", 2)[1], body)

    def _answer(self, path: bytes, body: bytes) -> None:
        if path == b"/generate" or path.endswith(b"/messages"):
            self._transport.write(HEAD)
            self._sent, self._next = 0, self._loop.time()
            self._speak()
        elif path == b"/auth/validate":
            user = json.loads(body)["token"].removeprefix("user-")
            self._reply({"valid": True, "user": {"id": user}, "claims": {"sub": user}})
        elif path == b"/late":
            self._reply({"late": Neighbour.late})
            Neighbour.late = 0.0
        else:
            self._reply({"status": "ok"})

    def _reply(self, value: object) -> None:
        data = json.dumps(value).encode()
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
            % (len(data), data)
        )

    def _speak(self) -> None:
        if not self.rate:
            self._transport.writelines(self.events)
            self._sent = self.tokens
        if self._sent == self.tokens:
            self._transport.write(self.end)
            return
        Neighbour.late = max(Neighbour.late, self._loop.time() - self._next)
        self._transport.write(self.events[self._sent])
        self._sent += 1
        self._next += 1 / self.rate
        self._timer = self._loop.call_at(self._next, self._speak)


async def serve(port: int) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Neighbour, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


def main() -> None:
    """Read the arguments and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--tokens", type=int, default=150)
    parser.add_argument("--rate", type=float, default=30.0)
    options = parser.parse_args()
    Neighbour.tokens, Neighbour.rate = options.tokens, options.rate
    Neighbour.events = [
        chunk(b'data: {"token":" tok%03d","gpu":0}\n\n' % (number % 1000)) for number in range(options.tokens)
    ]
    uvloop.run(serve(options.port))


if __name__ == "__main__":
    main()
