"""The WebSocket: one connection for all of a user's conversations (docs/contract.md section 3)."""

from __future__ import annotations

import structlog
from aiohttp import web

from chat_api import errors
from chat_api.description.declare import Operation, Response, describe
from chat_api.http.bearer import public, verify_bearer
from chat_api.http.client import client, limit_subject, origin
from chat_api.http.context import METRICS, REFUSALS, SETTINGS
from chat_api.transports.websocket.session import Session
from chat_api.transports.websocket.socket import (
    FAILED,
    NO_AUTHENTICATION,
    ORIGIN_REFUSED,
    SOCKETS,
    UNAUTHENTICATED,
    Socket,
)

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
        elif "Authorization" in request.headers:
            try:
                principal = await verify_bearer(request)
            except errors.Unauthorized:
                socket.end(UNAUTHENTICATED)
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


def _is_allowed(request: web.Request) -> bool:
    """Whether pages of the request's origin may connect. Browsers don't apply CORS to WebSockets.

    Pages of this service's own origin may, as they may send any other request.
    """
    given = request.headers.get("Origin")
    return given is None or given in request.app[SETTINGS].origins or given == origin(request)
