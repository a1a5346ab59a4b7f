"""What one PostgreSQL carries: `python -m bench.scale`.

Workers without models: each starts its answers, writes a slice of each into the journal five times a second,
and finishes them after some seconds; the next one of that conversation follows at once. Prints for each load:
answers a second, the milliseconds of the statements, the ticks that took longer than their fifth of a second,
PostgreSQL's CPU time, and the WAL of an answer.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
import psycopg

from bench.buffers import fill
from bench.maintenance import TABLES, position
from bench.statements import HOT
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.postgres.queries import load_queries

WORKERS = 2
TICK = 0.2
SLICE = '[{"token": " chickpeas"}, {"token": " and"}, {"token": " tamarind"}]'
SAID = "Chickpeas, potatoes, yoghurt, tamarind and coriander leaves. " * 10


@dataclass
class Step:
    """What was seen at one load."""

    answers: int = 0
    late: int = 0
    """Ticks that took longer than their time."""
    took: dict[str, list[float]] = field(default_factory=lambda: {"start": [], "tick": [], "finish": []})


class Worker:
    """One worker's statements, on ten connections."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], seen: Step, seconds: float) -> None:
        self.id = uuid4()
        self._pool, self._seen, self._seconds = pool, seen, seconds
        self._live: dict[UUID, int] = {}
        self._ended = False

    async def run(self, live: int, seconds: float) -> None:
        """Keep that many answers running for so long."""
        ticks = asyncio.create_task(self._ticks())
        until = asyncio.get_running_loop().time() + seconds
        await asyncio.gather(*(self._answers(until, place / live) for place in range(live)))
        self._ended = True
        await ticks

    async def _answers(self, until: float, place: float) -> None:
        loop = asyncio.get_running_loop()
        user_id, created = uuid4(), HOT["conversations.create"]
        row = await self._row("conversations.create", {**created, "user_id": user_id})
        conversation_id = UUID(orjson.loads(row["conversation"])["id"])
        await asyncio.sleep(place * self._seconds)  # so that they don't end together
        while loop.time() < until:
            begun = await self._row("generations.start", {
                **HOT["generations.start"], "conversation_id": conversation_id, "user_id": user_id,
                "worker_id": self.id, "idempotency_key": uuid4().hex,
            }, "start")  # fmt: skip
            generation_id = begun["generation_id"]
            self._live[generation_id] = 0
            await asyncio.sleep(self._seconds)
            seq = self._live.pop(generation_id)
            await self._row("generations.finish", {
                **HOT["generations.finish"], "generation_id": generation_id, "worker_id": self.id,
                "after_id": begun["user_message_id"], "content": SAID, "first_seq": seq, "last_seq": seq + 1,
            }, "finish")  # fmt: skip
            self._seen.answers += 1

    async def _ticks(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._ended:
            began = loop.time()
            ids = list(self._live)
            first = [self._live[each] for each in ids]
            for each in ids:
                self._live[each] += 3
            await self._row("journal.tick", {
                **HOT["journal.tick"], "worker_id": self.id, "ids": ids, "live": ids, "live_in": ids,
                "first_seqs": first, "next_seqs": [each + 3 for each in first], "slices": [SLICE] * len(ids),
            }, "tick")  # fmt: skip
            rest = TICK - (loop.time() - began)
            self._seen.late += rest < 0
            await asyncio.sleep(max(rest, 0))

    async def _row(self, name: str, given: Mapping[str, Any], kind: str = "") -> asyncpg.Record:
        query = load_queries()[name]
        values = [given[parameter] for parameter in query.parameters]
        async with self._pool.acquire() as connection:
            began = time.perf_counter()
            row = await connection.fetchrow(query.text, *values)
        if kind:
            self._seen.took[kind].append(1000 * (time.perf_counter() - began))
        return row


async def load(url: str, live: int, answer: float, seconds: float) -> Step:
    """Run the workers for so long."""
    seen = Step()
    pools = [await asyncpg.create_pool(url, min_size=10, max_size=10) for _ in range(WORKERS)]
    async with asyncio.TaskGroup() as group:
        for pool in pools:
            group.create_task(Worker(pool, seen, answer).run(live // WORKERS, seconds))
    for pool in pools:
        await pool.close()
    return seen


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.scale", description=__doc__)
    parser.add_argument("--live", type=int, nargs="+", default=[100, 400, 1000], help="answers at once")
    parser.add_argument("--answer", type=float, default=5, help="seconds of an answer")
    parser.add_argument("--seconds", type=float, default=15, help="of each step")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chat-api-bench-") as folder:
        Path(folder).chmod(0o755)
        with Postgres(Path(folder) / "data", settings={"max_wal_size": "4GB"}) as server:
            apply_migrations(server.dsn())
            with psycopg.connect(server.dsn(), autocommit=True) as connection:
                fill(connection, 10_000, 100_000)
                for table in TABLES:
                    connection.execute(f"alter table {table} set logged")
                for live in options.live:
                    connection.execute("checkpoint")
                    before, used = position(connection), _cpu(server.pid)
                    began = time.perf_counter()
                    seen = asyncio.run(load(server.dsn(), live, options.answer, options.seconds))
                    took = time.perf_counter() - began
                    cpu, wal = _cpu(server.pid) - used, position(connection) - before
                    medians = ", ".join(
                        f"{kind} {statistics.median(each):.1f} (99 of 100 within"
                        f" {statistics.quantiles(each, n=100)[98]:.0f})"
                        for kind, each in seen.took.items()
                    )
                    sys.stdout.write(
                        f"{live} live: {seen.answers / took:.0f} answers a second; ms: {medians};"
                        f" {seen.late} ticks late; PostgreSQL {cpu / took:.2f} cores, an answer"
                        f" {1000 * cpu / seen.answers:.1f} ms, {wal / seen.answers / 1024:.1f} KB of WAL\n"
                    )


def _cpu(pid: int | None) -> float:
    """Seconds of CPU time that a server's processes used, those that ended too."""
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            stat = path.read_text()
        except OSError:  # it has just ended
            continue
        parts = stat.rpartition(")")[2].split()
        if path.parent.name == str(pid):
            ticks += sum(map(int, parts[11:15]))
        elif parts[1] == str(pid):
            ticks += sum(map(int, parts[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
