"""Load a few workers, kill everything at random, and check that nothing was lost. `make chaos`.

Loopback only; it ends by itself. The exit status says whether everything that must be 0 was.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import asyncpg

from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from tests.chaos.proxy import Proxy
from tests.chaos.readers import Client

MUST_BE_NONE = [
    "lost messages",
    "doubled messages",
    "messages that nobody sent",
    "missing events",
    "doubled events",
    "streams without an end",
    "done without a stored answer",
    "stored answers other than seen",
    "stored answers that nobody gave",
    "stored answers cut short",
    "generations still running",
    "leaked tasks",
    "leaked database connections",
    "leaked descriptors",
]
KILLS = ["worker", "worker", "restart", "database", "connections", "connections"]
POOL = 10
LEASE = 5


class Worker:
    """One `chat-api serve` process, started again whenever it is killed."""

    def __init__(self, port: int, environment: dict[str, str], log: Path) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._port = port
        self._environment = {**environment, "LOG_LEVEL": "WARNING"}
        self._log = log
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start it; not waiting until it serves."""
        with self._log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "chat_api", "serve", "--port", str(self._port)),
                env=self._environment,
                stderr=log,
            )

    def descriptors(self) -> int:
        """How many it has open."""
        assert self.process is not None
        return sum(1 for _ in Path(f"/proc/{self.process.pid}/fd").iterdir())

    def complaints(self) -> list[str]:
        """The errors in its log."""
        lines = self._log.read_text().splitlines()
        return [line for line in lines if '"level":"error"' in line or "Traceback" in line]

    async def serves(self, session: aiohttp.ClientSession) -> None:
        """Until it answers."""
        while True:
            try:
                async with session.get(f"{self.url}/api/health"):
                    return
            except aiohttp.ClientConnectorError:
                await asyncio.sleep(0.1)

    async def end(self, number: signal.Signals) -> None:
        """Send a signal and wait until it is gone."""
        assert self.process is not None
        self.process.send_signal(number)
        await self.process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_postgres(server: Postgres) -> None:
    """SIGKILL for the postmaster, whose children notice and end; then start it again."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    while server.pid is not None:
        time.sleep(0.01)
    server.start()


async def havoc(
    workers: list[Worker], server: Postgres, proxy: Proxy, until: float, done: Counter[str]
) -> None:
    """Kill something every few seconds."""
    loop = asyncio.get_running_loop()
    round_: list[str] = []
    while loop.time() < until:
        await asyncio.sleep(random.uniform(2, 6))
        if not round_:
            round_ = random.sample(KILLS, len(KILLS))
        match round_.pop():
            case "worker":
                worker = random.choice(workers)
                await worker.end(signal.SIGKILL)
                await worker.start()
                done["workers killed"] += 1
            case "restart":
                worker = random.choice(workers)
                await worker.end(signal.SIGTERM)
                await worker.start()
                done["workers restarted"] += 1
            case "database":
                await asyncio.to_thread(kill_postgres, server)
                done["database killed"] += 1
            case _:
                done["database connections cut"] += proxy.cut(0.5)


@asynccontextmanager
async def stack(folder: Path, count: int, rate: float) -> AsyncIterator[tuple[list[Worker], Postgres, Proxy]]:
    """PostgreSQL, the neighbours, and workers behind a proxy to the database."""
    database_port, neighbours_port = free_port(), free_port()
    async with AsyncExitStack() as parts:
        server = Postgres(folder / "data", tcp_port=database_port)
        await asyncio.to_thread(folder.chmod, 0o755)  # PostgreSQL may have to run as another user
        await asyncio.to_thread(server.start)
        parts.callback(server.stop)
        apply_migrations(server.dsn())
        neighbours = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.chaos.neighbours", str(neighbours_port), str(rate))
        )
        parts.push_async_callback(neighbours.wait)
        parts.callback(neighbours.terminate)
        proxy = await parts.enter_async_context(Proxy(database_port))
        environment = {
            **os.environ,
            "DATABASE_URL": f"postgresql://postgres@127.0.0.1:{proxy.port}/postgres",
            "AUTH_SERVICE_URL": f"http://127.0.0.1:{neighbours_port}",
            "INFERENCE_SERVICE_URL": f"http://127.0.0.1:{neighbours_port}",
            "DATABASE_POOL_MAX": str(POOL),
            "WORKER_LEASE": str(LEASE),
            "DRAIN_SECONDS": "2",
            "MAX_TOKEN_BUDGET": "1",  # the question alone
        }
        workers = [
            Worker(free_port(), environment, folder / f"worker{number}.log") for number in range(count)
        ]
        for worker in workers:
            await worker.start()
            parts.push_async_callback(worker.end, signal.SIGTERM)
        yield workers, server, proxy


async def figures(session: aiohttp.ClientSession, worker: Worker) -> tuple[int, int]:
    """A worker's tasks and open descriptors."""
    await worker.serves(session)
    async with session.get(f"{worker.url}/metrics") as response:
        text = await response.text()
    tasks = next(line for line in text.splitlines() if line.startswith("chat_tasks "))
    return int(float(tasks.split()[1])), worker.descriptors()


async def run(options: argparse.Namespace) -> int:
    """The whole of it; the exit status."""
    wrong: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    done: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="chat-api-chaos-") as folder:
        async with stack(Path(folder), options.workers, options.rate) as (workers, server, proxy):
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
                before = [await figures(session, worker) for worker in workers]
                urls = [worker.url for worker in workers]
                chance = random.Random(options.seed)
                clients = [
                    Client(session, urls, wrong, seen, random.Random(chance.random()))
                    for _ in range(options.streams)
                ]
                random.seed(options.seed)
                until = asyncio.get_running_loop().time() + options.seconds
                runs = [asyncio.create_task(client.run(until, options.tokens)) for client in clients]
                await havoc(workers, server, proxy, until, done)
                await asyncio.wait_for(asyncio.gather(*runs), 120)
                await settled(server, wrong)
                for client in clients:
                    await client.verify()
            await leaks(workers, before, server, wrong)
            complaints = [line for worker in workers for line in worker.complaints()]
    report(options, clients, wrong, seen, done, complaints)
    return int(any(wrong.values()))


async def settled(server: Postgres, wrong: Counter[str]) -> None:
    """Twenty seconds after the last kill nothing runs any more that nobody runs."""
    connection = await asyncpg.connect(server.dsn())
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if not await connection.fetchval("select count(*) from generations where status = 'running'"):
            break
        await asyncio.sleep(0.5)
    else:
        wrong["generations still running"] += 1
    await connection.close()


async def leaks(
    workers: list[Worker], before: list[tuple[int, int]], server: Postgres, wrong: Counter[str]
) -> None:
    """An idle worker holds what it held before, its pool, and the connection that it listens on."""
    leaked: list[tuple[int, int]] = []
    async with aiohttp.ClientSession() as session:
        for _ in range(40):  # seconds in which idle connections to the auth service end
            await asyncio.sleep(1)
            now = [await figures(session, worker) for worker in workers]
            leaked = [
                (max(0, tasks - tasks_before), max(0, descriptors - descriptors_before - POOL - 1))
                for (tasks, descriptors), (tasks_before, descriptors_before) in zip(now, before, strict=True)
            ]
            if not any(map(any, leaked)):
                break
    wrong["leaked tasks"] = sum(tasks for tasks, _ in leaked)
    wrong["leaked descriptors"] = sum(descriptors for _, descriptors in leaked)
    connection = await asyncpg.connect(server.dsn())
    open_ones = await connection.fetchval(
        "select count(*) from pg_stat_activity where application_name = 'chat-api'"
    )
    wrong["leaked database connections"] += max(0, open_ones - len(workers) * (POOL + 1))
    await connection.close()


def report(
    options: argparse.Namespace,
    clients: list[Client],
    wrong: Counter[str],
    seen: Counter[str],
    done: Counter[str],
    complaints: list[str],
) -> None:
    """Print the figures."""
    answers = sum(len(client.transcripts) for client in clients)
    write = sys.stdout.write
    write(f"{options.streams} live streams, {options.workers} workers, {options.seconds} s")
    write(f" (seed {options.seed})\n")
    write(f"  {answers} answers; " + ", ".join(f"{n} {what}" for what, n in sorted(done.items())) + "\n")
    write("  " + ", ".join(f"{what}: {n}" for what, n in sorted(seen.items())) + "\n")
    for what in MUST_BE_NONE:
        write(f"{wrong[what]:>6} {what}\n")
    for line in complaints[:20]:
        write(f"  log: {line[:300]}\n")


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="make chaos", description=__doc__)
    parser.add_argument("--streams", type=int, default=200, help="clients at a time (default: %(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="worker processes (default: %(default)s)")
    parser.add_argument(
        "--seconds", type=float, default=120, help="how long to kill things (default: %(default)s)"
    )
    parser.add_argument("--tokens", type=int, default=300, help="longest answer (default: %(default)s)")
    parser.add_argument(
        "--rate", type=float, default=20, help="tokens a second and stream (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the dice")
    return asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
