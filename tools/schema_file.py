"""The text of sql/schema.sql: what pg_dump prints for a migrated database, arranged for reading.

pg_dump makes it complete, because it knows every kind of object. This module puts its statements into a
readable order and into lower case, and drops what depends on the run, the owner or the version.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg

from chat_api.dev.postgres.installation import binaries

HEAD = """\
-- The schema that the migrations make, to be read. Nothing runs this file: migrations make databases.
-- `make schema` writes it with pg_dump from a freshly migrated database, and a test compares it with one.
--
-- First come the functions that tables use, then the tables in the order in which the migrations create them,
-- then the other functions, the views and the triggers. Left out are owners, and the tables in which yoyo
-- records what was applied. Where the auth service's table users is in the same database, conversations
-- has the foreign key conversations_user_id_fkey. The rows of service_rights are what chat_grant grants.
"""
WIDTH = 120

# Without options that only newer releases of pg_dump have. In a new database, only service_rights has rows.
_DUMP = ("--no-owner", "--exclude-table=*yoyo*", "--column-inserts", "--rows-per-insert=1000")
_TITLE = r"--\n-- (?:Data for )?Name: .+; Type: (?P<kind>[A-Z ]+); .*\n--\n"
_BLOCK = re.compile(rf"^{_TITLE}\n(?P<text>(?:(?!{_TITLE.replace('?P<kind>', '?:')}).*\n)*)", re.MULTILINE)
# Lines that depend on the run or the version, and the settings of a session that restores.
_NOISE = re.compile(
    r"^(?:SET \w+ = .*;|\\(?:un)?restrict .*|--\n-- PostgreSQL database dump.*\n--)\n", re.MULTILINE
)
_BODY = re.compile(r"(\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)", re.DOTALL)
_QUOTED = re.compile(r"""('(?:[^']|'')*'|"[^"]*")""")
_KEY = re.compile(r"ALTER TABLE ONLY public\.\w+\n    ADD (CONSTRAINT .*);")
_CLAUSES = ("check", "foreign", "where")
_REMARK = re.compile(r"(COMMENT ON .*) IS\s'((?:[^']|'')*)';", re.DOTALL)


@dataclass
class Statement:
    """One entry of pg_dump's output; some kinds consist of several SQL statements."""

    kind: str
    text: str

    @property
    def subject(self) -> str:
        """The table, function or other object that it makes or adds to."""
        found = re.search(r"\b(public|chat_report)\.(\w+)", self.text)
        if found is None:
            return self.text.partition("\n")[0]
        return found[2] if found[1] == "public" else found[0]

    @property
    def is_of_trigger(self) -> bool:
        """Whether it makes a trigger, which needs its table and its function, or adds to one."""
        return self.kind == "TRIGGER" or self.text.startswith("COMMENT ON TRIGGER")


def written_out(dsn: str) -> str:
    """Return the text of sql/schema.sql for this database, a newly migrated one on PostgreSQL 18."""
    dump = dumped(dsn)
    with psycopg.connect(dsn) as connection:
        tables = _tables(connection)
        for plain, pretty in _definitions(connection):
            dump = dump.replace(plain, pretty)
    blocks = _BLOCK.finditer(_NOISE.sub("", dump))
    statements = [Statement(block["kind"], text) for block in blocks if (text := block["text"].strip())]
    return HEAD + "".join(_laid_out(_in_order(statements, tables)))


def dumped(dsn: str) -> str:
    """Return what pg_dump prints for this database, without yoyo's tables."""
    command = [str(binaries(None) / "pg_dump"), *_DUMP, dsn]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _tables(connection: psycopg.Connection) -> list[str]:
    """List the tables in the order in which they were created."""
    rows = connection.execute(
        "select relname from pg_class where relkind in ('r', 'p')"
        " and relnamespace = 'public'::regnamespace order by oid"
    )
    return [name for (name,) in rows]


def _definitions(connection: psycopg.Connection) -> list[tuple[str, str]]:
    """Pair what pg_dump writes with its form without extra parentheses: constraints, indexes and the like."""
    connection.execute("set search_path to ''")  # as pg_dump does: names are qualified
    return connection.execute(
        "select pg_get_constraintdef(oid), pg_get_constraintdef(oid, true) from pg_constraint"
        " where connamespace = 'public'::regnamespace"
        " union select pg_get_indexdef(oid), pg_get_indexdef(oid, 0, true) from pg_class"
        " where relkind in ('i', 'I') and relnamespace = 'public'::regnamespace"
        " union select rtrim(pg_get_viewdef(oid), ';'), rtrim(pg_get_viewdef(oid, true), ';') from pg_class"
        " where relkind = 'v' and relnamespace in ('public'::regnamespace, 'chat_report'::regnamespace)"
        " union select pg_get_triggerdef(oid), pg_get_triggerdef(oid, true) from pg_trigger"
        " where not tgisinternal order by 1"
    ).fetchall()


def _in_order(statements: list[Statement], tables: list[str]) -> list[Statement]:
    """Put each statement beside its subject, and a table's keys into its definition."""
    made = {each.subject: each for each in statements if each.kind == "TABLE"}
    rest = []
    for each in statements:
        key = _KEY.fullmatch(each.text)
        if key and each.subject in made:
            table = made[each.subject]
            table.text = table.text.replace("\n)", f",\n    {key[1]}\n)", 1)
        else:
            rest.append(each)
    used = {
        name
        for each in rest
        if each.subject in made and not each.is_of_trigger
        for name in re.findall(r"\bpublic\.(\w+)", each.text)
    }
    subjects = _by_use(rest)

    def place(each: Statement) -> tuple[int, int, bool]:
        subject = each.subject
        if each.is_of_trigger:
            return 3, 0, False
        if subject in made:
            return 1, tables.index(subject), each.kind == "TABLE DATA"
        return (0 if subject in used else 2), subjects.index(subject), False

    return sorted(rest, key=place)


def _by_use(statements: list[Statement]) -> list[str]:
    """Order the subjects so that each comes after those that it uses."""
    texts: dict[str, str] = {}
    for each in statements:
        if each.kind != "COMMENT":
            texts[each.subject] = texts.get(each.subject, "") + each.text
    ordered: dict[str, None] = {}

    def add(subject: str, users: frozenset[str]) -> None:
        for name in re.findall(r"\bchat_\w+", texts.get(subject, "")):
            if name in texts and name not in users and name not in ordered:
                add(name, users | {name})
        ordered[subject] = None

    for each in statements:
        if each.subject not in ordered:
            add(each.subject, frozenset({each.subject}))
    return list(ordered)


def _laid_out(statements: list[Statement]) -> Iterator[str]:
    """Yield the lines, with a blank one between statements, except between comments on one subject."""
    before = None
    for each in statements:
        if (
            before is None
            or each.kind != "COMMENT"
            or before.kind != "COMMENT"
            or each.subject != before.subject
        ):
            yield "\n"
        yield f"{_formatted(each)}\n"
        before = each


def _formatted(statement: Statement) -> str:
    """Format a statement as the migrations do."""
    text = statement.text
    remark = _REMARK.fullmatch(text)
    if remark:
        pieces = _filled(re.findall(r"\S+\s*", remark[2]), WIDTH - 3)
        return "\n".join([*_broken(f"{_lines(remark[1])} is"), *(f"'{each}'" for each in pieces)]) + ";"
    if statement.kind == "TABLE DATA":
        first, *rows = text.removesuffix(";").splitlines()
        values = ",\n".join(sorted(row.strip().removesuffix(",") for row in rows))
        text = f"{first}\n{values};"
    if statement.kind == "TRIGGER":
        text = re.sub(r" (?=FOR EACH ROW|EXECUTE FUNCTION)", "\n    ", text)
    body = _BODY.search(text)
    if body:  # a function's body stays as its migration has it
        return f"{_lines(text[: body.start()])} {body[0]}{_lines(text[body.end() :])}"
    return _lines(text)


def _lines(text: str) -> str:
    """Put what isn't quoted into lower case, without the schema's name, and break long lines."""
    parts = _QUOTED.split(text)
    for at in range(0, len(parts), 2):
        code = parts[at].lower().replace("public.", "").replace("character varying", "varchar")
        parts[at] = code.replace("timestamp with time zone", "timestamptz")
    return "\n".join(piece.rstrip() for line in "".join(parts).split("\n") for piece in _broken(line))


def _broken(line: str) -> list[str]:
    """Break a long line before its condition or reference, then after commas and before `and` and `or`."""
    if len(line) <= WIDTH:
        return [line]
    indent = line[: len(line) - len(line.lstrip())]
    words = re.findall(r"(?:'(?:[^']|'')*'|[^\s'])+\s*", line)
    for at, word in enumerate(words[1:], 1):
        if word.rstrip() in _CLAUSES:
            head, clause = "".join(words[:at]), "".join(words[at:])
            return [*_broken(indent + head), *_broken(f"{indent}    {clause}")]
    pieces = [""]
    for word in words:
        if word.rstrip() in ("and", "or"):
            pieces.append("")
        pieces[-1] += word
        if word.rstrip().endswith(","):
            pieces.append("")
    first, *more = _filled(pieces, WIDTH - len(indent) - 4)
    return [indent + first, *(f"{indent}    {each}" for each in more)]


def _filled(pieces: list[str], width: int) -> list[str]:
    """Fill lines of at most `width` characters with pieces, each of which ends with its space."""
    lines = [""]
    for piece in filter(None, pieces):
        if lines[-1] and len(lines[-1]) + len(piece.rstrip()) > width:
            lines.append("")
        lines[-1] += piece
    return lines
