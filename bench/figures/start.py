"""How long the service takes to start."""

from __future__ import annotations

import statistics
import time

from bench import processes
from bench.measured import RATE, Measured, Row, Setup

STARTS = 5


def measure(setup: Setup) -> Measured:
    """Time the service from the command to its first answer."""
    taken = []
    with processes.neighbours(1, RATE) as model:
        for _ in range(STARTS):
            began = time.monotonic()
            with processes.service(setup.database_url, model):
                taken.append(time.monotonic() - began)
    best, worst = min(taken), max(taken)
    middle = statistics.median(taken)
    row = Row(
        "start of `serve` to its first answer",
        "≤ 0.7 s",
        f"{middle:.2f} s ({best:.2f}–{worst:.2f})",
        middle <= 0.7,
    )
    return Measured([row])
