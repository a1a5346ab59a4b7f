"""The undocumented parts of aiosql that the service uses. setup.cfg allows no release after the tested one.

A release that changes it fails tests/sql/test_every_statement.py.
"""

from __future__ import annotations

import aiosql


def read_query(name: str, source: str) -> tuple[str, tuple[str, ...]]:
    """Read a query from its lines in a file. Returns its text with $1, $2 … and their names, in order.

    The attribute `sql` is documented, the order of the parameters isn't. `__signature__` has the parameters
    after `self`, in the order in which the text first names them, which is the order of their numbers.

    Raises:
        ValueError: aiosql can't read it. The text is its sentence.
    """
    try:
        loaded = aiosql.from_str(source, "asyncpg")
    except aiosql.SQLParseException as error:
        raise ValueError(str(error)) from error
    function = getattr(loaded, name)
    return function.sql, tuple(function.__signature__.parameters)[1:]
