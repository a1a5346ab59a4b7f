"""What a file may have. Each limit bounds the memory, or the time, that a hostile file can take."""

from __future__ import annotations

import re

MOST_ITEM_BYTES = 32 * 1024 * 1024
"""Of one conversation, as JSON. Parsing it holds Python's lock for 0.2 s."""

MOST_ITEM_VALUES = 1_000_000
"""Of one conversation. An empty value takes more memory than its JSON."""

MOST_DEPTH = 900
"""Of JSON: less than what the parsers refuse. LibreChat's nested form has two levels for each message."""

MOST_MESSAGES = 10_000
"""Of one conversation, which is stored by one statement."""

MOST_CHARACTERS = 1_000_000
"""Of a message's text, and of its thinking. The rest is cut."""

MOST_NOTED_CHARACTERS = 5_000_000
"""Of all texts of a conversation that search notes word by word: as many as a statement has time for."""

LONG_TEXT = 20_000
"""Characters beyond which chat_signature() notes a text as a whole."""

MOST_TITLE = 500
MOST_MODEL = 100
MOST_INSTRUCTIONS = 8000
MOST_KEY = 200
"""Characters of an id that a file gives. A longer one is cut."""

MOST_ENTRIES = 50_000
"""Files in a zip."""

MOST_RATIO = 200
"""How many times larger than packed the content of a zip may be. JSON reaches thirty, a bomb a thousand."""

RATIO_COUNTS_FROM = 1024 * 1024
"""Unpacked bytes from which on that is checked."""

PIECE_BYTES = 64 * 1024
"""Of a file that are worked on at once."""

CONVERSATIONS = re.compile(r"(?:.*[/\\])?conversations[^/\\]*\.json", re.IGNORECASE)
"""The names in a zip that are read. ChatGPT cuts a large list into conversations-000.json and so on."""


class UnreadableError(Exception):
    """Nothing more can be read of this file; the text is a sentence for its user."""
