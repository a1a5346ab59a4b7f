"""A thousand streams at once on one worker: tokens lost, how evenly they arrive, and memory."""

from __future__ import annotations

import time

from bench import processes
from bench.accounting import resident
from bench.measured import RATE, TOKENS, Measured, Row, Setup


def measure(setup: Setup) -> Measured:
    """Read a thousand answers from the model server directly, then through the service."""
    with processes.neighbours(TOKENS, RATE) as model, processes.service(setup.database_url, model) as chat:
        time.sleep(1)
        idle = resident(chat[1])
        direct = processes.load(model, chat[1], streams=1000, tokens=TOKENS, direct=True)
        seen = processes.load(*chat, streams=1000, tokens=TOKENS)
    a_stream = seen["peak"] - idle  # megabytes for a thousand are kilobytes for one
    rows = [
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
    ]
    return Measured(rows, {"server-sent events": [(1000, seen["cpu"] / seen["tokens"] * 1e6)]})
