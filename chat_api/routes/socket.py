"""The WebSocket: one connection for all of a user's conversations (docs/contract.md section 3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.bearer import public, sign_in
from chat_api.http.client import client, is_own_page, limit_subject
from chat_api.http.context import METRICS, PROXY_HEADER, REFUSALS, SETTINGS
from chat_api.transports.websocket.session import Session
from chat_api.transports.websocket.socket import (
    FAILED,
    NO_AUTHENTICATION,
    ORIGIN_REFUSED,
    SOCKETS,
    UNAUTHENTICATED,
    Socket,
)

if TYPE_CHECKING:
    from chat_api.access.principal import Principal

logger = structlog.get_logger(__name__)

routes = web.RouteTableDef()

AUTHENTICATION_SECONDS = 10


@routes.get("/api/ws", allow_head=False)
@public  # browsers can't set the Authorization header, so their first frame authenticates
@describe(
    Operation(
        "Open a WebSocket",
        "WebSocket",
        [Response(101, "A WebSocket; its frames are described in [asyncapi.json](asyncapi.json).")],
        "Serve a WebSocket until either side ends it. A program sends its token in the header "
        "`Authorization`, a browser in its first frame. If the token or the page's `Origin` is refused, the "
        "socket opens and is closed with a code that says so.",
        errors=[
            errors.UpgradeRequired,
            errors.TooManySignInFailures,
            errors.AuthBroken,
            errors.AuthUnavailable,
        ],
    )
)
async def connect(request: web.Request) -> web.StreamResponse:
    socket = Socket(request, request.app[SETTINGS], request.app[METRICS])
    remote = client(request)
    session = Session(socket, request.app, remote, limit_subject(request))
    request.app[SOCKETS].add(socket)
    request.app[METRICS].sockets.inc()
    try:
        principal = None
        if not _is_allowed(request):
            socket.end(ORIGIN_REFUSED)
        elif "Authorization" in request.headers or PROXY_HEADER in request.app:
            principal = await _principal(request, socket)
        await socket.open()
        socket.end_in(AUTHENTICATION_SECONDS, NO_AUTHENTICATION)
        await session.run(principal)
    except ConnectionResetError:
        pass  # the client has left
    except errors.ChatError:
        raise  # the token couldn't be checked; answered like any other request
    except Exception:
        logger.exception("socket_failed")
        socket.end(FAILED)
    finally:
        request.app[SOCKETS].discard(socket)
        request.app[METRICS].sockets.dec()
        await session.close()
        await socket.close()
        if socket.was_too_large:
            request.app[REFUSALS].note("max_frame_bytes", remote, session.user_id)
    return socket.response


async def _principal(request: web.Request, socket: Socket) -> Principal | None:
    """The user of the handshake. None: it names none, so that a frame may; or the socket has been ended."""
    try:
        return await sign_in(request)
    except errors.OriginRefused:
        socket.end(ORIGIN_REFUSED)
    except errors.InvalidToken:
        socket.end(UNAUTHENTICATED)
    except errors.Unauthorized:
        if "Authorization" in request.headers:
            socket.end(UNAUTHENTICATED)
    return None


def _is_allowed(request: web.Request) -> bool:
    """Whether pages of the request's origin may connect. Browsers don't apply CORS to WebSockets.

    Pages of this service's own origin may, as they may send any other request.
    """
    return "Origin" not in request.headers or is_own_page(request)
