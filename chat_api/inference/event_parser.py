"""Parsing server-sent events, as in the HTML standard, section 9.2.6, and a little beyond."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

MAX_EVENT_BYTES = 262_144
BOM = b"\xef\xbb\xbf"
LF, CR = b"\n\r"
OPENING, CLOSING = (b"{", b"["), (b"}", b"]")
ERROR = b"error"
_ERROR_OBJECT = re.compile(rb'\s*\{\s*"error"\s*:')
_FAILING = re.compile(rb"error|exception|fail", re.I)
DONE = b"[DONE]"  # with which OpenAI's streams end: no JSON


class Named(NamedTuple):
    """An event with a name other than `message`."""

    name: bytes
    data: bytes


Event = bytes | Named  # the data alone, if the event has no name


class EventTooLarge(Exception):
    """An event of more than MAX_EVENT_BYTES. `before` has the events that the same chunk completed."""

    def __init__(self, before: list[Event]) -> None:
        self.before = before
        super().__init__()


class EventParser:
    """Extracts the events from a byte stream, however it is cut into chunks.

    Names and data count; `id` and `retry` are for those who connect again. Bytes are not decoded, so that a
    character split between two chunks stays whole. Beyond the standard, since model servers do so:

    - The last event of a stream may lack its blank line (`end`).
    - Events may be separated by one line break only. A line that ends a JSON value, and one that begins
      another, can't belong to the same JSON text, so they are two events.
    - A field `error`, in any case, is an event named `error`, and so is a line of JSON that begins with one:
      Ollama forgets `data:` there. An event of that name counts even if it has no data.
    - Any other event whose data is blank is passed over, not only one without a data line.
    """

    __slots__ = ("_data", "_found", "_line", "_name", "_size", "_unread")

    def __init__(self) -> None:
        self._line: list[bytes] = []  # the pieces of an incomplete line
        self._data: list[bytes] = []  # the data lines of an incomplete event
        self._name = b""
        self._size = 0  # bytes of these three with the fields' names: 0 if there is nothing
        self._unread = BOM  # passed over if it comes next: a byte order mark, or LF after CR
        self._found: list[Event] = []

    @property
    def empty(self) -> bool:
        """Whether no event is incomplete, so that the next chunk begins one."""
        return not (self._size or self._unread)

    def feed(self, chunk: bytes) -> list[Event]:
        """The events that a chunk completes. Raises EventTooLarge."""
        if self._unread:
            chunk = self._pass_over(chunk)
        found = self._found = []
        data = self._data
        pieces = chunk.splitlines()  # at LF, CR LF and CR, and nowhere else
        rest = b""
        if chunk[-1:] == b"\r":
            self._unread = b"\n"
        elif pieces and chunk[-1] != LF:
            rest = pieces.pop()
        for piece in pieces:
            line = piece
            if self._line:
                line = b"".join((*self._line, piece))
                self._size -= len(line) - len(piece)
                self._line.clear()
            if line[:5] == b"data:":
                value = line[5:].removeprefix(b" ")
                if data and data[-1].rstrip()[-1:] in CLOSING and value.lstrip()[:1] in OPENING:
                    self._dispatch()
                data.append(value)
                self._grow(len(line))
            elif line:
                self._field(line)
            elif self._size:
                self._dispatch()
        if rest:
            self._line.append(rest)
            self._grow(len(rest))
        return found

    def end(self) -> list[Event]:
        """The events that the end of the stream completes: the last one, if its data is whole."""
        found = self.feed(b"\n") if self._line else []
        self._found = found
        if self._name == ERROR or _is_whole(b"\n".join(self._data)):
            self._dispatch()
        return found

    def _pass_over(self, chunk: bytes) -> bytes:
        chunk = b"".join((*self._line, chunk))
        self._line.clear()
        if len(chunk) < len(self._unread) and self._unread.startswith(chunk):
            if chunk:
                self._line.append(chunk)
            return b""
        chunk = chunk.removeprefix(self._unread)
        self._unread = b""
        return chunk

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(b"")
        elif name == b"event":
            self._name = b"" if value == b"message" else value
        elif (is_object := _ERROR_OBJECT.match(line) is not None) or name.lower() == ERROR:
            if self._data:
                self._dispatch()
            self._name = ERROR
            self._data.append(line if is_object else value)
        else:
            return
        self._grow(len(line))

    def _dispatch(self) -> None:
        data = self._data[0] if len(self._data) == 1 else b"\n".join(self._data)
        name = self._name
        self._data.clear()
        self._name = b""
        self._size = 0
        if name == ERROR or (data and not data.isspace()):
            self._found.append(Named(name, data) if name else data)

    def _grow(self, size: int) -> None:
        self._size += size
        if self._size > MAX_EVENT_BYTES:
            raise EventTooLarge(self._found)


def is_failing(name: bytes) -> bool:
    """Whether an event of this name is an error: `error`, `Exception`, `message_failed`."""
    return _FAILING.search(name) is not None


def is_done(data: bytes) -> bool:
    """Whether this is the mark at the end of OpenAI's streams, however it is written."""
    return data.strip(b' \t\r\n"').upper() == DONE


def _is_whole(data: bytes) -> bool:
    """Whether an event that isn't ended could be one: no beginning of a JSON object is JSON."""
    if is_done(data):
        return True
    try:
        # The standard library's parser takes half a surrogate pair, which is for others to judge.
        return isinstance(json.loads(data.decode(errors="replace")), dict)
    except (ValueError, RecursionError):
        return False
