"""The web page and its files, the JavaScript client among them: public, for the page signs in itself."""

from __future__ import annotations

from urllib.parse import urlsplit

from aiohttp import web

from chat_api import errors
from chat_api.http.assets import answer, load_assets, load_page
from chat_api.http.context import SETTINGS
from chat_api.http.middlewares import public
from chat_api.settings import Settings

routes = web.RouteTableDef()


@routes.get("/")
@public
async def page(request: web.Request) -> web.Response:
    """The page. Each address in it is relative, so that it works below any path."""
    settings = request.app[SETTINGS]
    return answer(request, load_page(settings.web_token_url), content_security_policy(settings))


@routes.get("/web/{path:.+}")
@public
async def asset(request: web.Request) -> web.Response:
    """A file of the page. Looked up among those known from the start: no path leads anywhere else."""
    found = load_assets().get(request.match_info["path"])
    if found is None:
        raise errors.NotFound
    return answer(request, found)


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
