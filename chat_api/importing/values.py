"""Makes what stands in a file storable: texts without NUL, dates that can be, names that fit."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

from chat_api.importing.limits import MOST_CHARACTERS, MOST_KEY, MOST_TITLE

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
_MILLISECONDS_FROM = 1e11  # as seconds: the year 5138
_MICROSECONDS_FROM = 1e14
_HALF = re.compile("[\ud800-\udfff]")
_TITLE_OF_A_TEXT = 80  # as generations.start makes it
CUT = f"Texts were cut after {MOST_CHARACTERS:,} characters"


def storable(text: str) -> str:
    """A text without what PostgreSQL can't store: NUL goes, and half of a surrogate pair becomes U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "")
    return text if text.isascii() else _HALF.sub("\ufffd", text)


def text_of(value: Any, notes: Counter[str]) -> str:
    """A message's text; "" if it is none."""
    if not isinstance(value, str):
        return ""
    if len(value) > MOST_CHARACTERS:
        notes[CUT] += 1
        value = value[:MOST_CHARACTERS]
    return storable(value)


def short(value: Any, most: int) -> str | None:
    """A name on one line, cut where it is too long; None if there is none."""
    if not isinstance(value, str):
        return None
    line = " ".join(storable(value[: 4 * most]).split())
    return line[:most].rstrip() or None


def key_of(value: Any) -> str | None:
    """An id in a file; None if there is none."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value) if abs(value) < 1 << 64 else ""
    return storable(value[:MOST_KEY]) or None if isinstance(value, str) else None


def title_of(value: Any, first: str) -> str:
    """A title, or one made from the first text."""
    return short(value, MOST_TITLE) or short(first, _TITLE_OF_A_TEXT) or "New conversation"


def date_of(value: Any, now: datetime) -> datetime | None:
    """A date: seconds, milliseconds or microseconds since 1970, or ISO 8601; None if it is none, or can't be.

    One without an offset is UTC's.
    """
    try:
        if isinstance(value, str):
            date = datetime.fromisoformat(value.strip())
        elif isinstance(value, int | float) and not isinstance(value, bool):
            scale = 1e6 if value >= _MICROSECONDS_FROM else 1e3 if value >= _MILLISECONDS_FROM else 1
            date = datetime.fromtimestamp(value / scale, UTC)
        else:
            return None
        date = date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if date > now + timedelta(days=1) or date < EARLIEST:
        return None
    return min(date, now)


def dict_of(value: Any) -> dict[str, Any]:
    """The value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def list_of(value: Any) -> list[Any]:
    """The value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def fenced(text: str, language: str = "") -> str:
    """A block of code, in a fence that is longer than any within."""
    longest = max((len(found) for found in re.findall("`{3,}", text)), default=2)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def joined(parts: list[str]) -> str:
    """Parts of a text, with an empty line between them."""
    return "\n\n".join(part for part in parts if part.strip())


def stand_in(kind: str, name: Any = None) -> str:
    """What stands in the place of a picture or a file."""
    named = short(name, 200)
    return f"[{kind}: {named}]" if named else f"[{kind}]"
