"""The undocumented parts of aiosql that the service uses. setup.cfg allows no release after the tested one.

A release that changes it fails tests/sql/test_every_statement.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import aiosql


def read_queries(path: Path) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Read the queries of a file. Yields each one's name, its text with $1, $2 … and their names, in order.

    The attribute `sql` and the suffix `_cursor` are documented, the order of the parameters isn't.
    `__signature__` has the parameters after `self`, in the order in which the text first names them, which is
    the order of their numbers.
    """
    loaded = aiosql.from_path(path, "asyncpg")
    for name in loaded.available_queries:
        if name.endswith("_cursor"):  # aiosql adds one for each multi-row query
            continue
        function = getattr(loaded, name)
        yield name, function.sql, tuple(function.__signature__.parameters)[1:]
