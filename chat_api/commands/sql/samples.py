"""Values for a query's parameters: those given, else those drawn from the data, else usual ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg

from chat_api.commands.errors import ParameterError
from chat_api.commands.sql.catalog import NamedQuery
from chat_api.commands.sql.schema import FOLDER

_OF_EVERYONE = "select set_config('chat.user_id', '*', true)"  # for row-level security


@dataclass(frozen=True, slots=True)
class Sample:
    """A parameter's value as text, None for SQL's null."""

    value: str | None
    source: str
    """`given`, `drawn from the data` or `usual value`."""


@dataclass(frozen=True, slots=True)
class Samples:
    """Values for a query's parameters, and a note that the reader of its plan needs."""

    values: dict[str, Sample]
    note: str | None = None


def parse_given(query: NamedQuery, given: list[str]) -> dict[str, str | None]:
    """Parse `name=value` strings. `null` is SQL's null.

    Raises:
        ParameterError: the query has no such parameter.
    """
    values: dict[str, str | None] = {}
    for each in given:
        name, sign, value = each.partition("=")
        if not sign or name not in query.parameters:
            takes = ", ".join(query.parameters) or "none"
            raise ParameterError(f"{each!r} isn't name=value for a parameter of {query.name} ({takes})")
        values[name] = None if value == "null" else value
    return values


def find_worst(connection: psycopg.Connection[Any]) -> dict[str, str]:
    """Find the largest values that the data has, by parameter. Counts all messages in an index."""
    with connection.transaction():
        connection.execute(_OF_EVERYONE)
        return dict(connection.execute((FOLDER / "worst.sql").read_bytes()).fetchall())


def draw(
    connection: psycopg.Connection[Any],
    query: NamedQuery,
    given: dict[str, str | None],
    worst: dict[str, str] | None = None,
) -> Samples:
    """Find a value for every parameter. Reads a few rows, which may be any user's.

    `worst` has values to draw in place of the usual ones of a user.
    """
    connection.execute(_OF_EVERYONE)
    drawn: dict[str, str | None] = {}
    usual: dict[str, str | None] = {}
    for name, value, is_drawn in connection.execute((FOLDER / "samples.sql").read_bytes()):
        (drawn if is_drawn else usual)[name] = value
    drawn |= worst or {}
    values: dict[str, Sample] = {}
    for parameter in query.parameters:
        own = f"{query.name}.{parameter}"
        if parameter in given:
            values[parameter] = Sample(given[parameter], "given")
        elif (value := drawn.get(own) or (None if own in usual else drawn.get(parameter))) is not None:
            values[parameter] = Sample(value, "drawn from the data")
        elif own in usual or parameter in usual:
            values[parameter] = Sample(usual.get(own, usual.get(parameter)), "usual value")
        else:
            raise ParameterError(f"there is no sample for {parameter}: give --param {parameter}=…")
    return Samples(values, _note(query, given, drawn))


def _note(query: NamedQuery, given: dict[str, str | None], drawn: dict[str, str | None]) -> str | None:
    wanted = set(query.parameters) & drawn.keys() - given.keys()
    if wanted and drawn["conversation_id"] is None:
        return "The database holds no conversation: ids are made up, and the plan finds nothing."
    if any(drawn.get(f"{query.name}.{name}", "") is None for name in set(query.parameters) - given.keys()):
        return "No answer is running, and this statement needs one: it finds nothing to do."
    if wanted & {"generation_id", "ids"} and drawn["generation_id"] is None:
        return "No answer has ended yet: the plan finds nothing."
    return None
