"""The pace of retention, and the WAL of deleting and of partitioning: `python -m bench.maintenance`.

On PostgreSQL's own settings, with the data on disk. Prints, for conversations of two and of ten messages: the
median milliseconds of a batch of the sweep, the conversations a second that this makes with the service's
pauses, and the WAL of each. Then it copies the messages into partitions, without and with wal_compression.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psycopg

from bench.buffers import fill
from bench.plans import Connection
from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.postgres.queries import load_queries
from chat_api.upkeep.cleaning import GENTLE, SWEEP_BLOCKS, SWEEP_ROWS

TABLES = ("conversations", "messages", "generations", "journal", "inactive_messages", "queued_messages")
SCRIPTS = Path(__file__).parent.parent / "deploy" / "postgresql" / "partition-messages"
DAYS = 1


def prepare(connection: Connection, conversations: int, each: int) -> None:
    """Fill it with ended conversations that are due, on logged tables."""
    fill(connection, conversations, conversations * each)
    for table in TABLES:
        connection.execute(f"alter table {table} set logged")
    connection.execute(
        "update generations set status = 'completed', finished_at = now() where status = 'running'"
    )
    connection.execute("update conversations set updated_at = now() - interval '9 days'")
    connection.execute("vacuum analyze")
    connection.execute("checkpoint")


def sweep(connection: Connection, batches: int) -> tuple[list[float], int, int]:
    """Seconds of each batch, the conversations deleted, the bytes of WAL."""
    query, block = load_queries()["retention.sweep"], 0
    given = {"days": DAYS, "favourites": True, "blocks": SWEEP_BLOCKS, "max_rows": SWEEP_ROWS}
    took, gone, before = [], 0, position(connection)
    connection.execute(f"prepare sweep as {query.text}")
    for _ in range(batches):
        values = ", ".join(str({**given, "first_block": block}[name]) for name in query.parameters)
        began = time.perf_counter()
        row = connection.execute(f"execute sweep({values})").fetchone()
        took.append(time.perf_counter() - began)
        assert row is not None
        gone += row[0]
        if row[1] is None:
            break
        block = row[1]
    return took, gone, position(connection) - before


def position(connection: Connection) -> int:
    """Where the WAL is."""
    row = connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
    assert row is not None
    return int(row[0])


def partition(connection: Connection, url: str, scripts: tuple[str, ...]) -> None:
    """Run some of the scripts."""
    for script in scripts:
        subprocess.run(
            ["psql", "-qX", "-f", script, url],
            check=True, cwd=SCRIPTS, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": f"{binaries(None)}:{os.environ['PATH']}"},
        )  # fmt: skip


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.maintenance", description=__doc__)
    parser.add_argument("--conversations", type=int, default=20_000, help="a multiple of 500")
    parser.add_argument("--batches", type=int, default=100, help="of the sweep")
    options = parser.parse_args()
    out = sys.stdout.write
    with tempfile.TemporaryDirectory(prefix="chat-api-bench-") as folder:
        Path(folder).chmod(0o755)
        with (
            Postgres(Path(folder) / "data") as server,
            psycopg.connect(server.dsn(), autocommit=True) as admin,
        ):
            for each in (2, 10):
                admin.execute(f"create database of_{each}")
                url = server.dsn(f"of_{each}")
                apply_migrations(url)
                with psycopg.connect(url, autocommit=True) as connection:
                    prepare(connection, options.conversations, each)
                    if each == 10:
                        copy_twice(connection, url)
                    connection.execute("checkpoint")
                    took, gone, wal = sweep(connection, options.batches)
                seconds = sum(took)
                out(
                    f"sweep, {each} messages each: {1000 * statistics.median(took):.0f} ms a batch"
                    f" (longest {1000 * max(took):.0f}), {gone / seconds / (1 + GENTLE):.0f} conversations"
                    f" a second with the service's pauses, {gone / seconds:.0f} without;"
                    f" {wal / gone / 1024:.1f} KB of WAL each\n"
                )


def copy_twice(connection: Connection, url: str) -> None:
    """Copy into partitions and undo it, without and with wal_compression; print the WAL."""
    ((table,),) = connection.execute("select pg_total_relation_size('messages')").fetchall()
    for compression in ("off", "pglz"):
        connection.execute(f"alter system set wal_compression = {compression}")
        connection.execute("select pg_reload_conf()")
        connection.execute("checkpoint")
        before, began = position(connection), time.perf_counter()
        partition(connection, url, ("1-prepare.sql", "2-copy.sql"))
        wal, seconds = position(connection) - before, time.perf_counter() - began
        partition(connection, url, ("undo.sql",))
        sys.stdout.write(
            f"partitioning {table / 2**20:.0f} MB, wal_compression {compression}:"
            f" {wal / 2**20:.0f} MB of WAL ({wal / table:.1f} times), {seconds:.0f} s\n"
        )
    connection.execute("alter system reset wal_compression")
    connection.execute("select pg_reload_conf()")


if __name__ == "__main__":
    main()
