"""Numbers: on the command line, for the `type` of argparse's arguments, and in sentences."""

from __future__ import annotations

import argparse
from collections.abc import Callable


def whole_number(least: int, most: int | None = None, *, what: str = "a number") -> Callable[[str], int]:
    """Make a parser for a whole number from `least` to `most`. It raises argparse's ArgumentTypeError.

    `what` names the number in that error, with its unit: "a port", "a number of days".
    """
    allowed = f"{least} or more" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        if (
            not (text.isascii() and text.isdigit())
            or int(text) < least
            or (most is not None and int(text) > most)
        ):
            raise argparse.ArgumentTypeError(f"{text!r}: give {what} {allowed}")
        return int(text)

    return parse


def counted(count: int, what: str) -> str:
    """A number of things, such as "1 message" and "2 messages"."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
