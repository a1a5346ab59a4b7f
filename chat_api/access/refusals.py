"""What limits refused: counted each time, logged now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from chat_api.observe.metrics import Metrics

logger = structlog.get_logger(__name__)

SECONDS = 60  # between two log lines about the same limit and caller
MAX_CALLERS = 1000


class Refusals:
    """Counts refusals, and logs the limit and the caller that reached it.

    Not every refusal is logged, so that a flood of requests doesn't flood the log.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._now = now
        self._logged: dict[tuple[str, str], float] = {}

    def note(self, limit: str, remote: str, user_id: str | None = None) -> None:
        """Count and perhaps log a refusal; `limit` is the name of its setting in lower case."""
        self._metrics.refusals.labels(limit).inc()
        caller, now = (limit, user_id or remote), self._now()
        if now - self._logged.get(caller, -SECONDS) < SECONDS:
            return
        if len(self._logged) >= MAX_CALLERS:
            self._logged.clear()
        self._logged[caller] = now
        logger.warning("limit_reached", limit=limit, remote=remote)
