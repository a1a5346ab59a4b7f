"""What the body of a response with status 200 is, by its first bytes and its Content-Type."""

from __future__ import annotations

from enum import Enum, auto

from chat_api.inference.event_parser import BOM

EVENT_STREAM = b"text/event-stream"
STARTS = (b":", b"data:", b"event:", b"id:", b"retry:", b"error:")  # of an event stream
MAX_BLANK_BYTES = 1024  # before the first bytes that tell


class Body(Enum):
    """A kind of body."""

    STREAM = auto()
    JSON = auto()  # one object, which is the whole answer
    OTHER = auto()


def kind_of(content_type: bytes, first: bytes, *, complete: bool = False) -> Body | None:
    """The kind of a body that begins with these bytes; None if more are needed, which `complete` rules out.

    The bytes count more than the type, which is lower case, without parameters, and "" if there is none. Web
    frameworks call any stream text/html or text/plain, gateways call errors event streams, and no line of an
    event stream begins with a brace.
    """
    if len(first) < len(BOM) and BOM.startswith(first) and not complete:
        return None
    text = first.removeprefix(BOM).lstrip()
    if text[:1] == b"{":
        return Body.JSON
    blank = not text and not complete and len(first) <= MAX_BLANK_BYTES
    if content_type in (b"", EVENT_STREAM):
        return None if blank else Body.STREAM
    if text.startswith(STARTS):
        return Body.STREAM
    if blank or (not complete and text and any(start.startswith(text) for start in STARTS)):
        return None
    is_json = content_type == b"application/json" or content_type.endswith(b"+json")
    return Body.JSON if is_json else Body.OTHER
