"""An HTTP response whose body is an event stream, parsed as its bytes arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

import httptools
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.inference.event_parser import EventParser, EventTooLarge

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 65_536  # of headers, trailers and whatever else is no body
LF = 10


@lru_cache(maxsize=4096)  # all the sizes that a read may have would be 20 MB
def chunk_head(size: int) -> bytes | None:
    """How a chunk of an event begins that has so many bytes in all; None: no chunk has.

    Sizes are written in lower case nearly everywhere; those that are not take the parser's way.
    """
    for digits in range(1, 5):
        if len(b"%x" % max(size - digits - 4, 0)) == digits:
            return b"%x\r\ndata: " % (size - digits - 4)
    return None


class Response:
    """Calls `read` with the data of each event of a response with status 200; every other one is refused.

    The body may come in chunks, with a length, or up to the connection's end, and not compressed: that was
    not asked for. Responses of status 1xx are passed over; redirects are not followed.
    """

    def __init__(self, read: Callable[[bytes], None]) -> None:
        self._read = read
        self._events = EventParser()
        self._parser = httptools.HttpResponseParser(self)
        # The connection is used once, so that nothing can be smuggled behind an end that two parties see
        # differently.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._head_bytes = 0  # since the last piece of the body
        self._error: Exception | None = None
        self._in_body = self._complete = self._delimited = self._encoded = False
        self._between_chunks = False

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body is in order if the connection ends now."""
        return self._in_body and not self._delimited

    def event(self, data: bytes) -> bytes | None:
        """An event's data, where some bytes are one chunk that is one event of one line, as nearly all are.

        Then they are not to be fed: the parser is between two chunks before them, and so it is after them.
        """
        if self._between_chunks and data[-4:] == b"\n\n\r\n":
            head = chunk_head(len(data))
            if head is not None and data[: len(head)] == head:
                event = data[len(head) : -4]
                if LF not in event:
                    return event.removesuffix(b"\r")
        return None

    def feed(self, data: bytes) -> bool:
        """Parse some bytes; true when the response is complete.

        Raises InferenceUnavailable or InferenceRejected (by status), InferenceBroken, and what `read` raises.
        """
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._error is not None:  # raised below a callback, which the parser reports in its own words
                raise self._error from None
            if self._complete:
                return True  # what follows the end is nobody's
            _broken(describe(error))
        if self._head_bytes > MAX_HEAD_BYTES:
            _broken("the headers are too large")
        # The beginning of a size, cut from the rest, is told by no callback.
        self._between_chunks = self._between_chunks and data[-2:] == b"\r\n"
        return self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """For the parser."""
        name, value = name.lower(), value.strip().lower()
        if name == b"content-length":
            self._delimited = True
        elif name == b"transfer-encoding":
            self._delimited = True
            self._encoded |= value != b"chunked"
        elif name == b"content-encoding":
            self._encoded |= value not in (b"", b"identity")

    def on_headers_complete(self) -> None:
        """For the parser."""
        status = self._parser.get_status_code()
        if status >= 200:
            try:
                if status != 200:
                    refuse(status)
                if self._encoded:
                    _broken("the body is compressed")
            except errors.ChatError as error:
                self._error = error
                raise
            self._in_body = True

    def on_chunk_header(self) -> None:
        """For the parser."""
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        """For the parser."""
        self._between_chunks = self._in_body and self._events.empty

    def on_body(self, chunk: bytes) -> None:
        """For the parser."""
        self._head_bytes = 0
        try:
            for data in self._events.feed(chunk):
                self._read(data)
        except EventTooLarge:
            self._error = errors.InferenceBroken("The model server sent an event that is too large.")
            raise
        except Exception as error:
            self._error = error
            raise

    def on_message_complete(self) -> None:
        """For the parser."""
        self._complete = self._in_body


def refuse(status: int) -> NoReturn:
    """Raise what a failed answer means. Its text goes nowhere: it may repeat what the user wrote."""
    log.warning("inference_refused", status=status)
    if status in (429, 502, 503, 504):
        raise errors.InferenceUnavailable(
            "The model server is overloaded or starting; try again in a few seconds."
        )
    raise errors.InferenceRejected(f"The model server refused the request (HTTP {status}).")


def _broken(reason: str) -> NoReturn:
    log.warning("inference_broken", reason=reason)
    raise errors.InferenceBroken
