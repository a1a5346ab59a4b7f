"""A process without a file descriptor left."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import ExitStack
from pathlib import Path

import aiohttp

from chat_api.settings import Settings
from tests.support.processes import Service, free_port, until

FEW = ("/bin/sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


async def answers(service: Service) -> bool:
    """Whether a request is answered; one of the connections that were refused before may still be reset."""
    try:
        async with service.session.get("/api/health", timeout=aiohttp.ClientTimeout(2)) as response:
            return response.status == 200
    except aiohttp.ClientOSError:
        return False


async def test_a_service_without_descriptors_says_so_once_and_goes_on_when_there_are_some(
    settings: Settings, tmp_path: Path
) -> None:
    port = free_port()

    async def lines() -> list[str]:
        return [
            line["event"]
            for line in map(json.loads, (tmp_path / "log").read_text().splitlines())
            if line["event"] in ("descriptors_exhausted", "crashed", "request_failed")
        ]

    with (tmp_path / "log").open("wb") as log, ExitStack() as connections:
        async with Service(settings, port=port, prefix=FEW, stderr=log.fileno()) as service:
            for _ in range(80):
                connections.enter_context(socket.create_connection(("127.0.0.1", port)))
            await until(lines)
            await asyncio.sleep(1)  # in which it could say it four times
            assert await lines() == ["descriptors_exhausted"]
            connections.close()
            await until(lambda: answers(service))
