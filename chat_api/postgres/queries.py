"""The named queries of `sql/`, read with aiosql."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import aiosql

from chat_api.folders import query_files


@dataclass(frozen=True, slots=True)
class Query:
    """A named query: its text with $1, $2 … and the names of these, in order."""

    text: str
    parameters: tuple[str, ...]


@cache
def load_queries() -> dict[str, Query]:
    """Every query of `sql/` under `<file>.<name>`."""
    queries = {}
    for path in query_files():
        loaded = aiosql.from_path(path, "asyncpg")
        for name in loaded.available_queries:
            if name.endswith("_cursor"):  # aiosql's own twin of each multi-row query
                continue
            function = getattr(loaded, name)
            parameters = tuple(function.__signature__.parameters)[1:]
            queries[f"{path.stem}.{name}"] = Query(function.sql, parameters)
    return queries
