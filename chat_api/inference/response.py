"""An HTTP response whose body is an event stream or one JSON object, parsed as its bytes arrive."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import NoReturn

import httptools
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.inference.body import Body, kind_of
from chat_api.inference.event_parser import CR, LF, Event, EventParser, EventTooLarge
from chat_api.inference.refusal import MAX_REFUSAL_BYTES, broken, refuse

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 65_536  # of headers, trailers and anything else outside the body
MAX_WHOLE_BYTES = 4_194_304  # of an answer that isn't a stream


@lru_cache(maxsize=4096)  # an entry for every possible size would take 20 MB
def chunk_head(size: int) -> bytes | None:
    """The first bytes of a chunk that holds one event and has `size` bytes in all; None if there is none.

    Nearly all servers write the chunk's size in lower case. The parser handles the others.
    """
    for digits in range(1, 5):
        if len(b"%x" % max(size - digits - 4, 0)) == digits:
            return b"%x\r\ndata: " % (size - digits - 4)
    return None


class Response:
    """Reads a response with status 200; other responses are errors.

    Calls `read` with each event of a stream, or `whole` with the JSON of an answer that isn't one. The body
    may be chunked, have a length, or last until the connection ends. It must not be compressed, which the
    request didn't allow. Responses with a status of 1xx are skipped. Redirects are not followed.
    """

    def __init__(
        self, read: Callable[[Event], None], whole: Callable[[bytes], None], *, log_messages: bool = False
    ) -> None:
        self._read = read
        self._whole = whole
        self._log_messages = log_messages
        self._events = EventParser()
        self._parser = httptools.HttpResponseParser(self)
        # Safe because the connection is used once: if two parties disagree about where the response ends,
        # nothing can be smuggled in after it.
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self._head_bytes = 0  # since the last bytes of the body
        self._error: Exception | None = None
        self._in_body = self._complete = self._delimited = self._encoded = False
        self._between_chunks = self._is_stream = False
        self._content_type = b""
        self._retry_after: str | None = None
        self._kind: Body | None = None
        self._body = bytearray()  # what isn't a stream, or isn't known to be one yet
        self.refused: int | None = None  # the status of a refusal whose body is still being read

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body is complete if the connection ends now."""
        return self._in_body and not self._delimited

    def event(self, data: bytes) -> bytes | None:
        """The event's data, if the bytes are one chunk that is one event of one line, as nearly all are.

        Don't feed such bytes to the parser. It is between two chunks before them, and still is after them.
        """
        if self._between_chunks and data[-4:] == b"\n\n\r\n":
            head = chunk_head(len(data))
            if head is not None and data[: len(head)] == head:
                event = data[len(head) : -4]
                if event > b"!" and LF not in event and CR not in event:  # blank data is no event
                    return event
        return None

    def feed(self, data: bytes) -> bool:
        """Parse some bytes. Returns whether the response is complete.

        Raises InferenceBroken, what `refuse` raises, and what `read` raises.
        """
        self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._error is not None:  # raised in a callback; the parser wraps it in an error of its own
                raise self._error from None
            if self._complete:
                return True  # what follows the end doesn't matter
            raise broken(describe(error)) from None
        if self._head_bytes > MAX_HEAD_BYTES:
            raise broken("the headers are too large")
        # No callback reports the beginning of a size that is cut off from the rest.
        self._between_chunks = self._between_chunks and data[-2:] == b"\r\n"
        return self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note how the body is delimited and encoded; called by the parser."""
        name, value = name.lower(), value.strip().lower()
        if name == b"content-length":
            self._delimited = True
        elif name == b"transfer-encoding":
            self._delimited = True
            self._encoded |= value != b"chunked"
        elif name == b"content-encoding":
            self._encoded |= value not in (b"", b"identity")
        elif name == b"content-type":
            self._content_type = value.partition(b";")[0].rstrip()
        elif name == b"retry-after":
            self._retry_after = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Refuse a response that can't be an answer; called by the parser."""
        status = self._parser.get_status_code()
        if status >= 200:
            try:
                if status >= 400 and not self._encoded:
                    self.refused = status  # its body says why
                    return
                if status != 200:
                    refuse(status, self._retry_after)
                if self._encoded:
                    raise broken("the body is compressed")
            except errors.ChatError as error:
                self._error = error
                raise
            self._in_body = True

    def on_chunk_header(self) -> None:
        """Note that a chunk begins; called by the parser."""
        self._between_chunks = False

    def on_chunk_complete(self) -> None:
        """Note that a chunk has ended; called by the parser."""
        self._between_chunks = self._is_stream and self._events.empty

    def on_body(self, chunk: bytes) -> None:
        """Take some bytes of the body; called by the parser."""
        self._head_bytes = 0
        try:
            if not self._is_stream:
                chunk = self._gather(chunk)
            for event in self._events.feed(chunk):
                self._read(event)
        except EventTooLarge as error:
            self._fail(error.before)
            raise
        except Exception as error:
            self._error = error
            raise

    def on_message_complete(self) -> None:
        """Note the end of the response, unless its status was 1xx; called by the parser."""
        self._complete = self._in_body or self.refused is not None

    def end(self, *, complete: bool = True) -> None:
        """Hand on what the end of the response completes; `complete` is False if it broke off.

        Raises InferenceBroken, what `refuse` raises, and what `read` and `whole` raise.
        """
        if self.refused is not None:
            self._refuse()
        if complete and self._kind is None:
            self._decide(complete=True)
        if self._is_stream:
            for event in self._events.end():
                self._read(event)
        elif complete:
            self._whole(bytes(self._body))

    def _gather(self, chunk: bytes) -> bytes:
        """Keep what isn't a stream. Returns what now turns out to be its beginning."""
        self._body += chunk
        if self.refused is not None:
            if len(self._body) > MAX_REFUSAL_BYTES:
                self._refuse()
        elif self._kind is None:
            self._decide()
        if len(self._body) > MAX_WHOLE_BYTES:
            raise self._strange("the answer is too large")
        return bytes(self._body) if self._is_stream else b""

    def _decide(self, *, complete: bool = False) -> None:
        self._kind = kind_of(self._content_type, bytes(self._body), complete=complete)
        self._is_stream = self._kind is Body.STREAM
        if self._kind is Body.OTHER:
            raise self._strange("the answer is neither an event stream nor JSON")

    def _fail(self, before: list[Event]) -> None:
        """Hand on the events before one that is too large."""
        self._error = errors.InferenceBroken("The model server sent an event that is too large.")
        log.warning("inference_broken", reason="an event is too large")
        try:
            for event in before:
                self._read(event)
        except Exception as error:
            self._error = error
            raise

    def _strange(self, reason: str) -> errors.InferenceBroken:
        return broken(reason, content_type=self._content_type.decode("latin-1") or None)

    def _refuse(self) -> NoReturn:
        refuse(self.refused or 0, self._retry_after, bytes(self._body), log_messages=self._log_messages)
