"""The door of API keys, for programs: the table api_keys has their digests (`chat-api key` makes them)."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import structlog

from chat_api import errors
from chat_api.access.principal import SCOPES, Principal, about

if TYPE_CHECKING:
    from chat_api.postgres.database import Database
    from chat_api.settings import Settings

log = structlog.get_logger(__name__)

PREFIX = "sck_"  # by which secret scanners find a key that leaked
SHOWN_CHARACTERS = len(PREFIX) + 6  # by which people tell their keys apart; the rest is 136 bits
MOST_SECONDS = 60
"""For how long a key is believed at most. So a revoked one ends, and its last use is exact, to a minute."""

_FORM = re.compile(PREFIX + "[0-9a-f]{40}")


def new_key() -> str:
    """A key that nobody can guess: 160 random bits."""
    return PREFIX + secrets.token_hex(20)


def digest_of(secret: str) -> bytes:
    """What is stored of a key or a ticket. So many random bits need no slow hash, and no salt."""
    return hashlib.sha256(secret.encode()).digest()


class KeyDoor:
    """Takes whatever begins as a key does, so that no key is sent to anybody else."""

    name = "keys"

    def __init__(self, settings: Settings, database: Database, now: Callable[[], float] = time.time) -> None:
        """`now` is Unix time."""
        self._database = database
        self._now = now
        self._asked_again = settings.auth_cache_seconds
        self.seconds = min(settings.auth_cache_seconds, MOST_SECONDS)

    def takes(self, token: str) -> bool:
        """See Door."""
        return token.startswith(PREFIX)

    async def ask(self, token: str) -> Principal | None:
        """See Door."""
        if not _FORM.fullmatch(token):
            return None
        row = await self._database.row("keys.find", digest=digest_of(token))
        if row is None:
            return None
        if row["is_unnoted"]:
            await self._note_use(row["id"])
        scopes = SCOPES & frozenset(row["scopes"])
        # A key may be good for ever, and a socket may be open for as long: it comes back.
        again_at = self._now() + about(self._asked_again)
        return Principal(
            row["user_id"],
            is_admin="admin" in scopes,
            expires_at=min(row["expires_at"], again_at),
            scopes=scopes,
            is_provisional=again_at < row["expires_at"],
        )

    async def close(self) -> None:
        """See Door."""

    async def _note_use(self, key_id: object) -> None:
        try:
            await self._database.row("keys.note_use", id=key_id)
        except (
            errors.DatabaseUnavailable
        ):  # the database may take no writes now; the key is good all the same
            log.warning("key_use_not_noted", key_id=str(key_id))
