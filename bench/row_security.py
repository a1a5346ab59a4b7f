"""What the second wall between users costs each hot statement: `python -m bench.row_security`.

Prints the buffers without and with the wall. Prints the median microseconds that a caller waits for the
statement on an open connection (client, socket and server): if it didn't say for whom it works, as it is, and
behind the wall. Then prints what it would cost to say so in separate statements.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import uvloop

from bench.buffers import fill, touched
from bench.plans import MODES, Connection
from bench.statements import HOT, Parameters
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.postgres.queries import Query, load_queries

SCRIPT = Path(__file__).parent.parent / "deploy" / "postgresql" / "row-security.sql"
SAYING = re.compile(r"\(select chat_for_\w+\([^)]*\)\)")
ROLE = "bench_service"


def look_up(connection: Connection) -> dict[str, Parameters]:
    """Each case's parameters, looked up in the database."""
    return {
        case: {name: _value(connection, each) for name, each in given.items()} for case, given in HOT.items()
    }


def _value(connection: Connection, given: Any) -> Any:
    if isinstance(given, str) and given.startswith("select "):
        ((given,),) = connection.execute(given).fetchall()
    return given


def buffers(connection: Connection, cases: dict[str, Parameters]) -> dict[str, int]:
    """What each case touches, with the worse of a custom and a generic plan."""
    return {
        case: max(touched(connection, case, given, mode).buffers for mode in MODES)
        for case, given in cases.items()
    }


async def waited(owner: str, service: str, cases: dict[str, Parameters], runs: int) -> dict[str, list[float]]:
    """Microseconds for each case without saying for whom, saying it, and behind the wall; rolled back."""
    free, walled = await asyncpg.connect(owner), await asyncpg.connect(service)
    try:
        found = {}
        for case, given in cases.items():
            query = load_queries()[case.partition(",")[0]]
            ways = [(free, SAYING.sub("true", query.text)), (free, query.text), (walled, query.text)]
            times: list[list[float]] = [[], [], []]
            for run in range(runs + 10):
                for way in ((0, 1, 2), (1, 2, 0), (2, 0, 1))[run % 3]:  # so that none is always first
                    (connection, text), taken = ways[way], times[way]
                    seconds = await _once(connection, text, _arguments(query, given))
                    if run >= 10:  # makes plans and fills caches
                        taken.append(seconds * 1e6)
            found[case] = [statistics.median(taken) for taken in times]
        return found
    finally:
        await free.close()
        await walled.close()


def _arguments(query: Query, given: Parameters) -> list[Any]:
    return [given[name] for name in query.parameters]


async def _once(connection: asyncpg.Connection[asyncpg.Record], text: str, arguments: list[Any]) -> float:
    transaction = connection.transaction()
    await transaction.start()
    began = time.perf_counter()
    await connection.fetch(text, *arguments)
    seconds = time.perf_counter() - began
    await transaction.rollback()
    return seconds


async def round_trips(dsn: str, given: Parameters, runs: int) -> list[tuple[str, float, float]]:
    """Ways to say for whom `conversations.get` works: microseconds of this process, and waited in all."""
    query = load_queries()["conversations.get"]
    say = "select set_config('chat.user_id', $1, {}), set_config('chat.conversation_id', $2, {})"
    who = [str(given["user_id"]), str(given["id"])]
    connection = await asyncpg.connect(dsn)

    async def ask() -> None:
        await connection.fetchrow(query.text, *_arguments(query, given))

    async def ask_after_saying() -> None:
        await connection.fetchrow(say.format("false", "false"), *who)
        await ask()

    async def ask_in_a_transaction() -> None:
        await connection.execute("begin")
        await connection.fetchrow(say.format("true", "true"), *who)
        await ask()
        await connection.execute("commit")

    ways = {"in the statement": ask, "before it": ask_after_saying, "in a transaction": ask_in_a_transaction}
    used, waiting = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for _ in range(runs * 5):
        for name, way in ways.items():
            began, before = time.perf_counter(), time.process_time()
            await way()
            used[name] += time.process_time() - before
            waiting[name] += time.perf_counter() - began
    found = [(name, used[name] / runs / 5 * 1e6, waiting[name] / runs / 5 * 1e6) for name in ways]
    await connection.close()
    return found


def main() -> None:
    """Fill a history, measure, print a table."""
    parser = argparse.ArgumentParser(prog="python -m bench.row_security", description=__doc__)
    parser.add_argument(
        "--messages", type=int, default=1_000_000, help="messages in the history (default: %(default)s)"
    )
    parser.add_argument("--runs", type=int, default=300, help="runs of each statement (default: %(default)s)")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="chat-api-bench-") as name,
        Postgres(Path(name) / "data", settings={"fsync": "off", "autovacuum": "off"}) as postgres,
    ):
        Path(name).chmod(0o755)  # PostgreSQL may have to run as another user
        apply_migrations(postgres.dsn())
        service = postgres.dsn().replace("//postgres@", f"//{ROLE}@")
        with psycopg.connect(postgres.dsn(), autocommit=True, prepare_threshold=None) as owner:
            owner.execute(f"create role {ROLE} login")
            owner.execute("select chat_grant(%s)", (ROLE,))
            fill(owner, options.messages // 10, options.messages)
            cases = look_up(owner)
            without = buffers(owner, cases)
            command = [binaries(None) / "psql", "-X", "-q", postgres.dsn(), "-f", SCRIPT]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            owner.execute("vacuum")
            with psycopg.connect(service, autocommit=True, prepare_threshold=None) as walled:
                behind = buffers(walled, cases)
            owner.execute("vacuum")
        taken = uvloop.run(waited(postgres.dsn(), service, cases, options.runs))
        others = uvloop.run(round_trips(postgres.dsn(), cases["conversations.get"], options.runs))
    sys.stdout.write(
        "| Statement | Buffers | behind the wall | µs, silent | saying for whom | behind the wall |\n"
    )
    sys.stdout.write("|---|---|---|---|---|---|\n")
    for case in HOT:
        silent, said, walled_time = taken[case]
        cells = [
            case,
            f"{without[case]}",
            f"{behind[case]} ({behind[case] / without[case] - 1:+.0%})",
            f"{silent:.0f}",
            f"{said:.0f} ({said / silent - 1:+.0%})",
            f"{walled_time:.0f} ({walled_time / said - 1:+.0%})",
        ]
        sys.stdout.write(f"| {' | '.join(cells)} |\n")
    sys.stdout.write("\n| conversations.get, said | µs of the client | µs waited |\n|---|---|---|\n")
    for name, used, waiting in others:
        sys.stdout.write(f"| {name} | {used:.0f} | {waiting:.0f} |\n")


if __name__ == "__main__":
    main()
