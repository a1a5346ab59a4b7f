"""Compare a database's schema with the one that the migrations make (schema.tsv, which a test checks)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from chat_api.commands.sql.catalog import NamedQuery

FOLDER = Path(__file__).resolve().parent
EXPECTED = FOLDER / "schema.tsv"

_CASTS = re.compile(r"::(?:character varying|text)(?:\[\])?")

Schema = dict[tuple[str, str], tuple[str, bool]]
"""(kind, name) → definition, and whether it is valid. Kinds: column, index, constraint."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between a database and what this release needs."""

    kind: str
    """address, schema, migration, table, column, index, constraint or query."""
    name: str
    problem: str
    """What is wrong, in one line."""
    remedy: str | None = None
    """A statement or command that removes the difference, if there is one."""


def read_schema(connection: psycopg.Connection[Any]) -> Schema:
    """Read the schema of the tables on the search path."""
    rows = connection.execute((FOLDER / "schema.sql").read_bytes())
    return {(kind, name): (definition, is_valid) for kind, name, definition, is_valid in rows}


def expected_schema() -> Schema:
    """Read the schema that the migrations make."""
    rows = (line.split("\t") for line in EXPECTED.read_text().splitlines())
    return {(kind, name): (definition, True) for kind, name, definition in rows}


def as_text(schema: Schema) -> str:
    """Write a schema in the form of schema.tsv."""
    return "".join(
        f"{kind}\t{name}\t{definition}\n" for (kind, name), (definition, _) in sorted(schema.items())
    )


def compare(found: Schema, catalog: dict[str, NamedQuery]) -> Iterator[Finding]:
    """What is missing, or differs from what the migrations make. DBAs may add things of their own."""
    there = {_table(name) for kind, name in found if kind == "column"}
    missing = sorted({_table(name) for kind, name in expected_schema() if kind == "column"} - there)
    for table in missing:
        yield Finding("table", table, "is missing")
    for (kind, name), (wanted, _) in expected_schema().items():
        if _table_of(kind, name, wanted) in missing:
            continue
        definition, is_valid = found.get((kind, name), (None, True))
        users = _users(name, catalog) if kind == "index" else ""
        remedy = _remedy(kind, name, wanted, exists=definition is not None)
        if definition is None:
            yield Finding(kind, name, f"is missing{users}", remedy)
        elif not _same(definition, wanted):
            yield Finding(kind, name, f"is {definition}; the migrations make it {wanted}{users}", remedy)
        elif not is_valid:
            yield _half_built(name, users)
    for (kind, name), (_, is_valid) in found.items():
        if not is_valid and (kind, name) not in expected_schema():
            yield _half_built(name, "")


def _half_built(name: str, users: str) -> Finding:
    """An index that nothing reads. What a reindex left has the index beside it that it was to replace."""
    statement = "DROP" if re.search(r"_cc(new|old)\d*$", name) else "REINDEX"
    return Finding(
        "index", name, f"is invalid: its build was aborted{users}", f"{statement} INDEX CONCURRENTLY {name}"
    )


def _same(definition: str, wanted: str) -> bool:
    """Whether two definitions are equal. A dump and restore moves the casts in a check."""
    return _CASTS.sub("", definition) == _CASTS.sub("", wanted)


def _table(name: str) -> str:
    return name.partition(".")[0]


def _table_of(kind: str, name: str, definition: str) -> str:
    if kind != "index":
        return _table(name)
    match = re.search(r" ON (\w+) ", definition)
    return match[1] if match else ""


def _users(index: str, catalog: dict[str, NamedQuery]) -> str:
    named = [
        query.name
        for query in catalog.values()
        if re.search(rf"\b{index}\b", f"{query.comment} {query.usage.indexes}")
    ]
    return f"; needed by {', '.join(named)}" if named else ""


def _remedy(kind: str, name: str, definition: str, *, exists: bool) -> str | None:
    """The statement that restores an index without blocking readers and writers.

    A column or a constraint needs a person to look first. The index of a primary key belongs to its
    constraint.
    """
    if kind != "index" or name.endswith("_pkey"):
        return None
    create = definition.replace(" INDEX ", " INDEX CONCURRENTLY ", 1)
    return f"DROP INDEX CONCURRENTLY {name}; {create}" if exists else create
