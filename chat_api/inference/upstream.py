"""A POST that is answered with an event stream, or with one JSON object, on a connection of its own.

Relaying tokens is most of this service's work. aiohttp's client puts a stream reader, a timer and a task
switch between each chunk and its reader, which costs several times as much as the rest. Here bytes are parsed
where they arrive, and each event is handed on in the same call. Nothing is queued in between, so only the
size of a single event needs a limit. As everywhere in this service, proxies that the environment names are
not used.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from typing import Generic, Protocol, TypeVar, cast

import aiohappyeyeballs
import structlog
from aiohttp import encode_basic_auth
from yarl import URL

from chat_api import errors
from chat_api.errors import describe
from chat_api.inference.event_parser import Event
from chat_api.inference.response import Response

log = structlog.get_logger(__name__)

REFUSAL_SECONDS = 2  # for the body of a refusal: its status says enough
HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305 section 5: the delay before the next address is tried as well

# Additional header lines for the calls of a context, each preceded by its line break.
MORE_HEADERS: ContextVar[bytes] = ContextVar("more_headers", default=b"")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class EventReader(Protocol[T_co]):
    """Interprets one answer. The methods run as bytes arrive, so they must return at once.

    A value other than None is the outcome and ends the stream. All of them may raise ChatErrors. Comments
    aren't handed on: they show that the server's web framework is alive, and say nothing about the model.
    An event is a sign of life if the reader says so to its Listener.
    """

    def event(self, data: bytes) -> T_co | None:
        """Read the data of an event without a name, or named `message`. It is never empty."""

    def named(self, name: bytes, data: bytes) -> T_co | None:
        """Read the data of an event with another name.

        A line of the form `error: …` is an event named `error`. Only an event of this name may have no data.
        """

    def whole(self, data: bytes) -> T_co:
        """Read the body of a response that isn't a stream, but JSON."""

    def end(self) -> T_co:
        """The outcome of a stream that is complete, after its last event."""


class Upstream:
    """A URL for POSTs, each on a new connection, since model servers close theirs after a stream.

    `log_messages` is for refusals: whether what the server says goes to the log (LOG_INFERENCE_ERRORS).
    """

    def __init__(
        self,
        url: str,
        headers: Mapping[str, str],
        connect_timeout: float,
        *,
        log_messages: bool = False,
    ) -> None:
        self._url = URL(url)
        self._connect_timeout = connect_timeout
        self._log_messages = log_messages
        head = {
            "Host": self._url.host_port_subcomponent or "",
            "Content-Type": "application/json",
            "Accept": "text/event-stream",
            "Accept-Encoding": "identity",
            "Connection": "close",
            **headers,
        }
        if self._url.user is not None:
            head["Authorization"] = encode_basic_auth(self._url.user, self._url.password or "")
        lines = [f"POST {self._url.raw_path_qs} HTTP/1.1", *(f"{name}: {head[name]}" for name in head)]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a header of the calls to the model server contains a line break")
        self._head = "\r\n".join(lines).encode()

    async def post(self, body: bytes, reader: EventReader[T]) -> T:
        """Send a request. Returns the reader's outcome. Cancelling this closes the connection at once.

        Raises what the reader raises, and InferenceUnavailable (not reached, overloaded), InferenceError (it
        failed), InferenceRejected with its reason, InferenceBroken (not HTTP, or nothing that can be read),
        InferenceInterrupted.
        """
        head = self._head + MORE_HEADERS.get()
        request = b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body)
        connection = _Connection(request, reader, log_messages=self._log_messages)
        del body, request  # they may be large, and the answer may take long
        try:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self._connect(connection)
            except (OSError, UnicodeError) as error:  # TimeoutError is an OSError; UnicodeError: a bad host
                log.warning("inference_unavailable", reason=describe(error))
                raise errors.InferenceUnavailable from error
            return await connection.outcome
        finally:
            connection.abort()

    async def _connect(self, connection: _Connection[T]) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._url.raw_host, self._url.port
        # Not create_connection(host): uvloop's tries one address after the other.
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        tls = _ssl_context() if self._url.scheme == "https" else None
        name = host if tls else None
        if len(addresses) == 1 and addresses[0][0] == socket.AF_INET:  # nothing to race, and half the cost
            address, port = addresses[0][4][:2]
            await loop.create_connection(lambda: connection, address, port, ssl=tls, server_hostname=name)
            return
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS, interleave=1, loop=loop
        )
        # create_connection closes the socket if it fails or is cancelled.
        await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)


class _Connection(asyncio.Protocol, Generic[T]):
    """Sends the request, and feeds the response to the reader until `outcome` is known."""

    def __init__(self, request: bytes, reader: EventReader[T], *, log_messages: bool) -> None:
        self._loop = asyncio.get_running_loop()
        self.outcome: asyncio.Future[T] = self._loop.create_future()
        self._request = request
        self._reader = reader
        self._response = Response(self._read, self._read_whole, log_messages=log_messages)
        self._timer: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's don't inherit from it
        self._transport.write(self._request)
        self._request = b""

    def data_received(self, data: bytes) -> None:
        if self.outcome.done():
            return
        try:
            if (event := self._response.event(data)) is not None:
                if (end := self._reader.event(event)) is not None:
                    self._finish(end)
            elif self._response.feed(data):
                self._end(complete=True)
            elif self._response.refused is not None and self._timer is None:
                self._timer = self._loop.call_later(REFUSAL_SECONDS, self._give_up)
        except Exception as error:  # any kind: the task that waits for the outcome must get it
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if self.outcome.done():
            return
        try:
            self._end(complete=error is None and self._response.ends_with_connection)
        except Exception as failure:  # as above
            self._fail(failure)
        if not self.outcome.done():
            log.warning("inference_interrupted", reason=describe(error) if error else "connection closed")
            self._fail(errors.InferenceInterrupted())

    def _end(self, *, complete: bool) -> None:
        """Read what the response's end completes. The outcome stays open if it broke off."""
        self._response.end(complete=complete)
        if complete and not self.outcome.done():
            self._finish(self._reader.end())

    def _give_up(self) -> None:
        """Don't wait for the rest of a refusal."""
        if not self.outcome.done():
            try:
                self._response.end(complete=False)
            except errors.ChatError as refusal:
                self._fail(refusal)

    def abort(self) -> None:
        """Close the connection, and ignore anything that still arrives."""
        if not self.outcome.cancel() and not self.outcome.cancelled():
            self.outcome.exception()  # retrieved, since it may have failed while nobody waited
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _read(self, event: Event) -> None:
        if self.outcome.done():
            return
        end = self._reader.event(event) if isinstance(event, bytes) else self._reader.named(*event)
        if end is not None:
            self._finish(end)

    def _read_whole(self, data: bytes) -> None:
        self._finish(self._reader.whole(data))

    def _finish(self, value: T) -> None:
        if not self.outcome.done():
            self.outcome.set_result(value)

    def _fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@cache
def _ssl_context() -> ssl.SSLContext:
    """Python's defaults: certificate authorities (SSL_CERT_FILE, SSL_CERT_DIR), and host names checked."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
