"""What the service costs, beside nginx and bare statements, in one run: `make bench`.

Prints the table of bench/README.md; `--write` puts it there, and the graphs beside it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import psycopg
import uvloop

from bench import buffers, chart, parts
from bench.accounting import resident
from bench.statements import requested
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations

FOLDER = Path(__file__).parent
TOKENS, RATE, RUNS = 150, 30.0, 3
OLD_SERVICE = {"list": 3.1, "get": 4.0, "create": 4.7}  # milliseconds of processor time a request
STATEMENTS = 1500
LONG_TOKENS, BUSY_RATE, COLD_RATE = 600, 150.0, 50.0


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    figure: str
    goal: str
    measured: str
    met: bool | None  # None: for comparison

    def __str__(self) -> str:
        met = {True: "yes", False: "**no**", None: ""}[self.met]
        return f"| {self.figure} | {self.goal} | {self.measured} | {met} |"


Points = dict[str, list[tuple[float, float]]]


def tokens(database_url: str, folder: Path, runs: int) -> tuple[list[Row], Points]:
    """What a relayed token costs: one reader over either transport, further readers, many streams."""
    rows: list[Row] = []
    points: Points = {}
    with (
        parts.neighbours(TOKENS, RATE) as model,
        parts.nginx(folder, model) as proxy,
        parts.floor("relay", model) as copy,
        parts.service(database_url, model) as chat,
    ):
        parts.load(*chat, streams=50, tokens=TOKENS)  # connections and statements are made once

        def measure(where: tuple[int, int], times: int, **options: object) -> tuple[float, int]:
            seen = [parts.load(*where, tokens=TOKENS, **options) for _ in range(times)]
            cost = statistics.median(each["cpu"] / each["tokens"] * 1e6 for each in seen)
            return cost, sum(each["lost"] for each in seen)

        for count in (25, 100, 400):
            times = runs if count > 25 else 1
            costs, lost = {}, 0
            for name, where, more in (
                ("nginx", proxy, {}),
                ("server-sent events", chat, {}),
                ("WebSocket", chat, {"websocket": True}),
                ("copying", copy, {}),
            ):
                costs[name], missing = measure(where, times, streams=count, **more)
                points.setdefault(name, []).append((count, costs[name]))
                lost += missing
            if count == 25:
                continue
            for name, goal in (("server-sent events", 1.6), ("WebSocket", 1.8)):
                ratio = costs[name] / costs["nginx"]
                rows.append(
                    Row(
                        f"CPU a token, one reader, {name}, {count} streams",
                        f"≤ {goal} × nginx",
                        f"{ratio:.2f} × ({costs[name]:.1f} µs, nginx {costs['nginx']:.1f} µs; {lost} lost)",
                        ratio <= goal and not lost,
                    )
                )
            rows.append(
                Row(
                    f"CPU a token, a relay on uvloop that only copies bytes, {count} streams",
                    "",
                    f"{costs['copying'] / costs['nginx']:.2f} × ({costs['copying']:.1f} µs)",
                    None,
                )
            )
            if count == 100:
                three, missing = measure(chat, times, streams=count, readers=3)
                # Counted a token and reader: three readers cost one and two further ones.
                further = (three * 3 - costs["server-sent events"]) / 2
                rows.append(
                    Row(
                        "CPU a token, each further reader, 100 streams",
                        "≤ 0.6 × nginx",
                        f"{further / costs['nginx']:.2f} × ({further:.1f} µs; {missing} lost)",
                        further <= 0.6 * costs["nginx"] and not missing,
                    )
                )
    return rows, points


def busy(database_url: str, folder: Path) -> list[Row]:
    """Where the time goes: a token without its answer's beginning and end, at two paces."""
    rows = []
    for rate, count in ((RATE, LONG_TOKENS), (BUSY_RATE, LONG_TOKENS)):
        with (
            parts.neighbours(count, rate) as model,
            parts.nginx(folder, model) as proxy,
            parts.service(database_url, model) as chat,
        ):
            parts.load(*chat, streams=50, tokens=count)
            cost, least = (
                (each := parts.load(*where, streams=100, tokens=count))["cpu"] / each["tokens"] * 1e6
                for where in (chat, proxy)
            )
        rows.append(
            Row(
                f"CPU a token of answers with {count} tokens, 100 streams at {rate:.0f} tokens/s",
                "",
                f"{cost / least:.2f} × ({cost:.1f} µs, nginx {least:.1f} µs)",
                None,
            )
        )
    with parts.neighbours(3, 0) as model, parts.service(database_url, model) as chat:
        parts.load(*chat, answers=200)
        hot = parts.load(*chat, answers=1500)
        cold = parts.load(*chat, answers=400, rate=COLD_RATE)
    rows.append(
        Row(
            "CPU an answer of three tokens: beginning and end",
            "",
            f"{hot['cpu'] * 1000:.2f} ms without rest ({hot['rate']:.0f} a second), "
            f"{cold['cpu'] * 1000:.2f} ms at {COLD_RATE:.0f} a second",
            None,
        )
    )
    return rows


def many(database_url: str) -> tuple[list[Row], float]:
    """A thousand streams at once on one worker; the cost of a token too."""
    with parts.neighbours(TOKENS, RATE) as model, parts.service(database_url, model) as chat:
        time.sleep(1)
        idle = resident(chat[1])
        direct = parts.load(model, chat[1], streams=1000, tokens=TOKENS, direct=True)
        seen = parts.load(*chat, streams=1000, tokens=TOKENS)
    a_stream = seen["peak"] - idle  # megabytes of a thousand are kilobytes of one
    return [
        Row(
            "1,000 live streams at 30 tokens/s on one worker: tokens lost",
            "0",
            str(seen["lost"]),
            not seen["lost"],
        ),
        Row(
            "the same: 99th percentile of the gap between tokens",
            "≤ 100 ms",
            f"{seen['longest_gaps'] * 1000:.0f} ms (read from the model server directly: "
            f"{direct['longest_gaps'] * 1000:.0f} ms)",
            seen["longest_gaps"] <= 0.1,
        ),
        Row("memory a live stream, both sockets", "≤ 40 KB", f"{a_stream:.0f} KB", a_stream <= 40),
        Row("memory of the idle process", "≤ 75 MB", f"{idle:.0f} MB", idle <= 75),
    ], seen["cpu"] / seen["tokens"] * 1e6


def first_token(database_url: str, runs: int) -> list[Row]:
    """What the service adds to the time to the first token."""
    with parts.neighbours(30, RATE) as model, parts.service(database_url, model) as chat:
        parts.load(*chat, streams=50, tokens=30)
        added = statistics.median(
            parts.load(*chat, streams=50, tokens=30)["first_token"]
            - parts.load(model, chat[1], streams=50, tokens=30, direct=True)["first_token"]
            for _ in range(runs)
        )
    return [
        Row(
            "time to the first token added, 50 streams, median",
            "≤ 5 ms",
            f"{added * 1000:.1f} ms",
            added <= 0.005,
        )
    ]


def requests(database_url: str, runs: int) -> list[Row]:
    """List, get and create, beside the bare statement on a held connection."""
    user = uuid4()
    rows = []
    with (
        parts.neighbours(1, RATE) as model,
        parts.service(database_url, model) as chat,
        parts.floor("handler", database_url, user) as plain,
    ):
        conversation = uvloop.run(_fill(database_url, user))
        for kind, path in (
            ("create", "/api/conversations"),
            ("list", "/api/conversations"),
            ("get", f"/api/conversations/{conversation}"),
        ):
            parts.load(*chat, requests=kind, path=path, user=user, seconds=0.5)
            asked, alone, bare = [], [], []
            for _ in range(runs):
                asked.append(parts.load(*chat, requests=kind, path=path, user=user, seconds=3)["cpu"] * 1e6)
                alone.append(parts.load(*plain, requests=kind, path=path, user=user, seconds=3)["cpu"] * 1e6)
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
    return rows


async def _fill(database_url: str, user: UUID) -> UUID:
    """Fifty conversations of a user; one with twenty messages, which is returned."""
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
    """Microseconds of this process's time that a statement takes on a held connection."""
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


def start(database_url: str) -> list[Row]:
    """From the command to the first answer."""
    taken = []
    with parts.neighbours(1, RATE) as model:
        for _ in range(5):
            began = time.monotonic()
            with parts.service(database_url, model):
                taken.append(time.monotonic() - began)
    best, worst = min(taken), max(taken)
    middle = statistics.median(taken)
    return [
        Row(
            "start of `serve` to its first answer",
            "≤ 0.7 s",
            f"{middle:.2f} s ({best:.2f}–{worst:.2f})",
            middle <= 0.7,
        )
    ]


def queries(postgres: Postgres) -> tuple[list[Row], dict[str, tuple[int, int]]]:
    """PostgreSQL's buffers that each hot statement touches, in a small history and in a large one."""
    small, large = (_touched(postgres, *size) for size in ((1_000, 10_000), (100_000, 1_000_000)))
    grown = {case: large[case].buffers - small[case].buffers for case in small}
    more = {case: by for case, by in grown.items() if by > 2}
    scanned = sorted({table for each in large.values() for table in each.scanned})
    row = Row(
        "buffers a hot statement touches, 10⁶ messages against 10⁴",
        "≤ 2 more, no sequential scan",
        f"{len(grown) - len(more)} of {len(grown)} within it; "
        + "; ".join(f"{case}: {by} more" for case, by in sorted(more.items()))
        + f"; sequential scans: {', '.join(scanned) or 'none'}",
        not more and not scanned,
    )
    return [row], {case: (small[case].buffers, large[case].buffers) for case in small}


def _touched(postgres: Postgres, conversations: int, messages: int) -> dict[str, buffers.Touched]:
    name = f"history_{messages}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        apply_migrations(postgres.dsn(name))
        with psycopg.connect(postgres.dsn(name), autocommit=True) as connection:
            buffers.fill(connection, conversations, messages)
            touched = buffers.measure(connection)
        admin.execute(f"drop database {name} with (force)")
    return touched


def describe() -> str:
    """When, where and with what."""
    names = ("aiohttp", "asyncpg", "uvloop", "httptools", "orjson")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {libraries}, "
        f"{parts.nginx_version()}"
    )


def write(table: str) -> None:
    """Put the table into bench/README.md, between its marks."""
    path = FOLDER / "README.md"
    text = re.sub(
        r"(<!-- table.*?-->\n).*?(<!-- /table -->)",
        lambda marks: f"{marks[1]}{table}\n{marks[2]}",
        path.read_text(),
        flags=re.S,
    )
    path.write_text(text)


def main() -> None:
    """Measure, print, and write it down where that is asked for."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each figure (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=PARTS, default=PARTS, help="measure these parts alone")
    parser.add_argument("--write", action="store_true", help="put table and graphs into bench/")
    options = parser.parse_args()
    rows: list[Row] = []
    points: Points = {}
    touched: dict[str, tuple[int, int]] = {}
    with (
        tempfile.TemporaryDirectory(prefix="chat-api-bench-") as name,
        Postgres(Path(name) / "data", settings={"max_connections": "200"}) as postgres,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may have to run as another user
        dsn = postgres.dsn()
        apply_migrations(dsn)
        if "tokens" in options.only:
            found, points = tokens(dsn, folder, options.runs)
            rows += found
        if "busy" in options.only:
            rows += busy(dsn, folder)
        if "many" in options.only:
            found, cost = many(dsn)
            rows += found
            points.setdefault("server-sent events", []).append((1000, cost))
        if "first-token" in options.only:
            rows += first_token(dsn, options.runs)
        if "requests" in options.only:
            rows += requests(dsn, options.runs)
        if "queries" in options.only:
            found, touched = queries(postgres)
            rows += found
        if "start" in options.only:
            rows += start(dsn)
    lines = ["| Figure | Goal | Measured | Met |", "|---|---|---|---|", *map(str, rows)]
    table = "\n".join([*lines, "", f"{describe()}."])
    sys.stdout.write(f"{table}\n")
    if options.write:
        write(table)
        if points:
            chart.lines(
                FOLDER / "tokens.svg",
                "Processor time a relayed token",
                "streams at 30 tokens/s",
                "µs",
                points,
            )
        if touched:
            chart.bars(
                FOLDER / "buffers.svg",
                "Buffers that a hot statement touches",
                "buffers",
                touched,
                ("10⁴ messages", "10⁶ messages"),
            )


PARTS = ["tokens", "busy", "many", "first-token", "requests", "queries", "start"]

if __name__ == "__main__":
    main()
