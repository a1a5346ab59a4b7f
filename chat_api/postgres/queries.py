"""The named queries: those of `sql/`, and a DBA's own in their place."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from chat_api.folders import SCHEMA_FILE, query_files
from chat_api.libraries.aiosql import read_query
from chat_api.postgres.query_files import Block, place_of, read_blocks
from chat_api.settings import SettingsError

MEND = "correct that, or take the query out of SQL_DIR to use the packaged one"
"""What to do about an own query that can't be used."""


@dataclass(frozen=True, slots=True)
class Query:
    """A named query: its text with $1, $2 … and the names of these, in order."""

    text: str
    parameters: tuple[str, ...]
    only_reads: bool = False
    """Whether it may be executed twice, because it changes nothing and tells nobody."""
    block: Block | None = None
    """What its file has."""
    is_own: bool = False
    """Whether it is a DBA's, in the place of a packaged one."""

    @property
    def fingerprint(self) -> str:
        """A short text that changes with the statement, and not with its comment."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:12]

    def place_at(self, position: int = 0) -> str:
        """File and line of a character of its text, counted from 1 as PostgreSQL does; 0: its first line."""
        if self.block is None:
            return "?"
        lines = self.block.lines
        # A block comment shifts the lines; then the query's first one has to do.
        if not position or len(lines) != self.text.count("\n") + 1:
            return self.block.place
        return place_of(self.block.path, lines[self.text.count("\n", 0, position - 1)])


# Too many words here cost a repetition, and a word too few what a repetition does.
_WRITES = re.compile(
    r"\b(insert|update|delete|merge|truncate|nextval|set_config|pg_notify|chat_admit|chat_use)\b", re.I
)
_COMMENTS = re.compile(r"--.*")


def load_queries(own: str = "") -> dict[str, Query]:
    """Every query under `<file>.<name>`: those of the folder `own` (SQL_DIR), else the packaged ones.

    Raises:
        SettingsError: a file can't be used. The text has a line for each problem, with its place.
    """
    return {**read_packaged(), **_own(Path(own))} if own else read_packaged()


def outdated(queries: dict[str, Query]) -> list[str]:
    """The names of the own ones whose packaged query has changed since they were copied from it."""
    return [
        name
        for name, query in queries.items()
        if query.block is not None
        and query.is_own
        and query.block.copied not in (None, read_packaged()[name].fingerprint)
    ]


@cache
def read_packaged() -> dict[str, Query]:
    """The queries of `sql/`, read once."""
    problems: list[str] = []
    queries = {
        name: query for path in query_files() for name, query in _queries(path, problems, is_own=False)
    }
    if problems:
        raise SettingsError("\n".join(f"{each}; correct that" for each in problems))
    return queries


def _own(folder: Path) -> dict[str, Query]:
    problems: list[str] = []
    try:
        # An editor's lock begins with a dot.
        files = sorted(path for path in folder.iterdir() if path.suffix == ".sql" and path.name[0] != ".")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no path has such a character"
        raise SettingsError(f"SQL_DIR {folder}: can't be read: {reason}") from error
    queries = {
        name: query
        for path in files
        if path.name != SCHEMA_FILE  # the folder may have begun as a copy of the packaged one
        for name, query in _queries(path, problems, is_own=True)
    }
    for name, query in queries.items():
        if (packaged := read_packaged().get(name)) is None:
            problems.append(f"{query.place_at()}: this release has no query {name}")
        elif set(query.parameters) != set(packaged.parameters):
            problems.append(
                f"{query.place_at()}: {name} must take {_listed(packaged)} as the packaged one does, "
                f"not {_listed(query)}"
            )
    if problems:
        raise SettingsError("\n".join(f"SQL_DIR: {each}; {MEND}" for each in problems))
    return queries


def _queries(path: Path, problems: list[str], *, is_own: bool) -> list[tuple[str, Query]]:
    queries = []
    for block in read_blocks(path, problems):
        try:
            text, parameters = read_query(block.name.partition(".")[2], block.text)
        except ValueError as error:
            line, why = block.suspect() or (block.line, str(error))
            problems.append(f"{place_of(path, line)}: {why}")
            continue
        reads = not _WRITES.search(_COMMENTS.sub("", text))
        queries.append((block.name, Query(text, parameters, reads, block, is_own)))
    return queries


def _listed(query: Query) -> str:
    return f"({', '.join(sorted(query.parameters))})"
