"""How often something may happen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

PERIODS = {
    "second": timedelta(seconds=1),
    "minute": timedelta(minutes=1),
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
}
MOST = 1_000_000


@dataclass(frozen=True, slots=True)
class Rate:
    """So many at once, and as many again in the course of a period."""

    count: int
    period: timedelta

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, text: str) -> Rate | None:
        """Read `30/minute`; None for `0`, no limit. Raises ValueError."""
        if text == "0":
            return None
        known = re.fullmatch(rf"([0-9]{{1,7}})/({'|'.join(PERIODS)})", text, re.ASCII)
        if known is None or not 1 <= int(known[1]) <= MOST:
            raise ValueError(
                f"must be a rate such as 30/minute, of 1 to {MOST}, by {', '.join(PERIODS)}; or 0, no limit"
            )
        return cls(int(known[1]), PERIODS[known[2]])

    @property
    def every(self) -> timedelta:
        """After so long one more is free; rounded down, so that `count` of them fit into the period."""
        return self.period // self.count


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
