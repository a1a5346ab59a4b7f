"""A service that is asked to end, and something that it waits for hangs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.serving.deadline import STOP_SECONDS
from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.processes import Service, open_conversation, stopped
from tests.support.reader import read_events

LONG = "x" * 6000  # in a request's path, and so in its log line
SLACK_SECONDS = 3  # on a busy machine


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_service_ends_though_its_database_hangs(
    own_server: Postgres,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    tmp_path: Path,
    workers: str,
) -> None:
    settings = settings.model_copy(
        update={"database_url": own_server.dsn(), "worker_lease": 15.0, "database_timeout": 10.0}
    )
    with (tmp_path / "log").open("wb") as log:
        async with Service(settings, "--workers", workers, stderr=log.fileno()) as service:
            path = await open_conversation(service.session, user)
            async with service.session.post(
                f"{path}/messages", json={"content": "hi"}, headers=user
            ) as stream:
                call = await model.call()
                call.say("a ")
                await read_events(stream, 2)
                assert own_server.pid is not None
                async with stopped(own_server.pid):
                    service.send(signal.SIGTERM)
                    status = await service.ended(settings.drain_seconds + STOP_SECONDS + SLACK_SECONDS)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert "generation_not_stored" in {line["event"] for line in lines}
    assert "worker_killed" not in {line["event"] for line in lines}
    forced = [line for line in lines if line["event"] == "end_forced"]
    assert status == (1 if forced and workers == "1" else 0)


async def ask_until_full(session: aiohttp.ClientSession, count: int) -> None:
    """Have lines written that no pipe and no memory holds, in their order."""
    for number in range(count):
        async with session.get(f"/{number}/{LONG}", timeout=aiohttp.ClientTimeout(5)) as response:
            assert response.status == 401


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe; the reading end is closed in the end."""
    reading, writing = os.pipe()
    yield reading, writing
    os.close(reading)
    with suppress(OSError):
        os.close(writing)


def read_lines(reading: int) -> list[dict[str, Any]]:
    """Everything that was written to the pipe; every writer has closed it."""
    with os.fdopen(os.dup(reading), "rb") as file:
        return [json.loads(line) for line in file.read().splitlines()]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_service_whose_log_nobody_reads_goes_on_and_ends(
    settings: Settings, pipe: tuple[int, int], workers: str
) -> None:
    async with Service(settings, "--workers", workers, stderr=pipe[1]) as service:
        await ask_until_full(service.session, 300)
        async with service.session.get("/metrics") as response:
            assert response.status == 200
        service.send(signal.SIGTERM)
        assert await service.ended() == 0


async def test_lines_that_nobody_read_come_later_in_their_order(
    settings: Settings, pipe: tuple[int, int]
) -> None:
    count = 400
    async with Service(settings, stderr=pipe[1]) as service:
        os.close(pipe[1])
        async with service.connect() as session:
            await ask_until_full(session, count)
            reading = asyncio.create_task(asyncio.to_thread(read_lines, pipe[0]))
            dropped, steady = 0.0, 0
            async with asyncio.timeout(30):
                while not dropped or steady < 40:  # it is counted every few seconds
                    async with session.get("/metrics") as response:
                        found = re.search(
                            r"^chat_log_lines_dropped_total (\S+)$", await response.text(), re.M
                        )
                    assert found
                    steady = steady + 1 if dropped == float(found[1]) else 0
                    dropped = float(found[1])
                    await asyncio.sleep(0.1)
        service.send(signal.SIGTERM)
        assert await service.ended() == 0
        lines = await reading
    numbers = [
        int(line["path"].split("/")[1])
        for line in lines
        if line["event"] == "request" and line["path"].endswith(LONG)
    ]
    assert numbers == list(range(len(numbers)))
    told = [line for line in lines if line["event"] == "log_lines_dropped"]
    assert [line["lines"] for line in told] == [count - len(numbers)] == [dropped]
    assert "trace_id" not in told[0]
    assert lines[-1]["event"] == "draining"


async def test_a_killed_worker_has_said_what_it_knew(settings: Settings, pipe: tuple[int, int]) -> None:
    async with Service(settings, stderr=pipe[1]) as service:
        os.close(pipe[1])
        async with service.session.get("/last/words") as response:
            await response.read()
        service.send(signal.SIGKILL)
        await service.ended()
        assert [line["path"] for line in read_lines(pipe[0]) if "path" in line] == ["/last/words"]


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_a_service_whose_stderr_is_closed_runs(settings: Settings, workers: str) -> None:
    closing = ("/bin/sh", "-c", 'exec "$@" 2>&-', "sh")
    async with Service(settings, "--workers", workers, prefix=closing) as service:
        async with service.session.get("/api/health") as response:
            assert response.status == 200
        for pid in [service.pid, *await service.workers()]:
            # Otherwise a socket or a file would get what the process says.
            assert await asyncio.to_thread(os.readlink, f"/proc/{pid}/fd/2") == "/dev/null"
        service.send(signal.SIGTERM)
        assert await service.ended() == 0
