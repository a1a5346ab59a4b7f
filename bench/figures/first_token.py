"""What the service adds to the time to the first token."""

from __future__ import annotations

import statistics

from bench import processes
from bench.measured import RATE, Measured, Row, Setup


def measure(setup: Setup) -> Measured:
    """Compare answers read through the service with answers read from the model server directly."""
    with processes.neighbours(30, RATE) as model, processes.service(setup.database_url, model) as chat:
        processes.load(*chat, streams=50, tokens=30)
        added = statistics.median(
            processes.load(*chat, streams=50, tokens=30)["first_token"]
            - processes.load(model, chat[1], streams=50, tokens=30, direct=True)["first_token"]
            for _ in range(setup.runs)
        )
    row = Row(
        "time to the first token added, 50 streams, median",
        "≤ 5 ms",
        f"{added * 1000:.1f} ms",
        added <= 0.005,
    )
    return Measured([row])
