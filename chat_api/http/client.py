"""The client's address and the page's origin, also behind proxies."""

from __future__ import annotations

from aiohttp import web

from chat_api.http.context import PROXIES, SETTINGS
from chat_api.settings import proxies


def client(request: web.Request) -> str:
    """The client's address, as far as it is known; `unix` over a Unix socket without a proxy."""
    peer = request.remote or proxies.UNIX
    said = request.headers.getall("X-Forwarded-For", ())
    return request.app[PROXIES].client(peer, said) if said and is_proxied(request) else peer


def limit_subject(request: web.Request) -> str | None:
    """The subject that per-address limits count a request against; see Proxies.limit_subject."""
    return request.app[PROXIES].limit_subject(client(request))


def origin(request: web.Request) -> str:
    """The origin of this service's own pages, as their browser sees it: scheme, host and port."""
    scheme, host = request.scheme, request.host
    if is_proxied(request):
        scheme = proxies.scheme(request.headers.getall("X-Forwarded-Proto", ())) or scheme
        host = proxies.host(request.headers.getall("X-Forwarded-Host", ())) or host
    return f"{scheme}://{host}".lower()


def is_own_page(request: web.Request) -> bool:
    """Whether a page of this service's own origin, or of FRONTEND_URL, sends the request."""
    given = request.headers.get("Origin")
    return given is not None and (given in request.app[SETTINGS].origins or given == origin(request))


def is_proxied(request: web.Request) -> bool:
    """Whether the request comes from one of TRUSTED_PROXIES, whose headers are believed."""
    # aiohttp's way is a clone of the request that has the client's address. It can't make one after the body
    # has been read, which an application around this one may have done.
    return request.app[PROXIES].trust(request.remote)
