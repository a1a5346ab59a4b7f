"""A token bucket, for WebSocket commands and failed sign-ins: lets a rate through, and no more."""

from __future__ import annotations

from chat_api.settings.rate import Rate


class TokenBucket:
    """Holds as many tokens as the rate lets through at once, and refills at the rate's pace."""

    def __init__(self, rate: Rate) -> None:
        self._size = rate.count
        self._per_second = rate.count / rate.period.total_seconds()
        self._left = float(rate.count)
        self._refilled_at: float | None = None

    def take(self, now: float) -> bool:
        """Take a token if there is one. `now`: seconds of any clock that only goes forward."""
        if self.wait(now) > 0:
            return False
        self._left -= 1
        return True

    def owe(self, now: float) -> None:
        """Take a token that has been used already, even if none is left. A debt is paid within a period."""
        self.wait(now)
        self._left = max(1.0 - self._size, self._left - 1)

    def wait(self, now: float) -> float:
        """Seconds until there is a token; 0 if there is one now."""
        if self._refilled_at is not None:
            self._left = min(self._size, self._left + (now - self._refilled_at) * self._per_second)
        self._refilled_at = now
        return max(0.0, 1 - self._left) / self._per_second
