"""The door of an identity provider's tokens, which are checked here with the provider's public keys.

Loaded only where AUTH names jwks: PyJWT and cryptography take memory, and time at the start.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from chat_api.access.key_set import KeySet
from chat_api.access.signed_tokens import SignedToken, principal_of

if TYPE_CHECKING:
    import aiohttp

    from chat_api.access.principal import Principal
    from chat_api.settings import Settings


class JwksDoor:
    """Takes signed tokens that name the provider as issuer. The auth service's own may be signed, too."""

    name = "jwks"

    def __init__(
        self, settings: Settings, session: aiohttp.ClientSession, now: Callable[[], float] = time.time
    ) -> None:
        """`session` must not decompress. `now` is Unix time."""
        self._settings = settings
        self._now = now
        self._algorithms = settings.algorithms
        self.keys = KeySet(settings, session)
        self.seconds = settings.auth_cache_seconds

    def takes(self, token: str) -> bool:
        """See Door."""
        signed = SignedToken.parse(token)
        return signed is not None and signed.claims.get("iss") == self._settings.auth_issuer

    async def ask(self, token: str) -> Principal | None:
        """See Door."""
        signed = SignedToken.parse(token)
        if signed is None or signed.algorithm not in self._algorithms:
            return None
        # First what costs nothing: a token that has ended asks for no keys.
        principal = principal_of(signed.claims, self._settings, self._now())
        if principal is None:
            return None
        keys = await self.keys.find(signed.key_id, signed.algorithm)
        return principal if signed.is_signed_by(keys) else None

    async def close(self) -> None:
        """See Door."""
        await self.keys.close()
