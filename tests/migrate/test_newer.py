"""A database that a later release has migrated: nothing starts on it, and what is running goes on."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from chat_api.cli import main
from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations
from chat_api.migrate.errors import NewerSchemaError

Connection = psycopg.Connection[Any]

LATER = "9999.from-the-future"
MIGRATED = f"insert into _yoyo_migration values ('hash', '{LATER}', now())"


@pytest.fixture
def newer(connection: Connection, empty_database: str, monkeypatch: pytest.MonkeyPatch) -> Connection:
    """A session in a database that a later release has migrated; the environment's DATABASE_URL names it."""
    apply_migrations(empty_database)
    connection.execute(MIGRATED)
    monkeypatch.setenv("DATABASE_URL", empty_database)
    return connection


@pytest.mark.usefixtures("newer")
def test_migrating_it_is_refused_in_both_directions(empty_database: str) -> None:
    for command in (apply_migrations, rollback_migrations):
        with pytest.raises(NewerSchemaError, match=rf"newer than this release.*{LATER}.*migrate rollback"):
            command(empty_database)


@pytest.mark.usefixtures("newer")
@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "apply"], ["migrate", "rollback"]])
def test_the_commands_say_what_to_do(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(
        f"chat-api: the database is newer than this release: a later one applied {LATER}; "
    )
    assert ("add --allow-newer-schema" in complaint) is ("rollback" not in arguments)


@pytest.mark.parametrize("arguments", [["apply", "--allow-newer-schema"], ["--allow-newer-schema", "apply"]])
def test_applying_is_allowed_by_the_flag(
    newer: Connection, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate", *arguments]) == 0
    assert capsys.readouterr().out == "nothing to apply\n"
    newer.execute("delete from _yoyo_migration where migration_id = %s", known_migrations()[-1:])
    assert main(["migrate", *arguments]) == 0
    assert capsys.readouterr().out == f"applied {known_migrations()[-1]}\n"


@pytest.mark.usefixtures("newer")
def test_the_check_of_the_database_tells_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", "check"]) == 1
    assert f"migration {LATER} is from a later release: use that one" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["20240101_01_xYz9-users", "initial", "0001_users", "a1b2c3d4e5f6"])
def test_another_programs_migrations_in_the_same_record_are_its_own_affair(
    connection: Connection, empty_database: str, name: str
) -> None:
    connection.execute("create table alembic_version (version_num varchar(32) primary key)")
    connection.execute("insert into alembic_version values ('a1b2c3d4e5f6')")
    apply_migrations(empty_database)
    connection.execute("insert into _yoyo_migration values ('hash', %s, now())", (name,))
    assert apply_migrations(empty_database) == []
    known = known_migrations()
    assert rollback_migrations(empty_database, len(known)) == known[::-1]
    assert apply_migrations(empty_database) == known
    assert connection.execute(
        "select migration_id from _yoyo_migration where migration_hash = 'hash'"
    ).fetchall() == [(name,)]
