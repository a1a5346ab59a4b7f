"""Who sends a request: by its bearer token, by a ticket, or by what a proxy says (AUTH)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog
from aiohttp import web

from chat_api import errors
from chat_api.http.client import is_own_page, is_proxied, limit_subject
from chat_api.http.context import PRINCIPAL, PROXY_HEADER, TICKETS, VERIFIER
from chat_api.http.scopes import SAFE, check_scope

if TYPE_CHECKING:
    from chat_api.access.principal import Principal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Route = TypeVar("_Route", bound=Handler)

TICKET = "ticket"
"""The parameter of the query that has one."""

_public: set[Handler] = set()
_ticketed: set[Handler] = set()


def public(handler: _Route) -> _Route:
    """Mark a handler that needs no token."""
    _public.add(handler)
    return handler


def ticketed(handler: _Route) -> _Route:
    """Mark a handler that takes a ticket in place of a token."""
    _ticketed.add(handler)
    return handler


def is_public(handler: Handler) -> bool:
    """Whether the handler needs no token."""
    return handler in _public


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through only with a user who may send it, and note its principal."""
    if request.method != "OPTIONS" and not is_public(request.match_info.handler):
        principal = await sign_in(request, takes_ticket=request.match_info.handler in _ticketed)
        request[PRINCIPAL] = principal
        structlog.contextvars.bind_contextvars(user_id=str(principal.user_id))
        check_scope(principal, request.match_info.handler, request.method)
    return await handler(request)


async def sign_in(request: web.Request, *, takes_ticket: bool = False) -> Principal:
    """The request's user. A token counts first, then a ticket, then what the proxy says.

    Raises Unauthorized, InvalidToken, InvalidTicket, OriginRefused, TooManySignInFailures, AuthBroken,
    AuthUnavailable, DatabaseUnavailable.
    """
    app = request.app
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    token = token.strip() if scheme.lower() == "bearer" else ""
    # Proxies may send an Authorization of their own, which is nothing to this service.
    if token and (PROXY_HEADER not in app or app[VERIFIER].takes(token)):
        return await app[VERIFIER].verify(token, lambda: limit_subject(request))
    if takes_ticket and TICKET in request.query:
        return await app[TICKETS].take(request.query[TICKET], lambda: limit_subject(request))
    if PROXY_HEADER not in app:
        raise errors.Unauthorized
    principal = app[PROXY_HEADER].principal(
        request.headers, request.remote or "unix", is_trusted=is_proxied(request)
    )
    # The proxy knows the user by a cookie, or by the connection, and browsers have both for requests of any
    # page. That of another site must not act for the user, nor open a socket.
    acts = request.method not in SAFE or "Upgrade" in request.headers
    if acts and not is_own_page(request):
        raise errors.OriginRefused
    return principal
