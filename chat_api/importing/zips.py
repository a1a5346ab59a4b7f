"""Reads conversations.json out of a zip while it comes, from its beginning, so that it is never on a disk.

A zip's list of files is at its end. Before each file, a header says what is needed here (APPNOTE 4.3.7).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator, Iterator

from chat_api.importing.limits import (
    CONVERSATIONS,
    MOST_ENTRIES,
    MOST_RATIO,
    PIECE_BYTES,
    RATIO_COUNTS_FROM,
    UnreadableError,
)

SIGNATURE = b"PK\x03\x04"
_ENDS = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06")  # the list of files begins, or there is none
_DESCRIPTOR_BYTES = (0, 12, 16, 20, 24)  # after a file: sizes of 4 or 8 bytes, with a signature or not
_HEADER = struct.Struct("<4s5H3I2H")
_ZIP64, _UNKNOWN = 1, 0xFFFFFFFF
_STORED, _DEFLATED = 0, 8
_ENCRYPTED, _HAS_DESCRIPTOR = 1, 8

_BROKEN = "The zip is damaged. Download it again, or unpack it and import its conversations.json."
_NOT_READ = "This kind of zip can't be read. Unpack it, and import its conversations.json."
_CUT = "The zip ends in the middle: the download may have been cut. What came before it is imported."
_NONE = "There is no conversations.json in this zip."
_BOMB = f"What is in the zip is more than {MOST_RATIO} times larger than the zip itself."

Piece = tuple[int, bytes]
"""The number of a file in the zip that is wanted, from 1, and some of its bytes."""

_Need = Generator[Piece | None, None, bytes]  # yields None where it needs more of the zip


class Unzip:
    """Takes the pieces of a zip, and gives those of its conversations.json, or of all that are called so."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: of what is unpacked and wanted."""
        self._buffer = bytearray()
        self._most_bytes = most_bytes
        self._entries = self.wanted = 0
        self._unpacked = 0
        self._ended = False
        self._steps = self._read()

    def feed(self, data: bytes) -> Iterator[Piece]:
        """The pieces of wanted files that the next piece of the zip holds.

        Raises:
            UnreadableError: it is damaged, of a kind that can't be read, or a bomb.
        """
        if self._ended:
            return
        self._buffer += data
        for piece in self._steps:
            if piece is None:
                return
            yield piece
        self._ended = True

    def finish(self) -> None:
        """Say that nothing more comes.

        Raises:
            UnreadableError: it was cut, or has no conversations.json.
        """
        if not self._ended:
            raise UnreadableError(_CUT)
        if not self.wanted:
            raise UnreadableError(_NONE)

    def _read(self) -> Iterator[Piece | None]:
        while True:
            signature = yield from self._peek(4)
            if signature in _ENDS:
                return
            if signature != SIGNATURE:
                raise UnreadableError(_BROKEN)
            yield from self._entry()

    def _entry(self) -> Iterator[Piece | None]:
        header = yield from self._take(_HEADER.size)
        _, _, flags, method, _, _, _, packed, size, name_size, extra_size = _HEADER.unpack(header)
        name = (yield from self._take(name_size)).decode("utf-8", "replace")
        extra = yield from self._take(extra_size)
        self._entries += 1
        if self._entries > MOST_ENTRIES:
            raise UnreadableError(f"The zip has more than {MOST_ENTRIES:,} files.")
        if packed == _UNKNOWN:
            packed = _packed_of(extra, size)
        is_wanted = CONVERSATIONS.fullmatch(name) is not None
        has_descriptor = bool(flags & _HAS_DESCRIPTOR)
        if is_wanted:
            self.wanted += 1
            if flags & _ENCRYPTED:
                raise UnreadableError("The zip has a password. Unpack it, and import its conversations.json.")
        if is_wanted or (has_descriptor and not packed):
            if method == _DEFLATED:
                yield from self._inflate(is_wanted)
            elif method == _STORED and not has_descriptor:
                yield from self._copy(packed, is_wanted)
            else:
                raise UnreadableError(_NOT_READ)
        else:
            yield from self._copy(packed, is_wanted)
        if has_descriptor:
            yield from self._skip_descriptor()

    def _copy(self, left: int, is_wanted: bool) -> Iterator[Piece | None]:
        while left:
            while not self._buffer:
                yield None
            data = bytes(self._buffer[: min(left, PIECE_BYTES)])
            del self._buffer[: len(data)]
            left -= len(data)
            if is_wanted:
                yield self._wanted(data)

    def _inflate(self, is_wanted: bool) -> Iterator[Piece | None]:
        unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
        packed = unpacked = 0
        while not unpacker.eof:
            while not self._buffer:
                yield None
            data = bytes(self._buffer)
            self._buffer.clear()
            while data and not unpacker.eof:
                try:
                    piece = unpacker.decompress(data, PIECE_BYTES)
                except zlib.error:
                    raise UnreadableError(_BROKEN) from None
                packed += len(data) - len(unpacker.unconsumed_tail) - len(unpacker.unused_data)
                unpacked += len(piece)
                if unpacked > max(RATIO_COUNTS_FROM, MOST_RATIO * packed):
                    raise UnreadableError(_BOMB)
                data = unpacker.unconsumed_tail
                if piece and is_wanted:
                    yield self._wanted(piece)
        self._buffer[:0] = unpacker.unused_data

    def _wanted(self, piece: bytes) -> Piece:
        self._unpacked += len(piece)
        if self._unpacked > self._most_bytes:
            raise UnreadableError("What is in the zip is larger than what may be imported at once.")
        return self.wanted, piece

    def _skip_descriptor(self) -> Iterator[Piece | None]:
        """Skip the sizes after a file, which have several forms: behind them is a signature."""
        data = yield from self._peek(_DESCRIPTOR_BYTES[-1] + 4, or_end=True)
        for size in _DESCRIPTOR_BYTES:
            if data[size : size + 4] in (SIGNATURE, *_ENDS):
                del self._buffer[:size]
                return
        raise UnreadableError(_BROKEN)

    def _peek(self, size: int, *, or_end: bool = False) -> _Need:
        while len(self._buffer) < size:
            # What ends a zip is longer than what is looked for here, unless it was cut.
            if or_end and any(end in self._buffer for end in _ENDS[1:]):
                break
            yield None
        return bytes(self._buffer[:size])

    def _take(self, size: int) -> _Need:
        data = yield from self._peek(size)
        del self._buffer[:size]
        return data


def _packed_of(extra: bytes, size: int) -> int:
    """The size that a header has no room for, from its ZIP64 field (APPNOTE 4.5.3)."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<2H", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        place = 8 if size == _UNKNOWN else 0  # the size when unpacked comes first, if it is there
        if kind == _ZIP64 and len(field) >= place + 8:
            return int(struct.unpack_from("<Q", field, place)[0])
    raise UnreadableError(_BROKEN)
