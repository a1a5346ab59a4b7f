"""The Prometheus figures of one application: names, units and what they count."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATENCY = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
FIRST_TOKEN = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60)


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
            "chat_live_generations", "Generations that this worker runs now.", registry=registry
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
        self.auth_lookups = Counter(
            "chat_auth_lookups",
            "Tokens checked, by where the answer came from.",
            ["source"],
            registry=registry,
        )
        self.auth_calls = Counter(
            "chat_auth_calls", "Calls to the auth service by outcome.", ["outcome"], registry=registry
        )

    def watch_pool(self, connections: Callable[[], tuple[int, int]]) -> None:
        """Report a pool's (open, idle) connections at each scrape."""
        self.registry.register(_Pool(connections))

    def exposition(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self.registry)


class _Pool(Collector):
    def __init__(self, connections: Callable[[], tuple[int, int]]) -> None:
        self._connections = connections

    def collect(self) -> Iterator[GaugeMetricFamily]:
        opened, idle = self._connections()
        family = GaugeMetricFamily(
            "chat_database_connections", "Connections of the pool by state.", labels=["state"]
        )
        family.add_metric(["idle"], idle)
        family.add_metric(["busy"], opened - idle)
        yield family
