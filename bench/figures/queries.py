"""The PostgreSQL buffers that each hot statement touches, in a small history and in a large one."""

from __future__ import annotations

import psycopg

from bench import buffers
from bench.measured import Measured, Row, Setup
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations

SMALL, LARGE = (1_000, 10_000), (100_000, 1_000_000)
"""Conversations and messages."""


def measure(setup: Setup) -> Measured:
    """Measure the same statements on both histories."""
    small, large = (_touched(setup.postgres, *size) for size in (SMALL, LARGE))
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
    return Measured([row], pairs={case: (small[case].buffers, large[case].buffers) for case in small})


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
