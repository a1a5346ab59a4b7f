"""Cuts JSON into values while it comes: the items of an array, or objects that follow one another.

Nothing is parsed here. Only one value is held at a time, and of one that is too large nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import orjson

from chat_api.importing.limits import MOST_DEPTH, MOST_ITEM_BYTES, MOST_ITEM_VALUES, UnreadableError

# Up to the quote that ends a string, or to the end, or to a backslash there. First the common case: the next
# quote has no backslash before it. Possessive throughout: there is no way back, whatever the text.
_IN_TEXT = rb'(?:[^"]*+(?<!\\)(?=")|(?:[^"\\]++|\\.)*+)'


def _plain(levels: int) -> bytes:
    """A pattern for what has no brackets, or has them in pairs, this many levels deep."""
    inner = b"" if not levels else _plain(levels - 1)
    pairs = b"" if not levels else rb"|\{%b\}|\[%b\]" % (inner, inner)
    return rb'(?:[^"{}\[\]]++|"%b"%b)*+' % (_IN_TEXT, pairs)


# Up to a bracket or a quote whose partner isn't in this piece, or is too far off. The levels are those of a
# message: one match instead of some twenty.
_PLAIN = re.compile(_plain(4), re.DOTALL)
_TEXT = re.compile(_IN_TEXT, re.DOTALL)
_STRING = re.compile(rb'"%b"' % _IN_TEXT, re.DOTALL)
_BETWEEN = re.compile(rb"[\s,\x1e]*+")
_SCALAR = re.compile(rb'[^\s,\[\]{}"]++')
_NAME = re.compile(rb'"(?:title|name)"\s*:\s*("(?:[^"\\]|\\.){1,500}")')

_QUOTE, _BACKSLASH = b'"\\'
_OPENING, _CLOSING = b"{[", b"}]"
_HEAD_BYTES = 4096

_NOT_JSON = "This isn't JSON: an export is an array or lines of JSON, or a zip that holds conversations.json."
_NOT_OBJECT = "It isn't a JSON object."
_GOES_ON = "After its array, the file goes on with something else."
_CUT = "The file ends in the middle: the download may have been cut. What came before it is imported."


@dataclass(frozen=True, slots=True)
class Refused:
    """A value that isn't looked at: the title that it seems to have, and why."""

    title: str | None
    why: str


class Cutter:
    """Takes the pieces of a JSON text, and gives its values."""

    def __init__(self) -> None:
        self._is_array: bool | None = None  # None: nothing but space came so far
        self._has_ended = False
        self._parts: list[bytes] = []
        self._size = 0
        self._depth = 0
        self._in_text = False
        self._in_scalar = False  # a number, or a word
        self._is_escaped = False  # the piece ended between a backslash and what it escapes
        self._why = ""  # the value is refused

    def feed(self, data: bytes) -> Iterator[bytes | Refused]:
        """The values that end in the next piece.

        Raises:
            UnreadableError: it isn't JSON.
        """
        place = 0
        while place < len(data):
            if self._depth or self._in_text:
                end = self._end(data, place)
                self._keep(data[place : end or len(data)])
                if end is None:
                    return
                place = end
                yield self._value()
            elif self._in_scalar:
                place = _end_of(_SCALAR, data, place)
                self._in_scalar = place == len(data)
            else:
                place = _end_of(_BETWEEN, data, place)
                if place == len(data):
                    return
                if self._begin(data[place]):
                    place += 1
                else:
                    self._in_scalar = True
                    yield Refused(None, _NOT_OBJECT)

    def finish(self) -> None:
        """Say that nothing more comes.

        Raises:
            UnreadableError: the text is empty, or was cut.
        """
        if self._is_array is None:
            raise UnreadableError("The file is empty.")
        if self._depth or self._in_text or (self._is_array and not self._has_ended):
            raise UnreadableError(_CUT)

    def _begin(self, at: int) -> bool:
        """Begin with this byte, between two values. Returns whether it is done: a number or a word isn't."""
        if self._is_array is None:
            if at not in _OPENING:
                raise UnreadableError(_NOT_JSON)
            self._is_array = at == _OPENING[1]
            if self._is_array:
                return True
        if self._has_ended or (not self._is_array and at != _OPENING[0]):
            raise UnreadableError(_NOT_JSON if not self._has_ended else _GOES_ON)
        if at in _CLOSING:
            if at != _CLOSING[1]:
                raise UnreadableError(_NOT_JSON)
            self._has_ended = True
            return True
        if at not in _OPENING and at != _QUOTE:
            return False
        self._start()
        if at == _QUOTE:
            self._in_text = True
            self._refuse(_NOT_OBJECT)
        else:
            self._depth = 1
        self._keep(bytes((at,)))
        return True

    def _start(self) -> None:
        self._parts, self._size, self._why = [], 0, ""

    def _end(self, data: bytes, place: int) -> int | None:
        """Where the value ends that goes on at this place; None: not in this piece."""
        if self._is_escaped:
            self._is_escaped = False
            place += 1
        while True:
            if self._in_text:
                place = _end_of(_TEXT, data, place)
                if place == len(data):
                    return None
                if data[place] == _BACKSLASH:
                    self._is_escaped = True
                    return None
                self._in_text = False
                place += 1
                if not self._depth:
                    return place
            place = _end_of(_PLAIN, data, place)
            if place == len(data):
                return None
            at = data[place]
            place += 1
            if at == _QUOTE:
                self._in_text = True
            elif at in _OPENING:
                self._depth += 1
                if self._depth > MOST_DEPTH:
                    self._refuse(f"It is nested more than {MOST_DEPTH} levels deep.")
            else:
                self._depth -= 1
                if not self._depth:
                    return place

    def _keep(self, part: bytes) -> None:
        self._size += len(part)
        if self._size > MOST_ITEM_BYTES:
            self._refuse(f"It is larger than {MOST_ITEM_BYTES // 1024 // 1024} MB.")
        if not self._why:
            self._parts.append(part)
        else:  # its beginning has the title
            self._parts = [b"".join((*self._parts, part))[:_HEAD_BYTES]]

    def _refuse(self, why: str) -> None:
        self._why = self._why or why

    def _value(self) -> bytes | Refused:
        value = b"".join(self._parts)
        self._parts = []
        if not self._why and _has_many_values(value):
            self._refuse(f"It has more than {MOST_ITEM_VALUES:,} values.")
        if self._why:
            return Refused(title_in(value), self._why)
        return value


def _has_many_values(text: bytes) -> bool:
    """Whether a piece of JSON has more than MOST_ITEM_VALUES, empty ones included."""
    if _separators(text) <= MOST_ITEM_VALUES:
        return False
    # What stands within its texts doesn't count. One by one, so that other threads get their turn.
    number = place = 0
    for found in _STRING.finditer(text):
        number += _separators(text[place : found.start()])
        if number > MOST_ITEM_VALUES:
            return True
        place = found.end()
    return number + _separators(text[place:]) > MOST_ITEM_VALUES


def _separators(text: bytes) -> int:
    return sum(map(text.count, (b",", b"{", b"[")))


def title_in(text: bytes) -> str | None:
    """The title that a piece of JSON seems to have."""
    found = _NAME.search(text[:_HEAD_BYTES])
    if found is None:
        return None
    try:
        title = orjson.loads(found[1])
    except ValueError:
        return None
    return str(title)


def _end_of(pattern: re.Pattern[bytes], data: bytes, place: int) -> int:
    """Where what a pattern matches from this place on ends. The pattern matches nothing, too."""
    found = pattern.match(data, place)
    return place if found is None else found.end()
