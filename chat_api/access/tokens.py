"""Bearer tokens, checked with the auth service (docs/contract.md section 4) and cached.

http/bearer.py takes them from requests, transports/websocket/session.py from frames.
"""

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
from pydantic import BaseModel, ConfigDict, Field, StrictBool, StrictFloat, ValidationError

from chat_api import errors
from chat_api.access.sign_in_failures import SignInFailures
from chat_api.errors import describe
from chat_api.neighbours.answers import UnreadableAnswer, read_answer
from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from chat_api.settings.rate import Rate

log = structlog.get_logger(__name__)

MAX_TOKEN_CHARACTERS = 8192  # a larger header would not have come through aiohttp either
MAX_ANSWER_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class Principal:
    """A signed-in user. `expires_at`: when the token expires, in Unix seconds; infinity if it doesn't say."""

    user_id: UUID
    is_admin: bool
    expires_at: float


class _User(BaseModel):
    model_config = ConfigDict(extra="ignore")
    id: UUID
    is_admin: StrictBool | None = None  # pydantic's bool would also accept "true", "yes" and 1
    email: Any = None
    email_verified: Any = True  # what doesn't speak of it vouches for its addresses


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore")
    exp: Annotated[StrictFloat, Field(allow_inf_nan=False)] | None = None  # NaN would never be past
    email_verified: Any = True


class _Validation(BaseModel):
    model_config = ConfigDict(extra="ignore")
    valid: StrictBool
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
    """Turns a token into a Principal. There is at most one call to the auth service for a token at a time.

    A valid token is cached for `auth_cache_seconds`, but never past its expiry. A refusal is cached for
    `auth_negative_cache_seconds`. Failures of the auth service are not cached. Only digests of tokens are
    kept.
    """

    def __init__(
        self,
        settings: Settings,
        session: aiohttp.ClientSession,
        metrics: Metrics,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`session` must not decompress."""
        self._settings = settings
        self._session = session
        self._metrics = metrics
        self._now = now
        self._admin_email = _folded(settings.admin_email)
        self._cache = SimpleMemoryCache(timeout=None, plugins=[_SizeLimit(settings.auth_cache_size)])
        self._calls: dict[str, asyncio.Task[Principal | None]] = {}
        self._failures = SignInFailures(Rate.parse(settings.sign_in_failures_per_address))

    async def verify(self, token: str, address: Callable[[], str | None] = lambda: None) -> Principal:
        """The token's user. `address` returns the caller's address, if it is to be limited.

        Raises InvalidToken if the token is refused or expired, and AuthBroken or AuthUnavailable if it can't
        be checked. Raises TooManySignInFailures without a check if the auth service has refused too many
        tokens from that address. Cached tokens, good or bad, are still answered: a signed-in user who shares
        the address isn't affected, and a client that repeats one bad token isn't an attacker.
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
        # Shielded, so that a caller that leaves doesn't fail the others that wait for the same answer.
        return await asyncio.shield(call)

    def _forget(self, digest: str, call: asyncio.Task[Principal | None]) -> None:
        del self._calls[digest]
        if not call.cancelled():
            call.exception()  # retrieved, since everyone who waited may have left

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
                body = await read_answer(response, MAX_ANSWER_BYTES)
                status = response.status
        except UnreadableAnswer as error:
            log.error("auth_broken", reason=str(error))
            raise errors.AuthBroken from error
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
            log.error("auth_broken", reason="the response doesn't have the agreed form", fields=fields)
            raise errors.AuthBroken from None
        if not answer.valid:
            return None
        if answer.user is None:
            log.error("auth_broken", reason="a valid token without a user")
            raise errors.AuthBroken
        expires_at = answer.claims.exp if answer.claims and answer.claims.exp is not None else float("inf")
        is_admin = answer.user.is_admin is True or self._is_admins_address(answer.user, answer.claims)
        return Principal(answer.user.id, is_admin, expires_at)

    def _is_admins_address(self, user: _User, claims: _Claims | None) -> bool:
        if not self._admin_email or not isinstance(user.email, str):
            return False
        is_verified = user.email_verified is True and (claims is None or claims.email_verified is True)
        return is_verified and _folded(user.email) == self._admin_email


def _folded(address: str) -> bytes:
    """An address for comparison: without blanks around it, and ASCII letters in lower case.

    Unicode's folding would take other people's addresses for the same: of the Kelvin sign it makes a k.
    """
    return address.strip(" \t\r\n").encode().lower()
