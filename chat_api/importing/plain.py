"""Makes UTF-8 of what a file is: UTF-8 with or without a byte order mark, or UTF-16."""

from __future__ import annotations

import codecs

_UTF_16 = {
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
    b"[\0": "utf-16-le",
    b"{\0": "utf-16-le",
    b"\0[": "utf-16-be",
    b"\0{": "utf-16-be",
}


class Plain:
    """Takes the pieces of a text, and gives them as UTF-8. What can't be decoded becomes U+FFFD."""

    def __init__(self) -> None:
        self._head: bytes | None = b""  # None: what it is encoded in is known
        self._decoder: codecs.IncrementalDecoder | None = None  # None: UTF-8

    def feed(self, data: bytes) -> bytes:
        """The next piece."""
        if self._head is not None:
            data = self._head + data
            if len(data) < len(codecs.BOM_UTF8):
                self._head = data
                return b""
            self._head = None
            encoding = _UTF_16.get(data[:2])
            if encoding is not None:
                self._decoder = codecs.getincrementaldecoder(encoding)("replace")
            data = data.removeprefix(codecs.BOM_UTF8)
        return data if self._decoder is None else self._decoder.decode(data).encode()

    def finish(self) -> bytes:
        """What is left where less than three bytes came."""
        return self._head or b""
