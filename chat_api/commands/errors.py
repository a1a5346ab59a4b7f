"""How a command ends that can't do its work; each error's text is the sentence to show.

MisusedError          exit status 2: the command was given something that it can't work with
├─ UnknownQueryError  there is no query of that name
└─ ParameterError     the query has no such parameter, or doesn't accept the value
FailedError           exit status 1: the command's work failed
"""

from __future__ import annotations

import sys

FAILED, MISUSED = 1, 2
INTERRUPTED = 128 + 2  # as a shell reports that SIGINT ended a command


class MisusedError(Exception):
    """The command was given something that it can't work with."""


class UnknownQueryError(MisusedError):
    """There is no query of that name; the text names the nearest ones."""


class ParameterError(MisusedError):
    """The query has no such parameter, or the parameter doesn't accept the value."""


class FailedError(Exception):
    """The command's work failed: for example, the database can't be reached, refuses, or takes too long."""


def fail(reason: str, status: int = FAILED) -> int:
    """Write why to stderr, and return the exit status."""
    warn(reason)
    return status


def warn(text: str) -> None:
    """Write a text to stderr, each line under the program's name."""
    sys.stderr.write("".join(f"chat-api: {line}\n" for line in text.splitlines()))
