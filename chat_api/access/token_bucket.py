"""A token bucket: lets a rate through, and not more."""

from __future__ import annotations

from chat_api.settings.rate import Rate


class TokenBucket:
    """Holds as many as the rate lets through at once, and fills again."""

    def __init__(self, rate: Rate) -> None:
        self._size = rate.count
        self._a_second = rate.count / rate.period.total_seconds()
        self._left = float(rate.count)
        self._looked: float | None = None

    def take(self, now: float) -> bool:
        """Whether there is one left; takes it. `now`: seconds of any clock that only goes forward."""
        if self.wait(now) > 0:
            return False
        self._left -= 1
        return True

    def owe(self, now: float) -> None:
        """Take one that has been used already, there or not: what is owed is waited for, a period at most."""
        self.wait(now)
        self._left = max(1.0 - self._size, self._left - 1)

    def wait(self, now: float) -> float:
        """Seconds until there is one; 0 where there is."""
        if self._looked is not None:
            self._left = min(self._size, self._left + (now - self._looked) * self._a_second)
        self._looked = now
        return max(0.0, 1 - self._left) / self._a_second
