"""How a command ends if it can't do its work. Each error's text is the sentence to show.

MisusedError          exit status 2: the command was given something that it can't use
├─ UnknownQueryError  there is no query of that name
└─ ParameterError     the query has no such parameter, or doesn't accept the value
FailedError           exit status 1: the command's work failed
"""

from __future__ import annotations

import sys

FAILED, MISUSED = 1, 2
INTERRUPTED = 128 + 2  # as a shell reports that SIGINT ended a command


class MisusedError(Exception):
    """The command was given something that it can't use."""


class UnknownQueryError(MisusedError):
    """There is no query of that name. The text names the nearest ones."""


class ParameterError(MisusedError):
    """The query has no such parameter, or the parameter doesn't accept the value."""


class FailedError(Exception):
    """The command's work failed: for example, the database can't be reached, refuses, or takes too long."""


def fail(reason: str, status: int = FAILED) -> int:
    """Write the reason to stderr, and return the exit status."""
    warn(reason)
    return status


def warn(text: str) -> None:
    """Write a text to stderr, with the program's name before each line."""
    sys.stderr.write("".join(f"chat-api: {line}\n" for line in text.splitlines()))
