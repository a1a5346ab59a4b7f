"""The web page and its files, the JavaScript client among them: public, for the page signs in itself."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from chat_api import errors
from chat_api.assets import Asset, load_assets, load_page
from chat_api.context import SETTINGS
from chat_api.middlewares import public
from chat_api.settings import Settings

routes = web.RouteTableDef()


@routes.get("/")
@public
async def page(request: web.Request) -> web.Response:
    """The page. Each address in it is relative, so that it works below any path."""
    settings = request.app[SETTINGS]
    response = _answer(request, load_page(settings.web_token_url))
    response.headers["Content-Security-Policy"] = content_security_policy(settings)
    return response


@routes.get("/web/{path:.+}")
@public
async def asset(request: web.Request) -> web.Response:
    """A file of the page. Looked up among those known from the start: no path leads anywhere else."""
    found = load_assets().get(request.match_info["path"])
    if found is None:
        raise errors.NotFound
    return _answer(request, found)


def content_security_policy(settings: Settings) -> str:
    """What the page may load: its own files and this service, and no HTML that DOMPurify hasn't seen."""
    token_url = urlsplit(settings.web_token_url)
    token_origin = f"{token_url.scheme}://{token_url.netloc}" if token_url.netloc else ""
    directives = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": f"'self' {token_origin}",
        "base-uri": "'none'",
        "form-action": "'none'",
        # Those that may call the service may also show it in a frame.
        "frame-ancestors": " ".join(["'self'", *settings.origins]),
        "require-trusted-types-for": "'script'",
        "trusted-types": "dompurify",
    }
    return "; ".join(f"{name} {value.strip()}" for name, value in directives.items())


def _answer(request: web.Request, found: Asset) -> web.Response:
    body, etag = found.body, found.etag
    headers = {
        "Cache-Control": found.cache_control,
        "Vary": "Accept-Encoding",
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cross-Origin-Opener-Policy": "same-origin",
    }
    if found.gzipped is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
        body, etag = found.gzipped, f"{etag}-gzip"
        headers["Content-Encoding"] = "gzip"
    known = {tag.value for tag in request.if_none_match or ()}
    if known & {etag, "*"}:
        headers.pop("Content-Encoding", None)
        response = web.Response(status=304, headers=headers)
    else:
        response = web.Response(body=body, headers=headers, content_type=found.content_type, charset="utf-8")
    response.etag = etag
    return response
