"""The files of named queries: each query with its place, and what is wrong in a file, by its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NAME = re.compile(r"--\s*name\s*:")
_HEADER = re.compile(r"-- name: (?P<name>[A-Za-z_]\w*)\((?P<parameters>[\w, ]*)\)(?P<sign>[\^!]?)", re.ASCII)
_COPIED = re.compile(r"^-- copy of: ([0-9a-f]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A query as its file has it."""

    name: str
    """`<file>.<name>`, as pg_stat_statements shows it."""
    path: Path
    line: int
    """The number of its first line, `-- name: …`."""
    text: str
    """Verbatim, from that line to the semicolon."""
    parameters: tuple[str, ...]
    sign: str
    comment: str
    """The comment lines below the first line, verbatim."""
    statement: str

    @property
    def lines(self) -> list[int]:
        """The numbers of the lines that the service sends. aiosql leaves comment lines out."""
        first = self.line + self.text.removesuffix(self.statement).count("\n")
        numbered = enumerate(self.statement.splitlines(), first)
        return [number for number, line in numbered if not line.lstrip().startswith("--")]

    @property
    def words(self) -> str:
        """What the comment says to people, in one line."""
        lines = _COPIED.sub("", self.comment).splitlines()
        return " ".join(line.removeprefix("--").strip() for line in lines if line)

    @property
    def copied(self) -> str | None:
        """The fingerprint of the packaged query that it is a copy of, if its comment says so."""
        found = _COPIED.search(self.comment)
        return found[1] if found else None

    def suspect(self) -> tuple[int, str] | None:
        """Why the file's reader may have misread it: the number of a line, and what is odd there."""
        first = self.line + self.text.removesuffix(self.statement).count("\n")
        opened = 0
        for number, line in enumerate(self.statement.splitlines(), first):
            code, comment = line, ""
            for found in re.finditer("'|--", line):
                if found[0] == "'":
                    opened = 0 if opened else number
                elif not opened:
                    code, comment = line[: found.start()], line[found.start() :]
                    break
            if code.strip() and re.search(r"'|(?<!:):\w", comment):
                return number, f"the comment `{comment}` is read as SQL: take its apostrophes and colons out"
        return (opened, "a quote is opened here, and never closed") if opened else None

    @property
    def place(self) -> str:
        """File and line, in the notation of editors and grep."""
        return place_of(self.path, self.line)


def place_of(path: Path, line: int) -> str:
    """A line of a file. The path is relative if the file is below the current folder."""
    here = Path.cwd()
    return f"{path.relative_to(here) if path.is_relative_to(here) else path}:{line}"


def read_blocks(path: Path, problems: list[str]) -> Iterator[Block]:
    """Read the queries of a file. Adds a sentence to `problems`, with its place, for whatever is wrong."""
    source = _read(path, problems)
    lines = source.splitlines(keepends=True)
    starts = [number for number, line in enumerate(lines) if _NAME.search(line)]
    before = lines[: starts[0]] if starts else lines
    for number, line in enumerate(before, 1):
        if line.strip() and not line.startswith("--"):
            problems.append(f"{place_of(path, number)}: there is SQL before the first line `-- name: …`")
            break
    first: dict[str, int] = {}
    for start, end in itertools.pairwise([*starts, len(lines)]):
        place = place_of(path, start + 1)
        if (header := _HEADER.fullmatch(lines[start].rstrip())) is None:
            problems.append(f"{place}: a query begins with a line such as `-- name: stop(id, user_id)^`")
            continue
        parameters = tuple(re.findall(r"\w+", header["parameters"]))
        if len(set(parameters)) < len(parameters):
            problems.append(f"{place}: the first line names a parameter twice")
            continue
        name = f"{path.stem}.{header['name']}"
        if first.setdefault(name, start + 1) != start + 1:
            problems.append(f"{place}: {name} is defined in line {first[name]} already; keep one of the two")
            continue
        body = start + 1
        while body < end and lines[body].startswith("--"):
            body += 1
        yield Block(
            name=name,
            path=path,
            line=start + 1,
            text="".join(lines[start:end]).rstrip(),
            parameters=parameters,
            sign=header["sign"],
            comment="".join(lines[start + 1 : body]),
            statement="".join(lines[body:end]).rstrip(),
        )


def _read(path: Path, problems: list[str]) -> str:
    data = b""
    try:
        data = path.read_bytes()
        return data.decode("utf-8-sig").replace("\r\n", "\n")
    except OSError as error:
        problems.append(f"{path}: can't be read: {error.strerror}")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.append(f"{place_of(path, line)}: must be UTF-8 text, which this line isn't")
    return ""
