"""Where the time goes: a token at two paces, without its answer's start and end, and these two alone."""

from __future__ import annotations

from bench import processes
from bench.measured import RATE, Measured, Row, Setup

LONG_TOKENS, BUSY_RATE, COLD_RATE = 600, 150.0, 50.0


def measure(setup: Setup) -> Measured:
    """Relay answers so long that their start and end hardly count, and answers that are little else."""
    rows = []
    for rate, count in ((RATE, LONG_TOKENS), (BUSY_RATE, LONG_TOKENS)):
        with (
            processes.neighbours(count, rate) as model,
            processes.nginx(setup.folder, model) as proxy,
            processes.service(setup.database_url, model) as chat,
        ):
            processes.load(*chat, streams=50, tokens=count)
            cost, least = (
                (each := processes.load(*where, streams=100, tokens=count))["cpu"] / each["tokens"] * 1e6
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
    with processes.neighbours(3, 0) as model, processes.service(setup.database_url, model) as chat:
        processes.load(*chat, answers=200)
        hot = processes.load(*chat, answers=1500)
        cold = processes.load(*chat, answers=400, rate=COLD_RATE)
    rows.append(
        Row(
            "CPU an answer of three tokens: beginning and end",
            "",
            f"{hot['cpu'] * 1000:.2f} ms without rest ({hot['rate']:.0f} a second), "
            f"{cold['cpu'] * 1000:.2f} ms at {COLD_RATE:.0f} a second",
            None,
        )
    )
    return Measured(rows)
