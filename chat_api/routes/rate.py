"""How often something may happen."""

from __future__ import annotations


class TokenBucket:
    """Lets so many through at once, and as many again in the course of `seconds`."""

    def __init__(self, size: int, seconds: float) -> None:
        self._size = size
        self._a_second = size / seconds
        self._left = float(size)
        self._looked: float | None = None

    def take(self, now: float) -> bool:
        """Whether there is one left; takes it. `now`: seconds of any clock that only goes forward."""
        if self._looked is not None:
            self._left = min(self._size, self._left + (now - self._looked) * self._a_second)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
