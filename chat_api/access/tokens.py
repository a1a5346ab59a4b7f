"""Who is asking: bearer tokens checked with the auth service (docs/contract.md section 4), and cached."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import aiohttp
import structlog
from aiocache import SimpleMemoryCache
from aiocache.plugins import BasePlugin
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from chat_api import errors
from chat_api.access.sign_in_failures import SignInFailures
from chat_api.errors import describe
from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from chat_api.settings.rate import Rate

log = structlog.get_logger(__name__)

MAX_TOKEN_CHARACTERS = 8192  # a larger header would not have come through aiohttp either


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user. `expires_at`: Unix seconds at which the token ends, infinity where it doesn't say."""

    user_id: UUID
    is_admin: bool
    expires_at: float


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: UUID
    is_admin: bool | None = None


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")
    exp: Annotated[float, Field(allow_inf_nan=False)] | None = None  # NaN would never be past


class _Validation(BaseModel):
    model_config = ConfigDict(extra="ignore")
    valid: bool
    user: _User | None = None
    claims: _Claims | None = None


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
    """Turns a token into a Principal, asking the auth service at most once for a token at a time.

    A good answer is believed for `auth_cache_seconds`, never past the token's expiry; a refusal for
    `auth_negative_cache_seconds`; a failure of the auth service is not remembered. Tokens are kept as digests
    only.
    """

    def __init__(
        self,
        settings: Settings,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._session = session
        self._metrics = metrics
        self._now = now
        self._cache = SimpleMemoryCache(timeout=None, plugins=[_SizeLimit(settings.auth_cache_size)])
        self._calls: dict[str, asyncio.Task[Principal | None]] = {}
        self._failures = SignInFailures(Rate.parse(settings.sign_in_failures_per_address))

    async def verify(self, token: str, whose: Callable[[], str | None] = lambda: None) -> Principal:
        """The token's user.

        Raises InvalidToken when it is refused or expired, AuthBroken and AuthUnavailable when it can't be
        checked, and TooManySignInFailures when it won't be, because the auth service has refused so many
        from the address that `whose` tells. Tokens that are known, good or bad, are answered all the same:
        who shares the address and is signed in goes on, and who repeats one bad token is no attacker.
        """
        if not token or len(token) > MAX_TOKEN_CHARACTERS or not token.isascii() or not token.isprintable():
            raise errors.InvalidToken
        digest = hashlib.blake2b(token.encode(), digest_size=32).hexdigest()
        known = await self._cache.get(digest)
        if known is None:
            principal = await self._ask_once(digest, token, whose())
        else:
            self._metrics.auth_lookups.labels("cache").inc()
            principal = known or None
        if principal is None or principal.expires_at <= self._now():
            raise errors.InvalidToken
        return principal

    async def close(self) -> None:
        """End the calls that are under way."""
        calls = list(self._calls.values())
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)

    async def _ask_once(self, digest: str, token: str, address: str | None) -> Principal | None:
        self._failures.check(address)
        call = self._calls.get(digest)
        self._metrics.auth_lookups.labels("service" if call is None else "shared").inc()
        if call is None:
            call = asyncio.create_task(self._ask(digest, token, address), name="auth-validate")
            self._calls[digest] = call
            call.add_done_callback(lambda done: self._forget(digest, done))
        # Shielded: one caller that leaves must not fail the others that wait for the same answer.
        return await asyncio.shield(call)

    def _forget(self, digest: str, call: asyncio.Task[Principal | None]) -> None:
        del self._calls[digest]
        if not call.cancelled():
            call.exception()  # seen, though everyone who waited may have left

    async def _ask(self, digest: str, token: str, address: str | None) -> Principal | None:
        began = time.perf_counter()
        try:
            principal = await self._call(token)
        except errors.ChatError as error:
            self._metrics.auth_calls.labels(error.code).inc()
            raise
        finally:
            self._metrics.auth_call_duration.observe(time.perf_counter() - began)
        self._metrics.auth_calls.labels("refused" if principal is None else "valid").inc()
        if principal is None:
            self._failures.note(address)
            seconds = self._settings.auth_negative_cache_seconds
        else:
            seconds = min(self._settings.auth_cache_seconds, principal.expires_at - self._now())
        if seconds > 0:
            await self._cache.set(digest, principal or False, ttl=seconds)
        return principal

    async def _call(self, token: str) -> Principal | None:
        url = f"{self._settings.auth_service_url}/auth/validate"
        try:
            async with self._session.post(
                url,
                json={"token": token},
                headers={"X-Internal-API-Key": self._settings.internal_api_key.get_secret_value()},
                timeout=aiohttp.ClientTimeout(total=self._settings.auth_timeout),
                allow_redirects=False,
            ) as response:
                body = await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("auth_unavailable", reason=describe(error))
            raise errors.AuthUnavailable from error
        if status == 401:
            return None
        if status in (429, 502, 503, 504):
            log.warning("auth_unavailable", status=status)
            raise errors.AuthUnavailable
        if status != 200:
            hint = "INTERNAL_API_KEY is not the auth service's" if status == 403 else "unexpected status"
            log.error("auth_broken", status=status, reason=hint)
            raise errors.AuthBroken
        return self._read(body)

    def _read(self, body: bytes) -> Principal | None:
        try:
            answer = _Validation.model_validate_json(body)
        except ValidationError as error:
            fields: list[Any] = [problem["loc"] for problem in error.errors(include_input=False)]
            log.error("auth_broken", reason="the answer has not the agreed form", fields=fields)
            raise errors.AuthBroken from None
        if not answer.valid:
            return None
        if answer.user is None:
            log.error("auth_broken", reason="a valid token without a user")
            raise errors.AuthBroken
        expires_at = answer.claims.exp if answer.claims and answer.claims.exp is not None else float("inf")
        return Principal(answer.user.id, answer.user.is_admin is True, expires_at)
