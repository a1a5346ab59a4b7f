"""Streams and requests, many at a time, in a process of their own: `python -m bench.load … ` prints JSON.

This process reads the server's processor time before and after, so that nothing else is included.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from uuid import uuid4

import uvloop

from bench.accounting import cpu, resident
from bench.connection import Connection, Stream

RAMP_SECONDS = 2.0
USERS = 20


@dataclass
class Streams:
    """What streams cost, and how they arrived. Times are in seconds, memory in megabytes."""

    tokens: int  # the sum over all readers
    lost: int
    cpu: float
    first_token: float  # median
    longest_gaps: float  # 99th percentile
    peak: float  # the largest amount of memory that the server held

    @property
    def microseconds(self) -> float:
        """Processor time per token."""
        return self.cpu / max(self.tokens, 1) * 1e6


@dataclass
class Requests:
    """What one kind of request costs: seconds of processor time each, and how many are answered a second."""

    cpu: float
    rate: float
    failed: int


async def streams(
    port: int, pid: int, count: int, tokens: int, *, readers: int, socket: bool, direct: bool
) -> Streams:
    """Read `count` answers at once, each with so many readers, over SSE or WebSocket.

    `direct`: read them from the model server, with nothing in between.
    """
    users = [str(uuid4()) for _ in range(USERS)]
    connections = [await connect(port) for _ in range(count)]
    others = [[await connect(port) for _ in range(readers - 1)] for _ in range(count)]
    paths = []
    for number, connection in enumerate(connections):
        status, body = await connection.request(
            "POST", "/api/conversations", users[number % USERS], {"title": "bench"}
        )
        if status not in (200, 201):
            raise SystemExit(f"the server answered {status}: {body!r}")
        paths.append(json.loads(body).get("id", "x"))
        if socket:
            await connection.upgrade(users[number % USERS])

    async def ask(number: int) -> list[Stream]:
        await asyncio.sleep(RAMP_SECONDS * number / count)
        user, below = users[number % USERS], f"/api/conversations/{paths[number]}"
        if socket:
            return [await connections[number].chat(paths[number])]
        path = "/generate" if direct else f"{below}/messages"
        first = asyncio.create_task(
            connections[number].stream("POST", path, user, {"content": "hello there"})
        )
        if others[number]:
            await connections[number].heard.wait()  # before that there may be nothing to attach to
        rest = [each.stream("GET", f"{below}/stream", user) for each in others[number]]
        return list(await asyncio.gather(first, *rest))

    used, most = cpu(pid), [resident(pid)]
    watching = asyncio.create_task(watch(pid, most))
    seen = [stream for found in await asyncio.gather(*map(ask, range(count))) for stream in found]
    used = cpu(pid) - used
    watching.cancel()
    gaps = sorted(gap for stream in seen for gap in stream.gaps)
    total = sum(stream.tokens for stream in seen)
    return Streams(
        tokens=total,
        lost=count * readers * tokens - total,
        cpu=used,
        first_token=statistics.median(stream.first for stream in seen if stream.times),
        longest_gaps=gaps[int(len(gaps) * 0.99)] if gaps else 0.0,
        peak=max(most),
    )


async def watch(pid: int, held: list[float]) -> None:
    """Sample the memory in use twice a second, until cancelled."""
    while True:
        held.append(resident(pid))
        await asyncio.sleep(0.5)


async def requests(port: int, pid: int, kind: str, path: str, user: str, seconds: float) -> Requests:
    """Send one kind of request over 16 connections, each time as soon as the last one is answered."""
    method, body = ("POST", {"title": "x"}) if kind == "create" else ("GET", None)
    connections = [await connect(port) for _ in range(16)]
    count = failed = 0
    end = time.perf_counter() + seconds

    async def call(connection: Connection) -> None:
        nonlocal count, failed
        while time.perf_counter() < end:
            status, _ = await connection.request(method, path, user, body)
            count += 1
            failed += status >= 400

    used, began = cpu(pid), time.perf_counter()
    await asyncio.gather(*map(call, connections))
    return Requests((cpu(pid) - used) / count, count / (time.perf_counter() - began), failed)


async def answers(port: int, pid: int, count: int, rate: float) -> Requests:
    """Read answers, each in its own conversation: `rate` a second, or without pause on 16 connections."""
    users = [str(uuid4()) for _ in range(USERS)]
    free = [await connect(port) for _ in range(16 if not rate else 100)]
    paths = []
    for number in range(count):
        path = "/api/conversations"
        _, body = await free[0].request("POST", path, users[number % USERS], {"title": "bench"})
        paths.append(f"{path}/{json.loads(body)['id']}/messages")
    idle = asyncio.Semaphore(len(free))

    async def ask(number: int) -> None:
        async with idle:
            connection = free.pop()
            await connection.stream("POST", paths[number], users[number % USERS], {"content": "hello there"})
            free.append(connection)

    used, began = cpu(pid), time.perf_counter()
    asked = []
    for number in range(count):
        asked.append(asyncio.create_task(ask(number)))
        if rate:
            await asyncio.sleep(began + (number + 1) / rate - time.perf_counter())
    await asyncio.gather(*asked)
    return Requests((cpu(pid) - used) / count, count / (time.perf_counter() - began), 0)


async def connect(port: int) -> Connection:
    """Connect to a port of this machine."""
    return (await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port))[1]


def main() -> None:
    """Read the arguments, make the load, print the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("pid", type=int, help="the process whose time is counted, with its children")
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=150, help="tokens in each answer")
    parser.add_argument("--readers", type=int, default=1, help="readers of each answer")
    parser.add_argument("--websocket", action="store_true")
    parser.add_argument("--direct", action="store_true", help="the port is the model server's")
    parser.add_argument("--requests", metavar="KIND", help="list, get or create, instead of streams")
    parser.add_argument("--answers", type=int, metavar="COUNT", help="short answers, instead of streams")
    parser.add_argument("--rate", type=float, default=0.0, help="answers a second (default: no pause)")
    parser.add_argument("--path", default="/api/conversations")
    parser.add_argument("--user", default=str(uuid4()))
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    if given.requests:
        work = requests(given.port, given.pid, given.requests, given.path, given.user, given.seconds)
    elif given.answers:
        work = answers(given.port, given.pid, given.answers, given.rate)
    else:
        work = streams(
            given.port,
            given.pid,
            given.streams,
            given.tokens,
            readers=given.readers,
            socket=given.websocket,
            direct=given.direct,
        )
    sys.stdout.write(json.dumps(asdict(uvloop.run(work))))


if __name__ == "__main__":
    main()
