"""JSON on standard output: what `--json` prints."""

from __future__ import annotations

import sys
from typing import Any

import orjson


def print_json(value: Any) -> None:
    """Print a value as indented JSON, with a newline at its end. Decimals become numbers."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
    sys.stdout.write(orjson.dumps(value, default=float, option=options).decode())
