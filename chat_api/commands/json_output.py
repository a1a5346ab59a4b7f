"""What commands print on standard output: JSON with `--json`, and lists."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import orjson


def print_json(value: Any) -> None:
    """Print a value as indented JSON, with a newline at its end. Decimals become numbers."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(value, default=float, option=options).decode())


def print_rows(
    rows: Sequence[dict[str, Any]], in_words: Callable[[Any], str], what: str, *, as_json: bool
) -> int:
    """Print each row in words on a line of its own, or all as JSON. `what`: the rows, in the plural.

    Returns the exit status.
    """
    if as_json:
        print_json(rows)
        return 0
    for row in rows:
        sys.stdout.write(f"{in_words(row)}\n")
    if not rows:
        sys.stdout.write(f"there are no {what}\n")
    return 0
