"""Each migration's file says what it locks, and PostgreSQL agrees."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.folders import migrations_dir
from chat_api.migrate.apply import apply_migrations, known_migrations
from chat_api.migrate.demands import HINDERS, Demands, read_demands
from tests.migrate import earlier

Connection = psycopg.Connection[Any]

LOCKED = """
select relname, lower(regexp_replace(replace(mode, 'Lock', ''), '(\\w)(?=[A-Z])', '\\1 ', 'g'))
from pg_locks inner join pg_class on pg_class.oid = relation
where pid = pg_backend_pid() and relkind = 'r' and relnamespace = 'public'::regnamespace and relname = any(%s)
"""
TABLES = "select relname from pg_class where relkind = 'r' and relnamespace = 'public'::regnamespace"


def fresh(_: str) -> None:
    """An empty database."""


def adopted(database_url: str) -> None:
    earlier.make(database_url, is_favorited=False)


def beside_users(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(earlier.USERS)


def demands() -> dict[str, Demands]:
    return {name: read_demands(name) for name in known_migrations()}


def strongest(locks: set[tuple[str, str]]) -> dict[str, str]:
    """The strongest lock on each table, without those that block nobody."""
    modes = list(HINDERS)
    found: dict[str, str] = {}
    for table, mode in locks:
        if mode in HINDERS and modes.index(mode) >= modes.index(found.get(table, mode)):
            found[table] = mode
    return found


def test_the_locks_are_those_that_postgresql_shows(
    new_database: Callable[[], str], migrations_copy: Path
) -> None:
    """In a database of each origin, for each migration, within its transaction."""
    known = known_migrations()
    said = {name: each for name, each in demands().items() if each.transactional}
    taken: dict[str, set[tuple[str, str]]] = {name: set() for name in said}
    files = {path.name: path.read_bytes() for path in migrations_copy.iterdir()}
    for origin in (fresh, adopted, beside_users):
        for path in migrations_copy.iterdir():
            path.unlink()
        database_url = new_database()
        origin(database_url)
        with psycopg.connect(database_url, autocommit=True) as connection:
            for name in known:
                file = files[f"{name}.sql"]
                (migrations_copy / f"{name}.sql").write_bytes(file)
                if name in said:
                    taken[name] |= locks_of(connection, file)
                assert apply_migrations(database_url) == [name]
    wrong = [
        f"{name}.sql: {as_lines(strongest(locks))}"
        for name, locks in taken.items()
        if {lock.table: lock.mode for lock in said[name].locks or ()} != strongest(locks)
        or said[name].locks is None
    ]
    assert not wrong, "what it locks, and its file doesn't say:\n" + "\n".join(wrong)


def locks_of(connection: Connection, file: bytes) -> set[tuple[str, str]]:
    """The locks that a migration takes on existing tables; it is rolled back afterwards."""
    before = [table for (table,) in connection.execute(TABLES)]
    with connection.transaction(force_rollback=True):
        connection.execute(file)
        return set(connection.execute(LOCKED, (before,)).fetchall())


def as_lines(locks: dict[str, str]) -> str:
    return (
        ", ".join(f"`-- locks: {table}, {mode}, …`" for table, mode in locks.items()) or "`-- locks: nothing`"
    )


def test_what_builds_an_index_outside_a_transaction_says_on_which_table() -> None:
    for name, demanded in demands().items():
        text = (migrations_dir() / f"{name}.sql").read_text()
        built = set(
            re.findall(r"^create (?:unique )?index concurrently [^;]*?\bon (\w+)", text, re.MULTILINE)
        )
        lines = {lock.table for lock in demanded.locks or () if lock.lasts == "builds an index"}
        assert lines == built, name
        if not demanded.transactional:
            # The others go through the rows in batches, each a transaction of its own.
            mode = "share update exclusive" if built else "row exclusive"
            assert {lock.mode for lock in demanded.locks or ()} == {mode}, name


def test_every_file_bounds_its_wait_for_locks_and_its_statements() -> None:
    unbounded = [
        name for name, each in demands().items() if not (each.lock_timeout and each.statement_timeout)
    ]
    assert unbounded == []
    for path in migrations_dir().glob("*.rollback.sql"):
        assert (
            "set local lock_timeout" in path.read_text()
            or "set lock_timeout" in path.read_text()
            or not [line for line in path.read_text().splitlines() if line and not line.startswith("--")]
        ), path.name


@pytest.mark.parametrize(
    "line", ["messages", "messages, access exclusive", "messages, access, a moment", "m, share, for ever"]
)
def test_a_line_that_cannot_be_read_is_refused(migrations_copy: Path, line: str) -> None:
    (migrations_copy / "9999.a-test.sql").write_text(f"-- locks: {line}\nselect 1;\n")
    with pytest.raises(ValueError, match=r"a table, one of .*access exclusive"):
        read_demands("9999.a-test")
