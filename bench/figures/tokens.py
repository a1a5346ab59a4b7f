"""The cost of a relayed token: for one reader over either transport, for more readers, for many streams."""

from __future__ import annotations

import statistics

from bench import processes
from bench.measured import RATE, TOKENS, Measured, Points, Row, Setup


def measure(setup: Setup) -> Measured:
    """Compare the service with nginx, and with a relay that only copies bytes."""
    rows: list[Row] = []
    points: Points = {}
    with (
        processes.neighbours(TOKENS, RATE) as model,
        processes.nginx(setup.folder, model) as proxy,
        processes.floor("relay", model) as copy,
        processes.service(setup.database_url, model) as chat,
    ):
        processes.load(*chat, streams=50, tokens=TOKENS)  # opens connections, prepares statements

        def cost_of(where: tuple[int, int], times: int, **options: object) -> tuple[float, int]:
            seen = [processes.load(*where, tokens=TOKENS, **options) for _ in range(times)]
            cost = statistics.median(each["cpu"] / each["tokens"] * 1e6 for each in seen)
            return cost, sum(each["lost"] for each in seen)

        for count in (25, 100, 400):
            times = setup.runs if count > 25 else 1
            costs, lost = {}, 0
            for name, where, websocket in (
                ("nginx", proxy, False),
                ("server-sent events", chat, False),
                ("WebSocket", chat, True),
                ("copying", copy, False),
            ):
                costs[name], missing = cost_of(where, times, streams=count, websocket=websocket)
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
                three, missing = cost_of(chat, times, streams=count, readers=3)
                # Counted per token and reader: three readers cost as much as one reader and two more.
                further = (three * 3 - costs["server-sent events"]) / 2
                rows.append(
                    Row(
                        "CPU a token, each further reader, 100 streams",
                        "≤ 0.6 × nginx",
                        f"{further / costs['nginx']:.2f} × ({further:.1f} µs; {missing} lost)",
                        further <= 0.6 * costs["nginx"] and not missing,
                    )
                )
    return Measured(rows, points)
