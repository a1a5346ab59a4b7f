"""Characters that a server cuts in two: half a surrogate pair in one chunk, the other half in the next.

JSON writes a character beyond U+FFFF as two escapes. Servers that write token by token may part them.
"""

from __future__ import annotations

import json
import re
from typing import Any

from chat_api.bodies.tools import ESCAPED_NUL
from chat_api.errors import describe
from chat_api.inference.base import Unreadable

REPLACEMENT = "\ufffd"
_LONE = re.compile("[\ud800-\udfff]")


def parse_leniently(data: bytes) -> dict[str, Any]:
    """Parse a JSON object that orjson refuses, and Python's own writer and reader don't.

    Its strings may hold lone halves and control characters, its numbers may be NaN. Raises Unreadable.
    """
    try:
        text = ESCAPED_NUL.sub(rb"\1\\ufffd", data).decode("utf-8-sig", errors="replace")
        value = json.loads(text, strict=False)
    except (ValueError, RecursionError) as error:
        raise Unreadable(describe(error)) from error
    if isinstance(value, list) and len(value) == 1:  # as Google sends its errors
        value = value[0]
    if not isinstance(value, dict):
        raise Unreadable("the event is not a JSON object")
    return value


def mend(text: str) -> str:
    """The text with its pairs joined, and with U+FFFD for each lone half."""
    if text.isascii() or not _LONE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


class Halves:
    """Joins the halves in the pieces of one text."""

    __slots__ = ("first",)

    def __init__(self) -> None:
        self.first = ""  # a half that waits for the next piece

    def join(self, text: str) -> str:
        """The next piece, with its pairs joined. A first half at its end is kept for the next call."""
        text = self.first + text
        self.first = ""
        if text and "\ud800" <= text[-1] <= "\udbff":
            self.first, text = text[-1], text[:-1]
        return mend(text)

    def rest(self) -> str:
        """What stands for a half whose other half never came."""
        rest = REPLACEMENT if self.first else ""
        self.first = ""
        return rest
