"""The Prometheus figures: names, units, what they count. Those of a supervisor's workers are added up."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import cache

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own: where workers keep what one of them tells
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)

disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each one, that nobody asks for


class Metrics:
    """Every figure lives here, under an own registry, so that applications and tests don't share them."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "chat_requests", "Answered HTTP requests.", ["method", "route", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            "chat_request_seconds",
            "Seconds from a request to the end of its answer; streams and sockets are left out.",
            ["route"],
            buckets=LATENCY,
            registry=registry,
        )
        self.generations = Counter(
            "chat_generations", "Ended generations by their last state.", ["status"], registry=registry
        )
        self.live_generations = Gauge(
            "chat_live_generations",
            "Generations that run now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.first_token_seconds = Histogram(
            "chat_first_token_seconds",
            "Seconds from the call to the model server to its first token.",
            buckets=FIRST_TOKEN,
            registry=registry,
        )
        self.tokens = Counter(
            "chat_tokens", "Tokens relayed; counted when a generation ends.", registry=registry
        )
        self.sockets = Gauge("chat_sockets", "WebSockets that are open now.", registry=registry)
        self.socket_commands = Counter(
            "chat_socket_commands",
            "Frames of WebSocket clients by type; `unknown`: not one of the contract's.",
            ["type"],
            registry=registry,
        )
        self.refusals = Counter(
            "chat_refusals",
            "What limits refused, by the setting that names the limit, in lower case.",
            ["limit"],
            registry=registry,
        )
        self.auth_lookups = Counter(
            "chat_auth_lookups",
            "Tokens checked, by where the answer came from.",
            ["source"],
            registry=registry,
        )
        self.auth_calls = Counter(
            "chat_auth_calls", "Calls to the auth service by outcome.", ["outcome"], registry=registry
        )

        self._connections = Gauge(
            "chat_database_connections",
            "Connections of the pools by state; other workers' are a few seconds old.",
            ["state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._tasks = Gauge(
            "chat_tasks", "Asyncio tasks of the workers.", registry=registry, multiprocess_mode="livesum"
        )
        self._pool: Callable[[], tuple[int, int]] = lambda: (0, 0)
        # The library looks a series up by its labels under a lock, which costs more than counting. Methods,
        # routes and statuses are few: aiohttp refuses other methods before a handler sees them.
        self._answered = cache(self.requests.labels)
        self._took = cache(self.request_seconds.labels)

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request; `seconds` is how long it took, None for a stream or a socket."""
        self._answered(method, route, status).inc()
        if seconds is not None:
            self._took(route).observe(seconds)

    def watch_pool(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Report a pool's (open, idle) connections."""
        self._pool = connections
        self.look()

    def look(self) -> None:
        """Note what isn't counted as it changes. Every few seconds: another worker may be asked for it."""
        opened, idle = self._pool()
        self._connections.labels("idle").set(idle)
        self._connections.labels("busy").set(opened - idle)
        self._tasks.set(len(asyncio.all_tasks()))

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format, whichever worker is asked."""
        self.look()
        if FOLDER not in os.environ:
            return generate_latest(self.registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
