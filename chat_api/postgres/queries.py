"""The named queries of `sql/`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from chat_api.folders import query_files
from chat_api.libraries.aiosql import read_queries


@dataclass(frozen=True, slots=True)
class Query:
    """A named query: its text with $1, $2 … and the names of these, in order."""

    text: str
    parameters: tuple[str, ...]
    only_reads: bool = False
    """Whether it may be executed twice, because it changes nothing and tells nobody."""


# Too many words here cost a repetition, and a word too few what a repetition does.
_WRITES = re.compile(
    r"\b(insert|update|delete|merge|truncate|nextval|set_config|pg_notify|chat_admit|chat_use)\b", re.I
)
_COMMENTS = re.compile(r"--.*")


@cache
def load_queries() -> dict[str, Query]:
    """Every query of `sql/` under `<file>.<name>`."""
    return {
        f"{path.stem}.{name}": Query(text, parameters, not _WRITES.search(_COMMENTS.sub("", text)))
        for path in query_files()
        for name, text, parameters in read_queries(path)
    }
