"""What is done to the parts, at random, one thing after another."""

from __future__ import annotations

import asyncio
import random
import signal
import time
from collections.abc import Awaitable, Callable

from tests.chaos.stack import LEASE, Stack
from tests.support.processes import stopped

PAUSE_SECONDS = 2, 6  # between two faults
SPELL_SECONDS = 5, 40
SHORT_SPELL_SECONDS = 3, 15
PAST_LEASE_SECONDS = LEASE + 1, 3 * LEASE
PROMOTION_SECONDS = 0, 5
JUMP_SECONDS = 10, 3600
TABLES = ["journal", "generations", "workers", "messages"]
OFTEN = ["worker", "connections"]  # twice in each round


async def kill_worker(stack: Stack) -> None:
    """kill -9 a worker, and start it again"""
    worker = random.choice(stack.workers)
    with stack.absence(is_death=True):
        await worker.end(signal.SIGKILL)
        await worker.start()
    stack.done["workers killed"] += 1


async def restart_worker(stack: Stack) -> None:
    """end a worker by SIGTERM, and start it again"""
    worker = random.choice(stack.workers)
    with stack.absence():
        await worker.end(signal.SIGTERM)
        await worker.start()
    stack.done["workers restarted"] += 1


async def kill_database(stack: Stack) -> None:
    """kill -9 PostgreSQL, and start it again"""
    await asyncio.to_thread(stack.servers.kill)
    stack.done["database killed"] += 1


async def cut_connections(stack: Stack) -> None:
    """cut half of the database connections"""
    wires = [wire for worker in stack.workers for wire in worker.wires]
    before = sum(wire.cuts for wire in wires)
    for wire in wires:
        wire.drop(0.5)
    stack.done["database connections cut"] += sum(wire.cuts for wire in wires) - before


async def hang(stack: Stack) -> None:
    """stop PostgreSQL by SIGSTOP for 5 to 40 s"""
    postmaster = stack.servers.primary.pid
    assert postmaster is not None
    async with stopped(postmaster):
        await spell(stack, "database hangs", SPELL_SECONDS)


async def lock(stack: Stack) -> None:
    """lock a table in access exclusive mode for 5 to 40 s"""
    table = random.choice(TABLES)
    connection = await stack.servers.connect()
    async with connection.transaction():
        await connection.execute(f"lock table {table} in access exclusive mode")
        await spell(stack, f"locks of {table}", SPELL_SECONDS)
    await connection.close()


async def read_only(stack: Stack) -> None:
    """let PostgreSQL take no writes for 3 to 15 s"""
    connection = await stack.servers.connect()
    await connection.execute("alter system set default_transaction_read_only = on")
    await connection.execute("select pg_reload_conf()")
    await spell(stack, "read-only spells", SHORT_SPELL_SECONDS)
    await connection.execute("alter system reset default_transaction_read_only")
    await connection.execute("select pg_reload_conf()")
    await connection.close()


async def fail_over(stack: Stack) -> None:
    """kill -9 the primary, and promote its synchronous standby"""
    await stack.servers.fail_over(random.uniform(*PROMOTION_SECONDS))
    stack.done["failovers"] += 1


async def jump(stack: Stack) -> None:
    """set PostgreSQL's clock by 10 s to an hour, ahead or back, and right again (needs libfaketime)"""
    assert stack.clock is not None
    ahead = random.choice([True, False])
    seconds = random.uniform(*JUMP_SECONDS)
    stack.clock.set(seconds if ahead else -seconds)
    connection = await stack.servers.connect()
    server_time = await connection.fetchval("select extract(epoch from clock_timestamp())")
    assert abs(float(server_time) - time.time()) > JUMP_SECONDS[0] / 2, "libfaketime does nothing"
    await connection.close()
    await spell(
        stack, "jumps of the clock ahead" if ahead else "jumps of the clock back", SHORT_SPELL_SECONDS
    )
    stack.clock.set(0)


async def cut_off(stack: Stack) -> None:
    """cut one worker off from the database for longer than its lease"""
    worker = random.choice(stack.workers)
    way = random.choice(["cut", "ignored", "held"])
    deaf = [connection for wire in worker.wires for connection in wire.connections]
    for wire in worker.wires:
        match way:
            case "cut":
                wire.cut()
            case "ignored":
                wire.arrivals = "ignore"
                wire.ignore()
            case _:
                wire.hang()
    with stack.absence():
        await spell(stack, f"workers cut off alone ({way})", PAST_LEASE_SECONDS)
    for wire in worker.wires:
        wire.mend()
        wire.resume()
    if way == "ignored":  # by now the server's keep-alives would have found them; the worker isn't told
        for connection in deaf:
            connection.ends[-1].transport.abort()


async def pause_worker(stack: Stack) -> None:
    """stop a worker by SIGSTOP for longer than its lease"""
    pid = random.choice(stack.workers).pid
    with stack.absence():
        async with stopped(pid):
            await spell(stack, "workers paused", PAST_LEASE_SECONDS)


KINDS: dict[str, Callable[[Stack], Awaitable[None]]] = {
    "worker": kill_worker,
    "restart": restart_worker,
    "database": kill_database,
    "connections": cut_connections,
    "hang": hang,
    "lock": lock,
    "read-only": read_only,
    "failover": fail_over,
    "clock": jump,
    "cut-off": cut_off,
    "pause": pause_worker,
}


async def havoc(stack: Stack, kinds: list[str], until: float) -> None:
    """Do something every few seconds, each kind once a round, until the loop's clock reaches a time."""
    loop = asyncio.get_running_loop()
    round_: list[str] = []
    while loop.time() < until:
        await asyncio.sleep(random.uniform(*PAUSE_SECONDS))
        if not round_:
            round_ = [*kinds, *(kind for kind in OFTEN if kind in kinds)]
            random.shuffle(round_)
        await KINDS[round_.pop()](stack)


async def spell(stack: Stack, what: str, seconds: tuple[float, float]) -> None:
    """Let a fault last, and count it."""
    length = random.uniform(*seconds)
    stack.done[what] += 1
    stack.lasted[what] += round(length)
    await asyncio.sleep(length)
