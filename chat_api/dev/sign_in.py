"""`GET /dev/token`: the web page signs in by itself.

Whoever reads the answer is signed in, so it goes to our own page in a browser on this machine and to nobody
else: not to pages of other origins, not to a name that was bent to 127.0.0.1, not through a proxy.
"""

from collections.abc import Callable

from aiohttp import web

from chat_api import errors
from chat_api.http.middlewares import public

PATH = "dev/token"  # relative, as the page wants it
_HOSTS = {"127.0.0.1", "localhost"}
_OF_PROXIES = ("Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Host", "X-Real-IP")


def sign_in(token: Callable[[], str]) -> web.RouteDef:
    """The route; `token` makes a fresh one for each answer."""

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
