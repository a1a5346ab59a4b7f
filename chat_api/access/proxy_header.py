"""Signing in by a header of a trusted proxy, which has asked the user itself (AUTH=header)."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import structlog

from chat_api import errors
from chat_api.access.principal import Principal, about, is_subject, same_address, user_id_of

if TYPE_CHECKING:
    from multidict import CIMultiDictProxy

    from chat_api.settings import Settings

log = structlog.get_logger(__name__)

SECONDS = 60  # between two log lines of one reason
NOT_SAID = "Sign in first: the proxy in front of this service did not say who you are."


class ProxyHeader:
    """Believes what a trusted proxy says in a header, and nobody else."""

    def __init__(self, settings: Settings, now: Callable[[], float] = time.time) -> None:
        self._user_header = settings.auth_user_header
        self._email_header = settings.auth_email_header
        self._issuer = settings.issuer
        self._admin_email = settings.admin_email
        self._seconds = settings.auth_cache_seconds
        self._now = now
        self._logged: dict[str, float] = {}

    def principal(self, headers: CIMultiDictProxy[str], peer: str, *, is_trusted: bool) -> Principal:
        """The user of a request that came from `peer`. Raises Unauthorized.

        This is believed for about `auth_cache_seconds`, which matters to sockets and streams alone: with each
        request, the proxy says it again.
        """
        names = _given(headers, self._user_header)
        if names and not is_trusted:
            self._tell("peer_not_trusted", peer, "if this is your proxy, add its address to TRUSTED_PROXIES")
        if not names or not is_trusted:
            raise errors.Unauthorized(NOT_SAID)
        emails = _given(headers, self._email_header)
        if len(names) > 1 or len(emails) > 1 or not is_subject(names[0]):
            # A second one may be the client's own, which the proxy should have taken out.
            self._tell("header_not_usable", peer, "the proxy must set the header once, over the client's own")
            raise errors.Unauthorized(NOT_SAID)
        is_admin = any(same_address(each, self._admin_email) for each in emails)
        expires_at = self._now() + about(self._seconds)
        return Principal(user_id_of(self._issuer, names[0]), is_admin, expires_at, is_provisional=True)

    def _tell(self, reason: str, peer: str, do: str) -> None:
        """Log a reason, but not so often that a flood of such requests floods the log."""
        now = self._now()
        if now - self._logged.get(reason, -SECONDS) >= SECONDS:
            self._logged[reason] = now
            log.warning("proxy_header_refused", reason=reason, peer=peer, header=self._user_header, do=do)


def _given(headers: CIMultiDictProxy[str], name: str) -> Sequence[str]:
    """The header's values, without blanks around them; a proxy that knows no user may send an empty one."""
    return [value.strip() for value in headers.getall(name, ()) if value.strip()]
