"""A client's connection: silent clients, clients that take nothing, and input that is no request."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import orjson
import structlog
from aiohttp import web
from aiohttp.http_exceptions import BadHttpMessage, ContentEncodingError, LineTooLong

from chat_api import errors
from chat_api.http.context import METRICS, REFUSALS, SETTINGS
from chat_api.libraries.aiohttp import ReplacingRunner, RequestHandler, Server
from chat_api.settings import Settings
from chat_api.settings.proxies import UNIX

logger = structlog.get_logger(__name__)

NoteRefusal = Callable[[str, str], None]
"""Is called with the name of the limit and the client's address."""

NoteCut = Callable[[], None]
"""Is called when a client was cut because it took nothing for too long."""


class Connection(RequestHandler):
    """aiohttp's connection, with this service's errors. A client that sends or takes nothing is cut."""

    __slots__ = ("_left", "_note", "_note_cut", "_patience", "_seconds", "_silence", "_stuck")

    def __init__(self, server: Connections, settings: Settings, note: NoteRefusal, note_cut: NoteCut) -> None:
        super().__init__(server)
        self._seconds = settings.request_timeout
        self._note = note
        self._note_cut = note_cut
        self._silence: asyncio.TimerHandle | None = None
        # Streams and sockets have the same limit, and say more when they reach it: they come first.
        self._patience = settings.slow_reader_timeout * 1.1
        self._stuck: asyncio.TimerHandle | None = None
        self._left = 0  # bytes that the client hasn't taken

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start to wait for the first request. Between two requests, aiohttp's keep-alive timer applies."""
        super().connection_made(transport)
        self._silence = asyncio.get_running_loop().call_later(self._seconds, self._end_if_silent)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Stop all waiting."""
        if self._silence is not None:
            self._silence.cancel()
        if self._stuck is not None:
            self._stuck.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Start to watch whether the client still takes anything: asyncio has more to send than it keeps."""
        super().pause_writing()
        self._left = 0
        self._watch()

    def resume_writing(self) -> None:
        """Watch no longer: the client has taken nearly everything."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()

    def _watch(self) -> None:
        if self.transport is None:
            return
        left, before = self.transport.get_write_buffer_size(), self._left
        if before and left >= before:
            logger.info("reader_cut", reason="it took nothing for too long")
            self._note_cut()
            self.transport.abort()
            return
        self._left = left
        self._stuck = asyncio.get_running_loop().call_later(self._patience, self._watch)

    def _end_if_silent(self) -> None:
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
        """The response to input that isn't a request which this service accepts."""
        # aiohttp quotes an expectation that it doesn't know, and fails if that isn't text.
        is_no_text = isinstance(exc, UnicodeEncodeError) and "Expect" in request.headers
        if not isinstance(exc, BadHttpMessage) and not is_no_text:
            return super().handle_error(request, status, exc, message)
        error: errors.ChatError = errors.NotHttp()
        if isinstance(exc, LineTooLong) or (isinstance(exc, BadHttpMessage) and "Too many" in exc.message):
            error = errors.HeadersTooLarge()
            self._note("max_header_bytes", request.remote or UNIX)
        elif isinstance(exc, ContentEncodingError):  # one that aiohttp would need another library for
            error = errors.BadRequest("The request body must be sent as it is, or with gzip or deflate.")
        # Don't log its text: that quotes the input, which may contain a token.
        logger.info("request_refused", error=error.code, remote=request.remote)
        response = web.Response(
            body=orjson.dumps(error.body), status=error.status, content_type="application/json"
        )
        response.headers["Server"] = "chat-api"
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.force_close()
        return response


class Connections(Server):
    """A server whose connections are of this kind."""

    def __init__(self, made: web.Server, app: web.Application) -> None:
        """Take the place of `made`, the server that aiohttp made for `app`."""
        self._settings = app[SETTINGS]
        most = self._settings.max_header_bytes
        super().__init__(made, max_line_size=most, max_field_size=most)
        self._note = app[REFUSALS].note
        self._note_cut = app[METRICS].readers_cut.labels("http").inc

    def __call__(self) -> Connection:
        """Make the protocol for a connection that asyncio has just accepted."""
        return Connection(self, self._settings, self._note, self._note_cut)


class Runner(ReplacingRunner):
    """aiohttp's runner, with this kind of connections."""

    def replace_server(self, made: web.Server) -> web.Server:
        """Replace aiohttp's server by one with this kind of connections."""
        return Connections(made, self.app)
