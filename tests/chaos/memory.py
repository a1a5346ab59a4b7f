"""What a worker's memory is after 1,000 and after 10,000 answers. `python -m tests.chaos.memory`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from uuid import uuid4

import aiohttp

from tests.chaos.__main__ import Worker, stack

CLIENTS = 20
TOKENS = 20


def resident(worker: Worker) -> float:
    """Megabytes of a worker's resident memory."""
    assert worker.process is not None
    status = Path(f"/proc/{worker.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


async def converse(session: aiohttp.ClientSession, url: str, answers: int) -> None:
    """One user who asks and reads so many times."""
    headers = {"Authorization": f"Bearer {uuid4()}"}
    async with session.post(f"{url}/api/conversations", headers=headers) as response:
        path = f"{url}/api/conversations/{(await response.json())['id']}/messages"
    for number in range(answers):
        body = {"content": f"word{number} {TOKENS}"}
        async with session.post(path, json=body, headers=headers) as response:
            text = await response.text()
        assert '"done":true' in text, text


async def run(answers: int) -> None:
    """Print the memory after the first tenth and after all."""
    with tempfile.TemporaryDirectory(prefix="chat-api-memory-") as folder:
        async with (
            stack(Path(folder), 1, 10_000) as ([worker], _, _),
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(600)) as session,
        ):
            await worker.serves(session)
            for count in (answers // 10, answers - answers // 10):
                share = count // CLIENTS
                await asyncio.gather(*(converse(session, worker.url, share) for _ in range(CLIENTS)))
                sys.stdout.write(f"after {count} more answers: {resident(worker):.1f} MB\n")


if __name__ == "__main__":
    asyncio.run(run(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000))
