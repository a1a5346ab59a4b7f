"""The metrics of the model servers, see docs/operations/metrics.md."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set

from prometheus_client import CollectorRegistry, Counter, Gauge

States = Callable[[], Mapping[str, tuple[int, int, int]]]
"""Of each server: its streams, who waits for one, and its breaker's state (0, 1 or 2)."""


class ModelServerMetrics:
    """What each server is asked, and how it is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tries = Counter(
            "chat_server_tries",
            "Calls to model servers by what became of them: answered, busy (all slots were taken), stopped, "
            "or an error code.",
            ("server", "model", "outcome"),
            registry=registry,
        )
        self._streams = Gauge(
            "chat_server_streams",
            "Streams of each model server now.",
            ("server",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._waiting = Gauge(
            "chat_server_waiting",
            "Answers that wait for a slot of a model server.",
            ("server",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._state = Gauge(
            "chat_server_state",
            "A model server's breaker: 0 closed, 1 half-open, 2 open (others are asked first); of several "
            "workers, the worst.",
            ("server",),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._states: States = dict
        self._shown: Set[str] = frozenset()  # the servers that the gauges have

    def expect(self, server: str, model: str, outcomes: Iterable[str]) -> None:
        """Start a server's and model's counts at 0, so that Prometheus sees their first increase."""
        for outcome in outcomes:
            self._tries.labels(server, model, outcome)

    def tried(self, server: str, model: str, outcome: str) -> None:
        """Count a try."""
        self._tries.labels(server, model, outcome).inc()

    def watch(self, states: States) -> None:
        """Export what this returns."""
        self._states = states
        self.look()

    def look(self) -> None:
        """Update the gauges."""
        states = self._states()
        for server in self._shown - states.keys():
            # Else a server that is in the file no more would keep its last figures, maybe an open breaker.
            for gauge in (self._streams, self._waiting, self._state):
                gauge.remove(server)
        self._shown = states.keys()
        for server, (streams, waiting, state) in states.items():
            self._streams.labels(server).set(streams)
            self._waiting.labels(server).set(waiting)
            self._state.labels(server).set(state)
