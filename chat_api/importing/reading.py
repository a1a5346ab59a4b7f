"""Reads a file piece by piece, whatever product it is from: its content says that, not its name."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from types import ModuleType
from typing import Any

import orjson

from chat_api.importing import zips
from chat_api.importing.conversation import Conversation
from chat_api.importing.cutting import Cutter, Refused, title_in
from chat_api.importing.formats import chatgpt, claude, librechat, open_webui, own
from chat_api.importing.limits import PIECE_BYTES
from chat_api.importing.plain import Plain

FORMATS: tuple[ModuleType, ...] = (chatgpt, claude, open_webui, librechat)

_UNKNOWN = "It isn't a conversation in a form that is known here."
_NO_JSON = "It isn't valid JSON."
_TORN = "A line of it can't be read, so messages would be missing."


class Reader:
    """Takes the pieces of a file, and gives its conversations, and what of it can't be one.

    At most one conversation of the file is held at a time, and none before its JSON is whole.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], datetime]) -> None:
        """`most_bytes`: of what a zip holds."""
        self._most_bytes = most_bytes
        self._clock = clock
        self._head: bytes | None = b""  # None: whether it is a zip is known
        self._unzip: zips.Unzip | None = None
        self._file = 0  # which one in the zip
        self._plain, self._cutter, self._lines = Plain(), Cutter(), own.Lines()

    @property
    def records(self) -> int:
        """How many records of answers and rows of usage an export of this service had."""
        return self._lines.records

    def feed(self, data: bytes) -> Iterator[Conversation | Refused]:
        """What ends in the next piece. What is given must be taken before the next call.

        Raises:
            UnreadableError: nothing more can be read.
        """
        if self._head is not None:
            data = self._head + data
            if len(data) < len(zips.SIGNATURE):
                self._head = data
                return
            self._head = None
            if data.startswith((zips.SIGNATURE, b"PK\x05\x06")):
                self._unzip = zips.Unzip(self._most_bytes)
        for start in range(0, len(data), PIECE_BYTES):
            piece = data[start : start + PIECE_BYTES]
            if self._unzip is None:
                yield from self._text(piece)
                continue
            for file, unpacked in self._unzip.feed(piece):
                if file != self._file:
                    yield from self._end_text()
                    self._file = file
                yield from self._text(unpacked)

    def finish(self) -> Iterator[Conversation | Refused]:
        """What is left when the file has ended.

        Raises:
            UnreadableError: it was cut, or is empty.
        """
        if self._head:  # of three bytes at most
            yield from self._text(self._head)
        if self._unzip is not None:
            self._unzip.finish()
        yield from self._values(self._plain.finish())
        self._cutter.finish()
        last = self._lines.finish()
        if last is not None:
            yield last

    def _end_text(self) -> Iterator[Conversation | Refused]:
        if self._file:
            yield from self._values(self._plain.finish())
            self._cutter.finish()
            self._plain, self._cutter = Plain(), Cutter()

    def _text(self, data: bytes) -> Iterator[Conversation | Refused]:
        yield from self._values(self._plain.feed(data))

    def _values(self, text: bytes) -> Iterator[Conversation | Refused]:
        for value in self._cutter.feed(text):
            item = None if isinstance(value, Refused) else _parse(value)
            if isinstance(value, Refused) or item is None:
                # It may have been a message of this one.
                torn = self._lines.drop()
                if torn is not None:
                    yield Refused(torn.title, _TORN)
                yield value if isinstance(value, Refused) else Refused(title_in(value), _NO_JSON)
            elif own.is_line(item):
                ended = self._lines.take(item, len(value), self._clock())
                if ended is not None:
                    yield ended
            else:
                yield self._convert(item, value)

    def _convert(self, item: dict[str, Any], value: bytes) -> Conversation | Refused:
        for each in FORMATS:
            if each.is_one(item):
                found: Conversation = each.convert(item, self._clock())
                # The same file gives the same id.
                found.external_id = found.external_id or f"sha256:{hashlib.sha256(value).hexdigest()}"
                return found
        return Refused(title_in(value), _UNKNOWN)


def _parse(value: bytes) -> dict[str, Any] | None:
    """The object that a JSON text is; None: it isn't one."""
    try:
        item = orjson.loads(value)
    except ValueError:
        # Some write half of a surrogate pair, NaN, or bytes that are no UTF-8.
        try:
            item = json.loads(value.decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            return None
    return item if isinstance(item, dict) else None
