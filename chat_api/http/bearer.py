"""The bearer token of a request: read here, and checked by access/tokens.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import structlog
from aiohttp import web

from chat_api import errors
from chat_api.http.client import limit_subject
from chat_api.http.context import PRINCIPAL, VERIFIER

if TYPE_CHECKING:
    from chat_api.access.tokens import Principal

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
_Route = TypeVar("_Route", bound=Handler)

_public: set[Handler] = set()


def public(handler: _Route) -> _Route:
    """Mark a handler that needs no token."""
    _public.add(handler)
    return handler


def is_public(handler: Handler) -> bool:
    """Whether the handler needs no token."""
    return handler in _public


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let a request through only with a valid token, and note its principal."""
    if request.method != "OPTIONS" and not is_public(request.match_info.handler):
        principal = await verify_bearer(request)
        request[PRINCIPAL] = principal
        structlog.contextvars.bind_contextvars(user_id=str(principal.user_id))
    return await handler(request)


async def verify_bearer(request: web.Request) -> Principal:
    """The principal of the `Authorization` header.

    Raises Unauthorized, TooManySignInFailures, AuthBroken, AuthUnavailable.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise errors.Unauthorized
    return await request.app[VERIFIER].verify(token.strip(), lambda: limit_subject(request))
