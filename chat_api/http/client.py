"""The client's address and the page's origin, also behind proxies."""

from __future__ import annotations

from aiohttp import web

from chat_api.http.context import PROXIES
from chat_api.settings import proxies


def client(request: web.Request) -> str:
    """The client's address, as far as it is known; `unix` over a Unix socket without a proxy."""
    peer = request.remote or proxies.UNIX
    said = request.headers.getall("X-Forwarded-For", ())
    return request.app[PROXIES].client(peer, said) if said and _is_proxied(request) else peer


def limit_subject(request: web.Request) -> str | None:
    """The subject that per-address limits count a request against; see Proxies.limit_subject."""
    return request.app[PROXIES].limit_subject(client(request))


def origin(request: web.Request) -> str:
    """The origin of this service's own pages, as their browser sees it: scheme, host and port."""
    scheme, host = request.scheme, request.host
    if _is_proxied(request):
        scheme = proxies.scheme(request.headers.getall("X-Forwarded-Proto", ())) or scheme
        host = proxies.host(request.headers.getall("X-Forwarded-Host", ())) or host
    return f"{scheme}://{host}".lower()


def _is_proxied(request: web.Request) -> bool:
    # aiohttp's way is a clone of the request that has the client's address. It can't make one after the body
    # has been read, which an application around this one may have done.
    return request.app[PROXIES].trust(request.remote)
