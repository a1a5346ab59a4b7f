"""The cost of listing, getting and creating conversations, beside the bare statement on one connection."""

from __future__ import annotations

import resource
import statistics
from uuid import UUID, uuid4

import asyncpg
import uvloop

from bench import processes
from bench.measured import RATE, Measured, Row, Setup
from bench.statements import requested

OLD_SERVICE = {"list": 3.1, "get": 4.0, "create": 4.7}  # milliseconds of processor time a request
STATEMENTS = 1500


def measure(setup: Setup) -> Measured:
    """Send each kind of request to the service, and to a handler with nothing but the libraries."""
    database_url = setup.database_url
    user = uuid4()
    rows = []
    with (
        processes.neighbours(1, RATE) as model,
        processes.service(database_url, model) as chat,
        processes.floor("handler", database_url, user) as plain,
    ):
        conversation = uvloop.run(_fill(database_url, user))
        for kind, path in (
            ("create", "/api/conversations"),
            ("list", "/api/conversations"),
            ("get", f"/api/conversations/{conversation}"),
        ):
            request = {"requests": kind, "path": path, "user": user}
            processes.load(*chat, **request, seconds=0.5)
            asked, alone, bare = [], [], []
            for _ in range(setup.runs):
                asked.append(processes.load(*chat, **request, seconds=3)["cpu"] * 1e6)
                alone.append(processes.load(*plain, **request, seconds=3)["cpu"] * 1e6)
                bare.append(uvloop.run(_bare(database_url, kind, user, conversation)))
            cost, statement = statistics.median(asked), statistics.median(bare)
            goal = OLD_SERVICE[kind] * 1000 / 8
            rows.append(
                Row(
                    f"CPU a request, {kind}",
                    f"≤ {goal:.0f} µs (1/8 of the old service's) and ≤ 2.5 × the bare statement",
                    f"{cost:.0f} µs; {cost / statement:.1f} × ({statement:.0f} µs)",
                    cost <= goal and cost <= 2.5 * statement,
                )
            )
            libraries = statistics.median(alone)
            rows.append(
                Row(
                    f"CPU a request, {kind}: aiohttp and asyncpg alone, with the same statement",
                    "",
                    f"{libraries:.0f} µs; {libraries / statement:.1f} ×",
                    None,
                )
            )
    return Measured(rows)


async def _fill(database_url: str, user: UUID) -> UUID:
    """Store fifty conversations of a user, and return the one that has twenty messages."""
    connection = await asyncpg.connect(database_url)
    try:
        ids = await connection.fetch(
            "insert into conversations (user_id, title) "
            "select $1, 'bench' from generate_series(1, 50) returning id",
            user,
        )
        await connection.execute(
            "insert into messages (conversation_id, role, content) select $1, "
            "case i % 2 when 0 then 'user' else 'assistant' end, repeat('hello there ', 20) "
            "from generate_series(1, 20) as i",
            ids[0]["id"],
        )
        conversation: UUID = ids[0]["id"]
        return conversation
    finally:
        await connection.close()


async def _bare(database_url: str, kind: str, user: UUID, conversation: UUID) -> float:
    """Measure the microseconds of this process's time that a statement takes on a held connection."""
    text, arguments = requested(kind, user, conversation)
    connection = await asyncpg.connect(database_url, command_timeout=10)
    try:
        for _ in range(50):
            await connection.fetch(text, *arguments)
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(STATEMENTS):
            await connection.fetch(text, *arguments)
        after = resource.getrusage(resource.RUSAGE_SELF)
    finally:
        await connection.close()
    return (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / STATEMENTS * 1e6
