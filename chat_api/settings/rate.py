"""Rates: how often something may happen."""

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
    """`count` at once, and as many again in the course of a period."""

    count: int
    period: timedelta

    @classmethod
    @lru_cache(maxsize=64)
    def parse(cls, text: str) -> Rate | None:
        """Read a rate such as `30/minute`. None for `0`, no limit. Raises ValueError."""
        if text == "0":
            return None
        known = re.fullmatch(rf"([0-9]{{1,7}})/({'|'.join(PERIODS)})", text, re.ASCII)
        if known is None or not 1 <= int(known[1]) <= MOST:
            raise ValueError(
                f"must be a rate such as 30/minute, from 1 to {MOST} per {', '.join(PERIODS)}; or 0, no limit"
            )
        return cls(int(known[1]), PERIODS[known[2]])

    @property
    def every(self) -> timedelta:
        """The time until one more is free. It is rounded down, so that `count` fit into the period."""
        return self.period // self.count
