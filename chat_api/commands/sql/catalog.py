"""The named queries, read from their files: where each is, what its comment says, and who calls it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from chat_api.commands.errors import UnknownQueryError
from chat_api.folders import query_files, sql_dir

RETURNS = {"^": "one row or none", "!": "nothing", "": "all rows"}
"""aiosql's sign after a query's name, and what the service takes from the result."""

_PACKAGE = Path(__file__).resolve().parents[2]
# These modules name queries, or parts of their names, without calling any.
_NO_CALLERS = ("dev/", "commands/sql/")

_BLOCK = re.compile(
    r"^-- name: (?P<name>\w+)\((?P<parameters>[\w, ]*)\)(?P<sign>[\^!]?)\n"
    r"(?P<comment>(?:--[^\n]*\n)*)"
    r"(?P<statement>(?:(?!^-- name: ).*\n?)*)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Usage:
    """A row of the table in sql/README.md. A test compares that table with the queries."""

    when: str = ""
    how_often: str = ""
    indexes: str = ""
    """In words, naming each index that the query uses."""


@dataclass(frozen=True, slots=True)
class NamedQuery:
    """A query of `sql/`."""

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

    @property
    def description(self) -> str:
        """The comment's first sentence."""
        return re.split(r"(?<=\.) ", self.comment, maxsplit=1)[0]

    @property
    def place(self) -> str:
        """File and line, in the notation of editors and grep."""
        return self.place_of(self.line)

    def place_of(self, line: int) -> str:
        """A line of its file. The path is relative if the file is below the current folder."""
        here = Path.cwd()
        path = self.path.relative_to(here) if self.path.is_relative_to(here) else self.path
        return f"{path}:{line}"

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines that the service sends. aiosql leaves comment lines out."""
        first = self.line + self.text.removesuffix(self.statement).count("\n")
        numbered = enumerate(self.statement.splitlines(), first)
        return [number for number, line in numbered if not line.lstrip().startswith("--")]


def read_catalog() -> dict[str, NamedQuery]:
    """Read all queries. Returns them by name, in the order of the files."""
    callers, table = _callers(), _table()
    return {query.name: query for path in query_files() for query in read_queries(path, callers, table)}


def find(name: str) -> NamedQuery:
    """Find the query of that name.

    Raises:
        UnknownQueryError: there is none. The text is the sentence to show.
    """
    catalog = read_catalog()
    if name in catalog:
        return catalog[name]
    # `stop`, `generation.stop` and `stpo` all mean generations.stop.
    last = {each: each.rpartition(".")[2] for each in catalog}
    wanted = name.rpartition(".")[2]
    near = [each for each in catalog if last[each] == wanted]
    near = near or [each for part in _close(wanted, last.values()) for each in catalog if last[each] == part]
    near = near or _close(name, catalog)
    hint = f"did you mean {' or '.join(near[:3])}?" if near else "`chat-api sql list` shows all"
    raise UnknownQueryError(f"there is no query {name!r}; {hint}")


def _close(name: str, names: Iterable[str]) -> list[str]:
    return difflib.get_close_matches(name, list(names), n=3, cutoff=0.6)


def read_queries(
    path: Path, callers: Mapping[str, tuple[str, ...]], table: Mapping[str, Usage]
) -> Iterator[NamedQuery]:
    """Read the queries of one file, in their order."""
    source = path.read_text()
    for block in _BLOCK.finditer(source):
        name = f"{path.stem}.{block['name']}"
        yield NamedQuery(
            name=name,
            path=path,
            line=source.count("\n", 0, block.start()) + 1,
            text=block[0].rstrip(),
            comment=" ".join(line.removeprefix("--").strip() for line in block["comment"].splitlines()),
            statement=block["statement"].rstrip(),
            returns=RETURNS[block["sign"]],
            parameters=tuple(re.findall(r"\w+", block["parameters"])),
            callers=callers.get(name, ()),
            usage=table.get(name, Usage()),
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
