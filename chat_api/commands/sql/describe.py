"""The data dictionary: the tables, views and columns of a database, with the comments that it holds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from psycopg.rows import class_row

from chat_api.commands.errors import FailedError
from chat_api.commands.refusals import no_tables
from chat_api.commands.session import connected
from chat_api.commands.sql.schema import FOLDER, expected_schema

NO_COMMENT = "—"


@dataclass(frozen=True, slots=True)
class Column:
    """A row of describe.sql."""

    schema: str
    relation: str
    is_view: bool
    about: str | None
    """The comment on its table or view."""
    name: str
    type: str
    is_required: bool
    default_value: str | None
    is_key: bool
    """Whether it belongs to the primary key."""
    referenced: str | None
    """The table that its foreign key leads to."""
    comment: str | None
    """None for a column that a DBA added without saying what it is."""


@dataclass(frozen=True, slots=True)
class Relation:
    """A table or view with its columns, in their order."""

    schema: str
    name: str
    is_view: bool
    comment: str | None
    columns: tuple[Column, ...]


def describe(database_url: str) -> list[Relation]:
    """Read the tables and views of the service: tables in the order in which they were made, then views.

    Tables that the migrations don't make are left out; columns that a DBA added, and views, are not.

    Raises:
        FailedError: the database can't be reached, or holds no tables of the service.
    """
    with connected(database_url) as connection, connection.cursor(row_factory=class_row(Column)) as cursor:
        columns = cursor.execute((FOLDER / "describe.sql").read_bytes()).fetchall()
        ours = {name.partition(".")[0] for kind, name in expected_schema() if kind == "column"}
        relations: dict[tuple[str, str], list[Column]] = {}
        for column in columns:
            if column.is_view or column.relation in ours:
                relations.setdefault((column.schema, column.relation), []).append(column)
        if not relations:
            raise FailedError(no_tables(connection))
    return [
        Relation(schema, name, columns[0].is_view, columns[0].about, tuple(columns))
        for (schema, name), columns in relations.items()
    ]


def as_markdown(relations: list[Relation]) -> Iterator[str]:
    """Write a chapter for each table and view. Yields lines."""
    yield "# Data dictionary"
    for relation in relations:
        name = f"{relation.schema}.{relation.name}" if relation.schema == "chat_report" else relation.name
        yield from ("", f"## {name}", "", _cell(relation.comment), "")
        if relation.is_view:
            yield from ("| Column | Type | Meaning |", "|---|---|---|")
        else:
            yield from ("| Column | Type | Null | Default | Meaning |", "|---|---|---|---|---|")
        for column in relation.columns:
            yield f"| {' | '.join(_cells(column))} |"


def as_mermaid(relations: list[Relation]) -> Iterator[str]:
    """Write an entity-relationship diagram of the tables and their foreign keys. Yields lines."""
    tables = [relation for relation in relations if not relation.is_view]
    shown = {table.name for table in tables}
    yield "erDiagram"
    for table in tables:
        for column in table.columns:
            if column.referenced in shown:
                yield f"    {column.referenced} ||--o{{ {table.name} : {column.name}"
    for table in tables:
        yield f"    {table.name} {{"
        for column in table.columns:
            marks = [mark for mark, is_so in (("PK", column.is_key), ("FK", column.referenced)) if is_so]
            yield f"        {_word(column.type)} {_word(column.name)} {', '.join(marks)}".rstrip()
        yield "    }"


def as_objects(relations: list[Relation]) -> list[dict[str, Any]]:
    """Make the entries of `describe --json`."""
    return [
        {
            "schema": relation.schema,
            "name": relation.name,
            "kind": "view" if relation.is_view else "table",
            "comment": relation.comment,
            "columns": [
                {
                    "name": column.name,
                    "type": column.type,
                    "is_required": column.is_required,
                    "default": column.default_value,
                    "is_key": column.is_key,
                    "references": column.referenced,
                    "comment": column.comment,
                }
                for column in relation.columns
            ],
        }
        for relation in relations
    ]


def _cells(column: Column) -> Iterator[str]:
    yield f"`{column.name}`"
    if column.is_view:
        yield column.type
    else:
        key = ", primary key" if column.is_key else ""
        leads = f", references `{column.referenced}`" if column.referenced else ""
        yield f"{column.type}{key}{leads}"
        yield "no" if column.is_required else "yes"
        yield f"`{_cell(column.default_value)}`" if column.default_value else ""
    yield _cell(column.comment)


def _cell(text: str | None) -> str:
    """A text as the cell of a table: in one line, without a bar that would end the cell."""
    return " ".join(text.split()).replace("|", "\\|") if text else NO_COMMENT


def _word(text: str) -> str:
    """A type or name as Mermaid takes it: one word, of letters, digits, `_`, `-`, brackets."""
    short = text.replace("timestamp with time zone", "timestamptz").replace("character varying", "varchar")
    return re.sub(r"[^\w()\[\]-]", "_", short)
