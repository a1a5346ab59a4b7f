"""What must not be left at the end: running generations, and what idle workers don't need."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import aiohttp

from tests.chaos.servers import Servers
from tests.chaos.stack import POOL, Stack
from tests.chaos.worker import Worker
from tests.support.processes import descriptors

SETTLED_SECONDS = 20
IDLE_SECONDS = 40  # until idle connections to the auth service are closed


async def figures(session: aiohttp.ClientSession, worker: Worker) -> tuple[int, int]:
    """A worker's tasks and open descriptors."""
    await worker.serves(session)
    async with session.get(f"{worker.url}/metrics") as response:
        text = await response.text()
    tasks = next(line for line in text.splitlines() if line.startswith("chat_tasks "))
    return int(float(tasks.split()[1])), descriptors(worker.pid)


async def settled(servers: Servers, wrong: Counter[str]) -> None:
    """Twenty seconds after the last fault, no generation is running without a worker."""
    connection = await servers.connect()
    deadline = time.monotonic() + SETTLED_SECONDS
    while running := await connection.fetchval("select count(*) from generations where status = 'running'"):
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.5)
    wrong["generations still running"] += running
    await connection.close()


async def leaks(stack: Stack, before: list[tuple[int, int]], wrong: Counter[str]) -> None:
    """Check that an idle worker holds what it held before: its pool, and its connection for `listen`."""
    leaked: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as session:
        for _ in range(IDLE_SECONDS):
            await asyncio.sleep(1)
            now = [await figures(session, worker) for worker in stack.workers]
            leaked = [
                (max(0, tasks - tasks_before), max(0, descriptors - descriptors_before - POOL - 1))
                for (tasks, descriptors), (tasks_before, descriptors_before) in zip(now, before, strict=True)
            ]
            if not any(map(any, leaked)):
                break
    wrong["leaked tasks"] = sum(tasks for tasks, _ in leaked)
    wrong["leaked descriptors"] = sum(descriptors for _, descriptors in leaked)
    connection = await stack.servers.connect()
    open_ones = await connection.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'chat-api'"
    )
    wrong["leaked database connections"] += max(0, open_ones - len(stack.workers) * (POOL + 1))
    await connection.close()
