"""Measures a worker's memory after 1,000 and after 10,000 answers: `python -m tests.chaos.memory`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import aiohttp

from tests.chaos.stack import running
from tests.support.processes import resident_megabytes

CLIENTS = 20
TOKENS = 20


async def converse(session: aiohttp.ClientSession, url: str, answers: int) -> None:
    """Let one user ask and read so many times."""
    headers = {"Authorization": f"Bearer {uuid4()}"}
    async with session.post(f"{url}/api/conversations", headers=headers) as response:
        path = f"{url}/api/conversations/{(await response.json())['id']}/messages"
    for number in range(answers):
        body = {"content": f"word{number} {TOKENS}"}
        async with session.post(path, json=body, headers=headers) as response:
            text = await response.text()
        assert '"done":true' in text, text


async def run(answers: int) -> None:
    """Print the memory after a tenth of the answers, and after all of them."""
    with tempfile.TemporaryDirectory(prefix="chat-api-memory-") as folder:
        async with (
            running(Path(folder), 1, 10_000) as stack,
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session,
        ):
            [worker] = stack.workers
            await worker.serves(session)
            for count in (answers // 10, answers - answers // 10):
                share = count // CLIENTS
                await asyncio.gather(*(converse(session, worker.url, share) for _ in range(CLIENTS)))
                sys.stdout.write(f"after {count} more answers: {resident_megabytes(worker.pid):.1f} MB\n")


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
