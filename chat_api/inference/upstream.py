"""A POST that is answered with an event stream, on a connection of its own.

Tokens are what this service does most, and aiohttp's client puts a stream reader, a timer and a task switch
between each chunk and whoever reads it: several times what the rest costs. Here bytes are parsed where they
arrive, and each event is handed on within the same call; nothing waits between, so that there is nothing to
bound but a single event. Proxies that the environment names are not used, as everywhere in this service.
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
from chat_api.inference.response import Response

log = structlog.get_logger(__name__)

HAPPY_EYEBALLS_SECONDS = 0.25  # RFC 8305 section 5: until the next address is tried as well

# Header lines that the calls of a context carry besides, each with its line break before it.
MORE_HEADERS: ContextVar[bytes] = ContextVar("more_headers", default=b"")

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class EventReader(Protocol[T_co]):
    """What the events of one stream mean. Both are called as bytes arrive, so they must return at once."""

    def event(self, data: bytes) -> T_co | None:
        """Take an event's data; anything but None ends the stream. May raise ChatErrors."""

    def end(self) -> T_co:
        """The stream ended in order, after the last event. May raise ChatErrors."""


class Upstream:
    """An address that takes POSTs, each on a new connection: model servers close theirs after a stream."""

    def __init__(self, url: str, headers: Mapping[str, str], connect_timeout: float) -> None:
        self._url = URL(url)
        self._connect_timeout = connect_timeout
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
        """What the reader makes of the answer. Cancelling this closes the connection at once.

        Raises what the reader raises, and InferenceUnavailable (not reached, overloaded), InferenceRejected,
        InferenceBroken (no HTTP, or nothing that was asked for), InferenceInterrupted.
        """
        head = self._head + MORE_HEADERS.get()
        connection = _Connection(b"%s\r\nContent-Length: %d\r\n\r\n%s" % (head, len(body), body), reader)
        del body  # it may be large, and the answer long
        try:
            try:
                async with asyncio.timeout(self._connect_timeout):
                    await self._connect(connection)
            except (OSError, UnicodeError) as error:  # a time-out is an OSError; a host may be no name at all
                log.warning("inference_unavailable", reason=describe(error))
                raise errors.InferenceUnavailable from error
            return await connection.outcome
        finally:
            connection.abort()

    async def _connect(self, connection: _Connection[T]) -> None:
        loop = asyncio.get_running_loop()
        host, port = self._url.raw_host, self._url.port
        # Not create_connection(host), for uvloop's tries one address after the other.
        addresses = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        tls = _ssl_context() if self._url.scheme == "https" else None
        name = host if tls else None
        if len(addresses) == 1 and addresses[0][0] == socket.AF_INET:  # nothing to race, and half the price
            address, port = addresses[0][4][:2]
            await loop.create_connection(lambda: connection, address, port, ssl=tls, server_hostname=name)
            return
        sock = await aiohappyeyeballs.start_connection(
            addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_SECONDS, interleave=1, loop=loop
        )
        # It closes the socket if it fails or is cancelled.
        await loop.create_connection(lambda: connection, sock=sock, ssl=tls, server_hostname=name)


class _Connection(asyncio.Protocol, Generic[T]):
    """Sends the request, and feeds the response to the reader until `outcome` is known."""

    def __init__(self, request: bytes, reader: EventReader[T]) -> None:
        self.outcome: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._request = request
        self._reader = reader
        self._response = Response(self._read)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are no instances of it
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
                self._finish(self._reader.end())
        except Exception as error:  # whatever it is, who waits for the outcome must get it
            self._fail(error)

    def connection_lost(self, error: Exception | None) -> None:
        if self.outcome.done():
            return
        if error is None and self._response.ends_with_connection:
            try:
                self._finish(self._reader.end())
            except Exception as failure:  # as above
                self._fail(failure)
        else:
            log.warning("inference_interrupted", reason=describe(error) if error else "connection closed")
            self._fail(errors.InferenceInterrupted())

    def abort(self) -> None:
        """Close the connection, and take notice of no more."""
        if not self.outcome.cancel() and not self.outcome.cancelled():
            self.outcome.exception()  # it may have failed while nobody waited
        if self._transport is not None:
            self._transport.abort()

    def _read(self, data: bytes) -> None:
        if not self.outcome.done() and (end := self._reader.event(data)) is not None:
            self._finish(end)

    def _finish(self, value: T) -> None:
        if not self.outcome.done():
            self.outcome.set_result(value)

    def _fail(self, error: Exception) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(error)


@cache
def _ssl_context() -> ssl.SSLContext:
    """Python's defaults: its bundle of authorities (SSL_CERT_FILE, SSL_CERT_DIR), names checked."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context
