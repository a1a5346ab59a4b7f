"""A client's connection: what comes on it before there is a request, and what never becomes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, LineTooLong

from chat_api import errors
from chat_api.libraries.aiohttp import ReplacingRunner, RequestHandler, server_loop, server_options
from chat_api.settings import Settings
from chat_api.settings.proxies import UNIX

logger = structlog.get_logger(__name__)

NoteRefusal = Callable[[str, str], None]
"""Told the limit and the client's address."""


class Connection(RequestHandler):
    """aiohttp's, with this service's form of an error, and an end for who connects and then says nothing."""

    __slots__ = ("_note", "_seconds", "_silence")

    def __init__(self, server: Connections, settings: Settings, note: NoteRefusal) -> None:
        super().__init__(server, **server.options)
        self._seconds = settings.request_timeout
        self._note = note
        self._silence: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for its first request; between two, aiohttp's keep-alive time counts."""
        super().connection_made(transport)
        self._silence = asyncio.get_running_loop().call_later(self._seconds, self._look)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        if self._silence is not None:
            self._silence.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if not self.has_served and self.transport is not None:
            peer = self.transport.get_extra_info("peername")
            self._note("request_timeout", peer[0] if peer else UNIX)
            self.transport.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what is no request that this service takes."""
        if not isinstance(exc, BadHttpMessage):
            return super().handle_error(request, status, exc, message)
        error: errors.ChatError = errors.NotHttp()
        if isinstance(exc, LineTooLong) or "Too many" in exc.message:
            error = errors.HeadersTooLarge()
            self._note("max_header_bytes", request.remote or UNIX)
        # Not its text: that shows what came, and a token may be in it.
        logger.info("request_refused", error=error.code, remote=request.remote)
        response = web.Response(
            body=orjson.dumps(error.body), status=error.status, content_type="application/json"
        )
        response.headers["Server"] = "chat-api"
        response.force_close()
        return response


class Connections(web.Server):
    """A server whose connections these are."""

    def __init__(self, made: web.Server, settings: Settings, note: NoteRefusal) -> None:
        """Takes the place of the one that aiohttp made for an application."""
        self.options = {
            **server_options(made),
            "max_line_size": settings.max_header_bytes,
            "max_field_size": settings.max_header_bytes,
        }
        super().__init__(
            made.request_handler,
            request_factory=made.request_factory,
            handler_cancellation=made.handler_cancellation,
            **self.options,
        )
        self.options["loop"] = server_loop(self)
        self._settings = settings
        self._note = note

    def __call__(self) -> Connection:
        """A connection that asyncio has just accepted."""
        return Connection(self, self._settings, self._note)


class Runner(ReplacingRunner):
    """aiohttp's, with these connections."""

    def __init__(
        self, app: web.Application, settings: Settings, note: NoteRefusal, **options: object
    ) -> None:
        super().__init__(app, **options)  # type: ignore[arg-type]
        self._settings = settings
        self._note = note

    def replace_server(self, made: web.Server) -> web.Server:
        """See libraries.aiohttp."""
        return Connections(made, self._settings, self._note)
