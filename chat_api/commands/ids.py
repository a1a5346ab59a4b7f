"""Ids on the command line, for the `type` of argparse's arguments."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from uuid import UUID


def uuid_of(what: str) -> Callable[[str], UUID]:
    """Make a parser for the id of `what`, such as "a user". It raises argparse's ArgumentTypeError."""

    def parse(text: str) -> UUID:
        try:
            return UUID(text)
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} isn't the id of {what}: give a UUID such as 00000000-0000-4000-8000-000000000001"
            ) from None

    return parse
