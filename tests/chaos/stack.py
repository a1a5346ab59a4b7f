"""Everything that runs: PostgreSQL, the neighbours, and workers."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from chat_api.dev.tether import tethered
from tests.chaos.clock import Clock
from tests.chaos.servers import Servers
from tests.chaos.worker import Worker
from tests.support.processes import free_port
from tests.support.wire import DatabaseWire

POOL = 10
LEASE = 5


@dataclass(frozen=True, slots=True)
class Absence:
    """From when until when, by the loop's clock, the others could take a worker for dead."""

    begin: float
    end: float
    is_death: bool


@dataclass
class Stack:
    """The parts, and what was done to them.

    `done` counts it, `lasted` says for how many seconds in all, and `absences` when a worker was away.
    """

    servers: Servers
    workers: list[Worker]
    clock: Clock | None
    done: Counter[str] = field(default_factory=Counter)
    lasted: Counter[str] = field(default_factory=Counter)
    absences: list[Absence] = field(default_factory=list)

    @contextmanager
    def absence(self, *, is_death: bool = False) -> Iterator[None]:
        """A worker is away meanwhile."""
        loop = asyncio.get_running_loop()
        begin = loop.time()
        yield
        self.absences.append(Absence(begin, loop.time(), is_death))


@asynccontextmanager
async def running(
    folder: Path, count: int, rate: float, *, replicated: bool = False, libfaketime: Path | None = None
) -> AsyncIterator[Stack]:
    """Start `count` workers, and a model that says `rate` tokens a second; end them with the context.

    `replicated`: with a standby. `libfaketime`: the library, for a clock that can be set.
    """
    async with AsyncExitStack() as parts:
        await asyncio.to_thread(folder.chmod, 0o755)  # PostgreSQL may have to run as another user
        clock = Clock(folder, libfaketime) if libfaketime else None
        servers = Servers(folder, replicated=replicated, programs=clock.programs if clock else None)
        parts.callback(servers.stop)
        await asyncio.to_thread(servers.start)
        neighbours_port = free_port()
        command = [sys.executable, "-m", "tests.chaos.neighbours", str(neighbours_port), str(rate)]
        neighbours = await asyncio.create_subprocess_exec(*tethered(command, signal.SIGTERM))
        parts.push_async_callback(neighbours.wait)
        parts.callback(neighbours.terminate)
        workers: list[Worker] = []
        for number in range(count):
            wires = [await parts.enter_async_context(DatabaseWire(server.dsn())) for server in servers.all]
            hosts = ",".join(f"127.0.0.1:{wire.port}" for wire in wires)
            environment = {
                **os.environ,
                "DATABASE_URL": f"postgresql://postgres@{hosts}/postgres",
                "AUTH_SERVICE_URL": f"http://127.0.0.1:{neighbours_port}",
                "INFERENCE_SERVICE_URL": f"http://127.0.0.1:{neighbours_port}",
                "DATABASE_POOL_MAX": str(POOL),
                "WORKER_LEASE": str(LEASE),
                "DRAIN_SECONDS": "2",
                "MAX_TOKEN_BUDGET": "1",  # the question alone
            }
            worker = Worker(free_port(), environment, folder / f"worker{number}.log", wires)
            await worker.start()
            parts.push_async_callback(worker.end, signal.SIGTERM)
            workers.append(worker)
        yield Stack(servers, workers, clock)
