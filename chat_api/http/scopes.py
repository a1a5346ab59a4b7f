"""What a request needs to be allowed to do: read, chat or administer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from chat_api import errors

if TYPE_CHECKING:
    from aiohttp import web

    from chat_api.access.principal import Principal, Scope

    Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_Route = TypeVar("_Route", bound="Handler")

SAFE = ("GET", "HEAD", "OPTIONS")  # RFC 9110 section 9.2.1: such a request changes nothing

_declared: dict[Handler, Scope] = {}


def needs(scope: Scope) -> Callable[[_Route], _Route]:
    """Declare what a handler needs. Without it, a request that only reads needs read, and any other chat."""

    def declare(handler: _Route) -> _Route:
        _declared[handler] = scope
        return handler

    return declare


def check_scope(principal: Principal, handler: Handler, method: str) -> None:
    """Raises ScopeMissing unless this principal may send a request of this method to this handler."""
    require(principal, _declared.get(handler) or ("read" if method in SAFE else "chat"))


def require(principal: Principal, scope: Scope) -> None:
    """Raises ScopeMissing unless the principal has the scope."""
    if scope not in principal.scopes:
        raise errors.ScopeMissing(scope)
