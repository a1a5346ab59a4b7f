"""Tickets: one attaches to one stream, for browsers' EventSource, which can't send a token."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from chat_api import errors
from chat_api.access.keys import digest_of
from chat_api.access.principal import Principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from chat_api.access.tokens import TokenVerifier
    from chat_api.postgres.database import Database

SECONDS = 30
PREFIX = "sct_"
_FORM = re.compile(PREFIX + "[0-9a-f]{40}")


class Tickets:
    """Makes tickets and takes them. The database has their digests: a ticket counts on all workers, once."""

    def __init__(self, database: Database, verifier: TokenVerifier) -> None:
        self._database = database
        self._failures = verifier.failures

    async def make(self, principal: Principal) -> tuple[str, int]:
        """A ticket for this user, which reads a stream and does nothing else, and its life in seconds."""
        ticket = PREFIX + secrets.token_hex(20)
        await self._database.row(
            "tickets.put",
            digest=digest_of(ticket),
            user_id=principal.user_id,
            token_expires_at=principal.expires_at,
            seconds=SECONDS,
        )
        return ticket, SECONDS

    async def take(self, ticket: str, address: Callable[[], str | None]) -> Principal:
        """The ticket's user. Nobody can take it a second time.

        `address` is that of TokenVerifier.verify. Raises InvalidTicket, TooManySignInFailures and
        DatabaseUnavailable.
        """
        if not _FORM.fullmatch(ticket):
            raise errors.InvalidTicket
        self._failures.check(address())
        row = await self._database.row("tickets.take", digest=digest_of(ticket))
        if row is None:
            self._failures.note(address())
            raise errors.InvalidTicket
        return Principal(
            row["user_id"], is_admin=False, expires_at=row["token_expires_at"], scopes=frozenset({"read"})
        )
