"""The named queries, read from their files: where each is, what its comment says, and who calls it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from chat_api.commands.errors import UnknownQueryError
from chat_api.folders import sql_dir
from chat_api.postgres.queries import Query, load_queries
from chat_api.postgres.query_files import Block, place_of

RETURNS = {"^": "one row or none", "!": "nothing", "": "all rows"}
"""aiosql's sign after a query's name, and what the service takes from the result."""

_PACKAGE = Path(__file__).resolve().parents[2]
# These modules name queries, or parts of their names, without calling any.
_NO_CALLERS = ("dev/", "commands/sql/")


@dataclass(frozen=True, slots=True)
class Usage:
    """A row of the table in sql/README.md. A test compares that table with the queries."""

    when: str = ""
    how_often: str = ""
    indexes: str = ""
    """In words, naming each index that the query uses."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query of `sql/`, or a DBA's own in its place."""

    name: str
    """`<file>.<name>`, as pg_stat_statements shows it."""
    path: Path
    line: int
    """The number of its first line, `-- name: …`."""
    text: str
    """Verbatim, from that line to the semicolon."""
    comment: str
    """What the query does, for whom, how often, by which index, and what a missing row means."""
    statement: str
    returns: str
    parameters: tuple[str, ...]
    callers: tuple[str, ...]
    """Modules of chat_api, without the prefix `chat_api.`."""
    usage: Usage
    sent: Query
    """What the service sends."""

    @property
    def description(self) -> str:
        """The comment's first sentence."""
        return re.split(r"(?<=\.) ", self.comment, maxsplit=1)[0]

    @property
    def place(self) -> str:
        """File and line, in the notation of editors and grep."""
        return place_of(self.path, self.line)


def read_catalog(own: str = "") -> dict[str, NamedQuery]:
    """Read all queries, those of the folder `own` before the packaged ones. Returns them by name, in order.

    Raises:
        SettingsError: a file can't be used.
    """
    callers, table = _callers(), _table()
    return {
        name: _named(query, query.block, callers, table)
        for name, query in load_queries(own).items()
        if query.block is not None
    }


def find(name: str, own: str = "") -> NamedQuery:
    """Find the query of that name, in the folder `own` first.

    Raises:
        UnknownQueryError: there is none. The text is the sentence to show.
        SettingsError: a file can't be used.
    """
    catalog = read_catalog(own)
    if name in catalog:
        return catalog[name]
    # `stop`, `generation.stop` and `stpo` all mean generations.stop.
    last = {each: each.rpartition(".")[2] for each in catalog}
    wanted = name.rpartition(".")[2]
    near = [each for each in catalog if last[each] == wanted]
    parts = _close(wanted, dict.fromkeys(last.values()))  # several files have a query of that name
    near = near or [each for part in parts for each in catalog if last[each] == part]
    near = near or _close(name, catalog)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "`chat-api sql list` shows all"
    raise UnknownQueryError(f"there is no query {name!r}; {hint}")


def _close(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)


def _named(
    query: Query, block: Block, callers: dict[str, tuple[str, ...]], table: dict[str, Usage]
) -> NamedQuery:
    return NamedQuery(
        name=block.name,
        path=block.path,
        line=block.line,
        text=block.text,
        comment=block.words,
        statement=block.statement,
        returns=RETURNS[block.sign],
        parameters=block.parameters,
        callers=callers.get(block.name, ()),
        usage=table.get(block.name, Usage()),
        sent=query,
    )


def _callers() -> dict[str, tuple[str, ...]]:
    """The modules that name a query in quotes, as a call does. A test compares them with the calls."""
    found: dict[str, tuple[str, ...]] = {}
    for path in sorted(_PACKAGE.rglob("*.py")):
        place = path.relative_to(_PACKAGE).as_posix()
        if not place.startswith(_NO_CALLERS):
            for name in sorted(set(re.findall(r'"(\w+\.\w+)"', path.read_text()))):
                found[name] = (*found.get(name, ()), place.removesuffix(".py").replace("/", "."))
    return found


def _table() -> dict[str, Usage]:
    rows = re.findall(r"^\| `(\w+\.\w+)` \|(.*)\|$", (sql_dir() / "README.md").read_text(), re.MULTILINE)
    return {
        name: Usage(*(cell.replace("`", "").strip() for cell in cells.split("|"))) for name, cells in rows
    }
