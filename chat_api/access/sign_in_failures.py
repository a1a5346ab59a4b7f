"""Sign-ins that failed, by the address they came from."""

from __future__ import annotations

import time
from collections.abc import Callable

from chat_api import errors
from chat_api.access.token_bucket import TokenBucket
from chat_api.settings.rate import Rate

MOST_ADDRESSES = 10_000


class SignInFailures:
    """Spares the auth service an address whose tokens it has refused too often of late.

    In this worker's memory: a count that all workers shared would cost a write for each forged token, which
    is what a flood of them wants. So an address has its allowance at each worker. A full allowance is the
    same as none, and of the rest the oldest goes when there are too many. Tokens that came all at once were
    let through before the first of them had failed: those beyond the allowance are owed.
    """

    def __init__(self, rate: Rate | None, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, address: str | None) -> None:
        """Raises TooManySignInFailures, for an address that has to wait. None is never told to."""
        bucket = self._buckets.get(address or "")
        if bucket is not None and (seconds := bucket.wait(self._now())) > 0:
            raise errors.TooManySignInFailures(seconds)

    def note(self, address: str | None) -> None:
        """Count a failure."""
        if self._rate is None or address is None:
            return
        bucket = self._buckets.pop(address, None) or TokenBucket(self._rate)
        self._buckets[address] = bucket  # now the newest
        bucket.owe(self._now())
        if len(self._buckets) > MOST_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
