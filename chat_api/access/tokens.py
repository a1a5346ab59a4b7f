"""Bearer tokens: checked by the door that takes them (doors.py), and cached.

http/bearer.py takes them from requests, transports/websocket/session.py from frames.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from aiocache import SimpleMemoryCache
from aiocache.plugins import BasePlugin

from chat_api import errors
from chat_api.access.principal import Principal
from chat_api.access.sign_in_failures import SignInFailures
from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from chat_api.settings.rate import Rate

if TYPE_CHECKING:
    from chat_api.access.doors import Door

MAX_TOKEN_CHARACTERS = 8192  # a larger header would not have come through aiohttp either


class _SizeLimit(BasePlugin):  # type: ignore[misc]
    """Bounds aiocache's memory cache, which has no limit of its own: the oldest entry goes first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size
        self._keys: dict[str, None] = {}

    async def post_set(self, client: SimpleMemoryCache, key: str, *_: object, **__: object) -> None:
        self._keys.pop(key, None)
        self._keys[key] = None
        if len(self._keys) > self._size:
            oldest = next(iter(self._keys))
            del self._keys[oldest]
            await client.delete(oldest)


class TokenVerifier:
    """Turns a token into a Principal. There is at most one check of a token at a time.

    A valid token is cached for its door's `seconds`, but never past its expiry. A refusal is cached for
    `auth_negative_cache_seconds`. Checks that failed are not cached. Only digests of tokens are kept.
    """

    def __init__(
        self,
        settings: Settings,
        doors: Sequence[Door],
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`doors`: the first one that takes a token checks it, and no other one sees it."""
        self._settings = settings
        self._doors = doors
        self._metrics = metrics
        self._now = now
        self._cache = SimpleMemoryCache(timeout=None, plugins=[_SizeLimit(settings.auth_cache_size)])
        self._calls: dict[str, asyncio.Task[Principal | None]] = {}
        self.failures = SignInFailures(Rate.parse(settings.sign_in_failures_per_address))

    async def verify(self, token: str, address: Callable[[], str | None] = lambda: None) -> Principal:
        """The token's user. `address` returns the caller's address, if it is to be limited.

        Raises InvalidToken if the token is refused or expired, and AuthBroken, AuthUnavailable or
        DatabaseUnavailable if it can't be checked. Raises TooManySignInFailures without a check if too many
        tokens from that address were refused. Cached tokens, good or bad, are still answered: a signed-in
        user who shares the address isn't affected, and a client that repeats one bad token isn't an attacker.
        """
        if not token or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise errors.InvalidToken
        digest = hashlib.blake2b(token.encode(), digest_size=32).hexdigest()
        known = await self._cache.get(digest)
        if known is None:
            principal = await self._ask_once(digest, token, address())
        else:
            self._metrics.auth_lookups.labels("cache").inc()
            principal = known or None
        if principal is None or principal.expires_at <= self._now():
            raise errors.InvalidToken
        return principal

    async def close(self) -> None:
        """End the checks that are under way."""
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        for door in self._doors:
            await door.close()

    def takes(self, token: str) -> bool:
        """Whether the token has the form of those that are checked here."""
        return any(door.takes(token) for door in self._doors)

    async def _ask_once(self, digest: str, token: str, address: str | None) -> Principal | None:
        door = next((door for door in self._doors if door.takes(token)), None)
        if door is None:
            return None
        self.failures.check(address)
        call = self._calls.get(digest)
        self._metrics.auth_lookups.labels(door.name if call is None else "shared").inc()
        if call is None:
            call = asyncio.create_task(self._ask(door, digest, token, address), name="auth-validate")
            self._calls[digest] = call
            call.add_done_callback(lambda done: self._forget(digest, done))
        # Shielded, so that a caller that leaves doesn't fail the others that wait for the same answer.
        return await asyncio.shield(call)

    def _forget(self, digest: str, call: asyncio.Task[Principal | None]) -> None:
        del self._calls[digest]
        if not call.cancelled():
            call.exception()  # retrieved, since everyone who waited may have left

    async def _ask(self, door: Door, digest: str, token: str, address: str | None) -> Principal | None:
        began = time.perf_counter()
        try:
            principal = await door.ask(token)
        except errors.ChatError as error:
            self._metrics.auth_calls.labels(error.code).inc()
            raise
        finally:
            self._metrics.auth_call_duration.observe(time.perf_counter() - began)
        self._metrics.auth_calls.labels("refused" if principal is None else "valid").inc()
        if principal is None:
            self.failures.note(address)
            seconds = self._settings.auth_negative_cache_seconds
        else:
            seconds = min(door.seconds, principal.expires_at - self._now())
        if seconds > 0:
            await self._cache.set(digest, principal or False, ttl=seconds)
        return principal
