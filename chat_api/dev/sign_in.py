"""`GET /dev/token`, by which the web page signs in by itself.

Anyone who can read the response is signed in, so only our own page gets it, in a browser on this machine. It
is refused to pages of other origins, to foreign names that resolve to 127.0.0.1, and to requests through a
proxy.
"""

from collections.abc import Callable

from aiohttp import web

from chat_api import errors
from chat_api.http.bearer import public

PATH = "dev/token"  # relative, as the page requires
_HOSTS = {"127.0.0.1", "localhost"}
_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


def sign_in(token: Callable[[], str]) -> web.RouteDef:
    """Make the route. `token` makes a new token for each response."""

    @public
    async def answer(request: web.Request) -> web.Response:
        own_page = request.headers.get("Sec-Fetch-Site") == "same-origin"
        if (
            not own_page
            or request.url.host not in _HOSTS
            or any(name in request.headers for name in _OF_PROXIES)
        ):
            raise errors.Forbidden("Only our own page, opened on this machine, gets a token here.")
        return web.json_response({"token": token()}, headers={"Cache-Control": "no-store"})

    return web.get(f"/{PATH}", answer, allow_head=False)
