"""Names of files that browsers save: from a title, safe on every system (RFC 6266, RFC 8187)."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

MOST_BYTES = 150
"""Of UTF-8, without the ending: file systems allow 255, and browsers add " (1)"."""

# What some system doesn't allow in a name, and what a shell or a browser reads as something else.
_UNSAFE = re.compile(r'[\\/:*?"<>|%$`\s]+')
_JOINERS = "\u200c\u200d"  # format characters, but Persian words and families of emoji need them
# On Windows these are devices, whatever the ending.
_DEVICE = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)


def safe_name(title: str, ending: str, nameless: str = "conversation") -> str:
    """A file's name from a title. Nothing in it leaves a folder, or hides or reorders what is shown."""
    shown = "".join(
        each if each in _JOINERS or unicodedata.category(each)[0] != "C" else " " for each in title
    )
    name = _UNSAFE.sub(" ", unicodedata.normalize("NFC", shown))
    name = name.encode()[:MOST_BYTES].decode(errors="ignore").strip(f" .~-{_JOINERS}")
    if _DEVICE.match(name):
        name = f"_{name}"
    return f"{name or nameless}.{ending}"


def attachment(name: str) -> str:
    """The header Content-Disposition: the name in UTF-8, and in ASCII for clients that know no other."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem, _, ending = plain.rpartition(".")
    fallback = f"{stem.strip() or 'conversation'}.{ending}"
    return f"attachment; filename=\"{fallback}\"; filename*=UTF-8''{quote(name, safe='')}"
