"""Measures what the service costs, beside nginx and bare statements, in one run: `make bench`.

Prints the table of bench/README.md. With `--write`, puts it into that file, and the graphs beside it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import sys
import tempfile
from collections.abc import Collection
from importlib.metadata import version
from pathlib import Path

from bench import chart, processes
from bench.figures import FIGURES
from bench.measured import Measured, Row, Setup
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations

FOLDER = Path(__file__).parent
RUNS = 3


def main() -> None:
    """Measure the requested figures, and print or write their table."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    names = list(FIGURES)
    parser.add_argument("--runs", type=int, default=RUNS, help="runs of each figure (default: %(default)s)")
    parser.add_argument("--only", nargs="*", choices=names, default=names, help="measure only these figures")
    parser.add_argument("--write", action="store_true", help="put the table and the graphs into bench/")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="chat-api-bench-") as name,
        Postgres(Path(name) / "data", settings={"max_connections": "200"}) as postgres,
    ):
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL may have to run as another user
        apply_migrations(postgres.dsn())
        found = measure(options.only, Setup(postgres, folder, options.runs))
    text = f"{table(found.rows)}\n\n{describe()}."
    sys.stdout.write(f"{text}\n")
    if options.write:
        write(text)
        draw(found)


def measure(names: Collection[str], setup: Setup) -> Measured:
    """Measure these figures, one after the other, in the order of the table."""
    found = Measured([])
    for name, figure in FIGURES.items():
        if name in names:
            found.add(figure(setup))
    return found


def table(rows: list[Row]) -> str:
    """The rows as a Markdown table, with its header."""
    return "\n".join(["| Figure | Goal | Measured | Met |", "|---|---|---|---|", *map(str, rows)])


def describe() -> str:
    """A sentence that says when, where and with which libraries this was measured."""
    names = ("aiohttp", "asyncpg", "uvloop", "httptools", "orjson")
    libraries = ", ".join(f"{name} {version(name)}" for name in names)
    return (
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {platform.machine()}, "
        f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {libraries}, "
        f"{processes.nginx_version()}"
    )


def write(text: str) -> None:
    """Put the table and its description into bench/README.md, between the marks."""
    path = FOLDER / "README.md"
    page = re.sub(
        r"(<!-- table.*?-->\n).*?(<!-- /table -->)",
        lambda marks: f"{marks[1]}{text}\n{marks[2]}",
        path.read_text(),
        flags=re.S,
    )
    path.write_text(page)


def draw(found: Measured) -> None:
    """Draw the graphs for which something was measured."""
    if found.points:
        chart.lines(
            FOLDER / "tokens.svg",
            "Processor time a relayed token",
            "streams at 30 tokens/s",
            "µs",
            found.points,
        )
    if found.pairs:
        chart.bars(
            FOLDER / "buffers.svg",
            "Buffers that a hot statement touches",
            "buffers",
            found.pairs,
            ("10⁴ messages", "10⁶ messages"),
        )


if __name__ == "__main__":
    main()
