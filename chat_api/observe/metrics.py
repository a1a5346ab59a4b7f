"""The Prometheus metrics: their names, units and meanings. Operators have docs/operations/metrics.md.

The values of a supervisor's workers are added up, unless a metric's help says otherwise. Nothing here runs
for each token.
"""

from __future__ import annotations

import asyncio
import os
import platform
import time
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

from chat_api import __version__
from chat_api.observe.model_servers import ModelServerMetrics

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's own: where workers share their metrics
LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
STATEMENT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 10)
FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)
PER_TOKEN = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1)
GENERATION = (0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600)
LAG = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and nobody uses them


class Metrics:
    """All metrics, in a registry of their own, so that applications and tests don't share them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge, histogram = self._counter, self._gauge, self._histogram

        self.requests = counter("chat_requests", "Answered HTTP requests.", "method", "route", "status")
        self.request_duration = histogram(
            "chat_request_duration_seconds",
            "From a request to the end of its response, without streams and sockets.",
            LATENCY,
            "route",
        )
        self.errors = counter("chat_errors", "Refused requests and socket commands by error code.", "code")
        self.streams = gauge("chat_streams", "Event streams that are open now.")
        self.sockets = gauge("chat_sockets", "WebSockets that are open now.")
        self.socket_commands = counter(
            "chat_socket_commands",
            "Frames of WebSocket clients by type; `unknown`: a type that the contract doesn't have.",
            "type",
        )
        self.refusals = counter(
            "chat_refusals",
            "What limits refused, by the setting that names the limit, in lower case.",
            "limit",
        )
        self.readers_cut = counter(
            "chat_readers_cut", "Readers that were cut because they took nothing for too long.", "transport"
        )

        self.generations = counter(
            "chat_generations",
            "Ended generations by final status and reason: a finish reason or an error code.",
            "status",
            "reason",
        )
        self.live_generations = gauge("chat_live_generations", "Generations that are running now.")
        self.generation_duration = histogram(
            "chat_generation_duration_seconds", "From the call to the model server to its end.", GENERATION
        )
        self.time_to_first_token = histogram(
            "chat_time_to_first_token_seconds",
            "From the call to the model server to its first token.",
            FIRST_TOKEN,
            "server",
            "model",
        )
        self.time_per_token = histogram(
            "chat_time_per_token_seconds",
            "Mean time between an answer's tokens, counted when it ends.",
            PER_TOKEN,
            "server",
            "model",
        )
        self.servers = ModelServerMetrics(self.registry)
        self.tokens = counter("chat_tokens", "Tokens relayed; counted when a generation ends.")
        self.titles = counter(
            "chat_titles",
            "Titles that TITLE_MODEL was to make: made, kept (the conversation has another one), empty, "
            "failed, skipped.",
            "outcome",
        )

        self._journal_events = counter(
            "chat_journal_events", "Events written to the journal; for tokens, grows with each tick."
        )
        self._last_tick = gauge(
            "chat_journal_last_tick_timestamp_seconds",
            "When the journal was last written; of several workers, the earliest.",
            mode="livemin",
        )
        self._cluster_workers = gauge(
            "chat_cluster_workers", "Workers of all machines that hold a lease.", mode="livemax"
        )
        self._workers = gauge("chat_workers", "Worker processes behind this endpoint.")
        self._housekept = gauge(
            "chat_housekeeping_last_run_timestamp_seconds",
            "When housekeeping last completed, by any worker.",
            mode="livemax",
        )

        self.auth_lookups = counter(
            "chat_auth_lookups", "Tokens checked, by where the answer came from.", "source"
        )
        self.auth_calls = counter("chat_auth_calls", "Tokens checked anew, by outcome.", "outcome")
        self.auth_call_duration = histogram(
            "chat_auth_call_duration_seconds", "Checks of tokens anew.", LATENCY
        )

        self.statement_duration = histogram(
            "chat_database_statement_duration_seconds",
            "Statements by their name in sql/, without the wait for a connection.",
            STATEMENT,
            "query",
        )
        self.database_errors = counter(
            "chat_database_errors",
            "Statements that failed: unavailable (not reached, or too late), not_migrated, right_missing, "
            "failed.",
            "error",
        )
        self.connection_wait = histogram(
            "chat_database_connection_wait_seconds",
            "Waits for a connection of the pool when none was idle.",
            STATEMENT,
        )
        self._connections = gauge("chat_database_connections", "Connections of the pools by state.", "state")
        self._connections_limit = gauge(
            "chat_database_connections_limit", "Connections that the pools may open (DATABASE_POOL_MAX)."
        )

        self._in_flight = gauge(
            "chat_requests_in_flight", "Requests being answered now, streams and sockets among them."
        )
        self._tasks = gauge("chat_tasks", "Asyncio tasks of the workers.")
        self.loop_lag = histogram(
            "chat_event_loop_lag_seconds", "How late the event loop runs what is due.", LAG
        )
        self._build = gauge(
            "chat_build_info", "Always 1; the labels say what runs.", "version", "python", mode="livemax"
        )

        self.in_flight = 0  # a plain number, exported by `look`, so that it costs a request next to nothing
        self._pool: Callable[[], tuple[int, int]] = lambda: (0, 0)
        # The library looks up a series by its labels under a lock, which costs more than counting. The cache
        # stays small, since aiohttp refuses unknown methods before a handler sees them.
        self._answered = cache(self.requests.labels)
        self._took = cache(self.request_duration.labels)
        self._begin()

    def answered(self, method: str, route: str, status: int, seconds: float | None) -> None:
        """Count a request; `seconds` is how long it took, None for a stream or a socket."""
        self._answered(method, route, status).inc()
        if seconds is not None:
            self._took(route).observe(seconds)

    def ticked(self, events: int, workers: int) -> None:
        """Count a write to the journal: its events, and the workers that hold a lease."""
        self._journal_events.inc(events)
        self._last_tick.set(time.time())
        self._cluster_workers.set(workers)

    def housekept(self) -> None:
        """Note that housekeeping has completed."""
        self._housekept.set(time.time())

    def watch_pool(self, limit: int, connections: Callable[[], tuple[int, int]]) -> None:
        """Export a pool's (open, idle) connections, and how many it may open."""
        self._connections_limit.set(limit)
        self._pool = connections
        self.look()

    def expect(self, counter: Counter, *labels: str | tuple[str, ...]) -> None:
        """Start series at 0: Prometheus sees no increase in a series that starts with its first event."""
        for values in labels:
            counter.labels(*((values,) if isinstance(values, str) else values))

    def look(self) -> None:
        """Update the gauges that aren't set as they change.

        Called every few seconds, since a scrape may reach another worker.
        """
        opened, idle = self._pool()
        self._connections.labels("idle").set(idle)
        self._connections.labels("busy").set(opened - idle)
        self.servers.look()
        self._in_flight.set(self.in_flight)
        self._tasks.set(len(asyncio.all_tasks()))

    async def exposition(self) -> bytes:
        """All metrics in Prometheus's text format, with those of the supervisor's other workers."""
        self.look()
        registry = self.registry
        if FOLDER in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        # This takes 11 ms for four workers' metrics. In a thread, it doesn't hold up streams.
        return await asyncio.to_thread(generate_latest, registry)

    def _begin(self) -> None:
        self._build.labels(__version__, platform.python_version()).set(1)
        self._workers.set(1)
        self._last_tick.set(time.time())  # else a worker without a tick would seem to have ticked in 1970
        self.expect(self.readers_cut, "http", "sse", "websocket")
        self.expect(self.titles, "made", "kept", "empty", "failed", "skipped")
        self.expect(self.auth_lookups, "cache", "service", "shared")
        self.expect(self.database_errors, "unavailable", "not_migrated", "right_missing", "failed")

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(name, text, labels, registry=self.registry, multiprocess_mode=mode)  # type: ignore[arg-type]

    def _histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)
