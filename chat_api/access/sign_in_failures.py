"""Failed sign-ins, by the address they came from."""

from __future__ import annotations

import time
from collections.abc import Callable

from chat_api import errors
from chat_api.access.token_bucket import TokenBucket
from chat_api.settings.rate import Rate

MAX_ADDRESSES = 10_000


class SignInFailures:
    """Spares the auth service the addresses whose tokens it has refused too often of late.

    The counts are in this worker's memory. Counts shared by all workers would cost a write for each forged
    token, which is what a flood of them aims at. So an address has its allowance at each worker. When there
    are too many addresses, the one that failed longest ago is dropped. Tokens that arrive all at once are let
    through before the first of them has failed. Those beyond the allowance become a debt.
    """

    def __init__(self, rate: Rate | None, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._now = now
        self._buckets: dict[str, TokenBucket] = {}

    def check(self, address: str | None) -> None:
        """Raises TooManySignInFailures if the address has to wait. None never has to."""
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
        if len(self._buckets) > MAX_ADDRESSES:
            del self._buckets[next(iter(self._buckets))]
