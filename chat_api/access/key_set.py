"""An identity provider's public keys (RFC 7517): fetched, remembered, and fetched again when they change."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import aiohttp
import jwt
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.neighbours.answers import UnreadableAnswer, read_answer
from chat_api.settings.types import http_url

if TYPE_CHECKING:
    from chat_api.settings import Settings

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 262_144
MAX_KEYS = 100
RSA_BITS = range(2048, 8193)  # NIST SP 800-131A, and what a check may cost
AGE_SECONDS = 600  # after which the keys are fetched again, so that one that was withdrawn ends
PAUSE_SECONDS = 10  # between two fetches that unknown keys ask for, which anybody may make up
RETRY_SECONDS = 1  # after a fetch that failed while there are no keys at all

_FITTING: dict[tuple[str, str], tuple[str, ...]] = {
    ("RSA", "None"): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""Which signatures a kind of key is for, by `kty` and `crv`. Secrets (`oct`) are for none."""

Keys = dict[tuple[str | None, str], list[jwt.PyJWK]]
"""By a key's id, which it may lack, and an algorithm."""


class KeySet:
    """The keys of the provider. While it is away, those that are known stay good.

    They are fetched when the first token comes, once more for a key that isn't known (at most once in
    PAUSE_SECONDS, however many tokens name one), and in the background when they are AGE_SECONDS old.
    """

    def __init__(
        self, settings: Settings, session: aiohttp.ClientSession, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`session` must not decompress."""
        self._settings = settings
        self._session = session
        self._now = now
        self._algorithms = settings.algorithms
        self._keys: Keys = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._failure: errors.ChatError | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def find(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        """The keys that may have made such a signature; none if the provider has none.

        Raises AuthUnavailable or AuthBroken where the provider has to be asked, and can't be.
        """
        if found := self._known(key_id, algorithm):
            if self._now() >= max(self._fetched_at + AGE_SECONDS, self._tried_at + PAUSE_SECONDS):
                self._start()
            return found
        if self._fetching is None and self._now() < self._tried_at + self._pause:
            if self._failure is not None:
                raise type(self._failure)(self._failure.detail)  # each caller's own, with its traceback
            return []
        await asyncio.shield(self._start())
        return self._known(key_id, algorithm)

    async def close(self) -> None:
        """End a fetch that is under way."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.gather(self._fetching, return_exceptions=True)

    @property
    def _pause(self) -> float:
        return PAUSE_SECONDS if self._keys else RETRY_SECONDS

    def _known(self, key_id: str | None, algorithm: str) -> list[jwt.PyJWK]:
        if key_id is not None:
            return self._keys.get((key_id, algorithm), [])
        fitting = [key for (_, each), keys in self._keys.items() if each == algorithm for key in keys]
        return fitting if len(fitting) == 1 else []

    def _start(self) -> asyncio.Task[None]:
        """The fetch that is under way, or a new one."""
        if self._fetching is None:
            self._fetching = asyncio.create_task(self._fetch(), name="auth-keys")
            self._fetching.add_done_callback(self._forget)
        return self._fetching

    def _forget(self, fetching: asyncio.Task[None]) -> None:
        self._fetching = None
        if not fetching.cancelled():
            fetching.exception()  # retrieved, since everyone who waited may have left

    async def _fetch(self) -> None:
        self._tried_at = self._now()
        try:
            async with asyncio.timeout(self._settings.auth_timeout):
                url = self._settings.auth_jwks_url or await self._discover()
                self._keys = self._read(await self._get(url), url)
        except UnreadableAnswer as error:
            self._failure = _broken(str(error), None)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("auth_unavailable", reason=describe(error), issuer=self._settings.auth_issuer)
            self._failure = errors.AuthUnavailable()
        except errors.ChatError as error:
            self._failure = error
        else:
            self._failure = None
            self._fetched_at = self._now()
        if self._failure is not None:
            raise self._failure

    async def _discover(self) -> str:
        """Where the provider has its keys (OpenID Connect Discovery, section 4)."""
        issuer = self._settings.auth_issuer
        url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
        found = await self._get(url)
        if found.get("issuer") != issuer:
            raise _broken(
                f"its issuer is {str(found.get('issuer'))[:200]!r}, and AUTH_ISSUER {issuer!r}", url
            )
        address = str(found.get("jwks_uri"))
        try:
            http_url(address)
        except ValueError:
            raise _broken("there is no usable jwks_uri", url) from None
        if issuer.startswith("https:") and not address.startswith("https:"):
            raise _broken("its jwks_uri isn't https, as AUTH_ISSUER is", url)
        return address

    async def _get(self, url: str) -> dict[str, Any]:
        async with self._session.get(
            url, headers={"Accept": "application/json"}, allow_redirects=False
        ) as response:
            body = await read_answer(response, MAX_ANSWER_BYTES)
            status = response.status
        if status in (429, 502, 503, 504):
            log.warning("auth_unavailable", status=status, url=url)
            raise errors.AuthUnavailable
        if status != 200:
            raise _broken(f"it answered {status}, and redirects aren't followed", url)
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _broken("it isn't a JSON object", url)
        return found

    def _read(self, found: dict[str, Any], url: str) -> Keys:
        listed = found.get("keys")
        if not isinstance(listed, list) or len(listed) > MAX_KEYS:
            raise _broken(f"it has no list of at most {MAX_KEYS} keys", url)
        keys: Keys = {}
        for each in listed:
            if not isinstance(each, dict):
                continue
            key_id = each.get("kid")
            for algorithm in self._algorithms & _algorithms_of(each):
                try:
                    key = jwt.PyJWK(each, algorithm)
                except jwt.PyJWTError:
                    continue
                if each["kty"] != "RSA" or key.key.key_size in RSA_BITS:
                    name = key_id if isinstance(key_id, str) else None
                    keys.setdefault((name, algorithm), []).append(key)
        if not keys:
            raise _broken("it has no key that AUTH_ALGORITHMS allows", url)
        return keys


def _algorithms_of(key: dict[str, Any]) -> set[str]:
    """The signatures that this key may check. No private key's, and none of one that is for encryption."""
    operations = key.get("key_ops")
    if "d" in key or key.get("use", "sig") != "sig":
        return set()
    if isinstance(operations, list) and "verify" not in operations:
        return set()
    fitting = set(_FITTING.get((str(key.get("kty")), str(key.get("crv"))), ()))
    return fitting & {str(key["alg"])} if "alg" in key else fitting


def _broken(reason: str, url: str | None) -> errors.AuthBroken:
    """An error that is logged with its reason, and told without it."""
    log.error("auth_broken", reason=reason, url=url)
    return errors.AuthBroken("The identity provider can't be understood. Tell the operator.")
