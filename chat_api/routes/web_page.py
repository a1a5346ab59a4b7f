"""The web page and its files, with the JavaScript client. They are public, since the page itself signs in."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from chat_api import errors
from chat_api.http.assets import answer, load_assets, load_page
from chat_api.http.bearer import public
from chat_api.http.context import SETTINGS
from chat_api.settings import Settings

routes = web.RouteTableDef()

NO_TOKEN = "none:"  # noqa: S105 - a place, and no secret
"""In place of the token's URL, where a proxy signs users in. It is no URL that a setting can have."""


@routes.get("/")
@public
async def page(request: web.Request) -> web.Response:
    """The page. Its URLs are relative, so that it works below any path."""
    settings = request.app[SETTINGS]
    by_proxy = not settings.web_token_url and "header" in settings.ways
    token_url = NO_TOKEN if by_proxy else settings.web_token_url
    return answer(request, load_page(token_url), content_security_policy(settings))


@routes.get("/web/{path:.+}")
@public
async def asset(request: web.Request) -> web.Response:
    """A file of the page. Only files that were loaded at the start are found, so no path leads elsewhere."""
    found = load_assets().get(request.match_info["path"])
    if found is None:
        raise errors.NotFound
    return answer(request, found)


def content_security_policy(settings: Settings) -> str:
    """What the page may load: its own files and this service, and no HTML but DOMPurify's."""
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
        # Origins that may call the service may also show the page in a frame.
        "frame-ancestors": " ".join(["'self'", *settings.origins]),
        "require-trusted-types-for": "'script'",
        "trusted-types": "dompurify",
    }
    return "; ".join(f"{name} {value.strip()}" for name, value in directives.items())
