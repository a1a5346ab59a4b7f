"""What limits refused: counted each time, and told in the log now and then."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from chat_api.observe.metrics import Metrics

logger = structlog.get_logger(__name__)

SECONDS = 60  # between two lines about the same limit and the same caller
MOST_CALLERS = 1000


class Refusals:
    """Counts, and writes a line that names the limit and who ran into it.

    Not a line for each: whoever floods the service shall not flood its log.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._metrics = metrics
        self._now = now
        self._told: dict[tuple[str, str], float] = {}

    def note(self, limit: str, remote: str, user_id: str | None = None) -> None:
        """The limit named so, a setting in lower case, refused this caller something."""
        self._metrics.refusals.labels(limit).inc()
        caller, now = (limit, user_id or remote), self._now()
        if now - self._told.get(caller, -SECONDS) < SECONDS:
            return
        if len(self._told) >= MOST_CALLERS:
            self._told.clear()
        self._told[caller] = now
        logger.warning("limit_reached", limit=limit, remote=remote)
