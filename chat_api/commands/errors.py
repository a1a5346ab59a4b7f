"""How a command ends that can't do its work; each error's text is the sentence to show.

MisusedError          exit status 2: the command was given what it can't work with
├─ UnknownQueryError  there is no query of that name
└─ ParameterError     the query has no such parameter, or doesn't take the value
FailedError           exit status 1: the database can't be reached, refuses, or takes too long
"""

from __future__ import annotations


class MisusedError(Exception):
    """The command was given what it can't work with."""


class UnknownQueryError(MisusedError):
    """There is no query of that name; the text names the nearest ones."""


class ParameterError(MisusedError):
    """A parameter that the query doesn't have, or a value that it doesn't take."""


class FailedError(Exception):
    """The database can't be reached, refuses, or takes too long."""
