"""A DBA's own migrations: applied after the release's, taken back, and in no release's way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.cli import main
from chat_api.migrate.apply import apply_migrations, known_migrations, migration_status, rollback_migrations
from chat_api.migrate.errors import LockHeldError
from chat_api.migrate.report import read_report
from chat_api.migrate.session import LOCK_TIMEOUT
from chat_api.postgres.session import SessionError
from chat_api.settings import Settings, SettingsError
from tests.support.processes import Service

Connection = psycopg.Connection[Any]

MOOD, INDEX = "local-0001.add-mood", "local-0002.index-mood"
FILES = {
    f"{MOOD}.sql": "-- locks: conversations, access exclusive, a moment\n"
    "alter table conversations add column if not exists mood varchar(20);",
    f"{MOOD}.rollback.sql": "-- going back: loses the moods\n"
    "alter table conversations drop column if exists mood;",
    f"{INDEX}.sql": "-- transactional: false\n"
    "create index concurrently if not exists idx_conversations_mood on conversations (mood);",
    f"{INDEX}.rollback.sql": "-- transactional: false\n"
    "drop index concurrently if exists idx_conversations_mood;",
}
LATER = "9000.add-note"
RELEASED = "alter table conversations add column if not exists note text;"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder whose name is also a glob pattern, with a column of one's own and its index."""
    folder = tmp_path / "own [local]*"
    folder.mkdir()
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "README.md").write_text("Ours.")
    return folder


@pytest.fixture
def configured(empty_database: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment names an empty database, and this folder."""
    monkeypatch.setenv("DATABASE_URL", empty_database)
    monkeypatch.setenv("MIGRATIONS_DIR", str(folder))
    return empty_database


def release(folder: Path) -> None:
    """Make the releases' folder that of the next release."""
    (folder / f"{LATER}.sql").write_text(f"-- depends: {known_migrations()[-1]}\n{RELEASED}")
    (folder / f"{LATER}.rollback.sql").write_text("alter table conversations drop column if exists note;")


def columns(connection: Connection) -> set[str]:
    """Which of the columns that these tests add are there."""
    rows = connection.execute(
        "select column_name from information_schema.columns where table_name = 'conversations'"
    )
    return {name for (name,) in rows} & {"mood", "note"}


@pytest.mark.usefixtures("configured")
def test_they_come_after_the_releases_and_once(
    connection: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"applied {name}" for name in [*known_migrations(), MOOD, INDEX]
    ]
    assert main(["migrate"]) == 0
    assert capsys.readouterr().out == "nothing to apply\n"
    assert columns(connection) == {"mood"}
    assert main(["sql", "check"]) == 0


def test_one_can_be_run_twice(empty_database: str, folder: Path, connection: Connection) -> None:
    apply_migrations(empty_database, local=str(folder))
    connection.execute("delete from _yoyo_migration where migration_id like 'local-%'")
    assert apply_migrations(empty_database, local=str(folder)) == [MOOD, INDEX]


@pytest.mark.usefixtures("configured")
def test_status_tells_what_is_pending_and_what_it_locks(capsys: pytest.CaptureFixture[str]) -> None:
    main(["migrate"])
    main(["migrate", "rollback", "--count", "2"])
    capsys.readouterr()
    assert main(["migrate", "status"]) == 3
    text = capsys.readouterr().out
    assert (
        f"{MOOD:<40} pending\n    conversations: access exclusive, a moment; reading and writing wait" in text
    )
    assert f"gives up after waiting {LOCK_TIMEOUT} for a lock" in text
    assert "going back: loses the moods" in text
    assert main(["migrate", "status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["pending"] == [MOOD, INDEX]
    assert main(["sql", "check"]) == 1
    assert f"migration {MOOD} is pending" in capsys.readouterr().out


def test_one_goes_back_before_what_it_came_after(
    empty_database: str, folder: Path, migrations_copy: Path, connection: Connection
) -> None:
    apply_migrations(empty_database, local=str(folder))
    release(migrations_copy)
    assert apply_migrations(empty_database, local=str(folder)) == [LATER]
    assert columns(connection) == {"mood", "note"}
    assert rollback_migrations(empty_database, local=str(folder)) == [LATER], "the own column stays"
    assert rollback_migrations(empty_database, 3, local=str(folder)) == [INDEX, MOOD, known_migrations()[-2]]
    assert columns(connection) == set()


def test_a_release_and_an_own_one_that_are_pending_together(
    empty_database: str, folder: Path, migrations_copy: Path
) -> None:
    apply_migrations(empty_database)
    release(migrations_copy)
    assert apply_migrations(empty_database, local=str(folder)) == [LATER, MOOD, INDEX]
    assert rollback_migrations(empty_database, 3, local=str(folder)) == [INDEX, MOOD, LATER]


def test_without_their_files_they_stay_and_are_told(
    empty_database: str, folder: Path, migrations_copy: Path, connection: Connection
) -> None:
    apply_migrations(empty_database, local=str(folder))
    (folder / f"{MOOD}.sql").unlink()
    (folder / f"{MOOD}.rollback.sql").unlink()
    assert read_report(empty_database, str(folder)).of("gone") == [MOOD]
    assert read_report(empty_database).of("gone") == [MOOD, INDEX]
    assert read_report(empty_database).of("newer") == []
    release(migrations_copy)
    assert apply_migrations(empty_database) == [LATER], "no release takes them for a later one's"
    told: list[str] = []
    assert rollback_migrations(empty_database, warn=told.append) == [LATER]
    assert told == [], "they are older"
    assert rollback_migrations(empty_database, warn=told.append) == [known_migrations()[-2]]
    assert told == [f"{name} is newer and stays: its file isn't in MIGRATIONS_DIR" for name in (INDEX, MOOD)]
    assert columns(connection) == {"mood"}


@pytest.mark.usefixtures("configured")
def test_status_names_those_whose_files_are_gone_and_is_content(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["migrate"])
    for file in folder.glob(f"{INDEX}.*"):
        file.unlink()
    capsys.readouterr()
    assert main(["migrate", "status"]) == 0
    assert f"{INDEX:<40} its file isn't in MIGRATIONS_DIR; applied " in capsys.readouterr().out
    assert main(["migrate", "status", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gone"] == [INDEX]


async def test_the_service_starts_without_their_files(
    settings: Settings, database_url: str, folder: Path
) -> None:
    apply_migrations(database_url, local=str(folder))
    async with Service(settings) as service, service.session.get("/api/ready") as response:
        assert response.status == 200


def test_one_that_waits_for_a_lock_gives_up_as_a_releases_does(
    empty_database: str, folder: Path, connection: Connection
) -> None:
    apply_migrations(empty_database)
    with connection.transaction():
        connection.execute("lock table conversations")
        with pytest.raises(LockHeldError, match=f"migration {MOOD} failed: it waited too long for a lock"):
            apply_migrations(empty_database, local=str(folder))
    assert apply_migrations(empty_database, local=str(folder)) == [MOOD, INDEX]


@pytest.mark.parametrize("name", ["idx_conversations_mood", 'public."idx_Conversations mood"'])
def test_an_index_whose_build_was_broken_off_is_built_anew(
    empty_database: str, folder: Path, connection: Connection, name: str
) -> None:
    for file in folder.glob(f"{INDEX}.*"):
        file.unlink()
    apply_migrations(empty_database, local=str(folder))
    (folder / f"{INDEX}.sql").write_text(
        "-- transactional: false\nset lock_timeout = '200ms';\n"
        f"create index concurrently if not exists {name.removeprefix('public.')} on conversations (mood);"
    )
    valid = "select indisvalid from pg_index where indexrelid = to_regclass(%s)"
    with psycopg.connect(empty_database) as writer:
        writer.execute("update conversations set title = title")  # a build waits for its end
        with pytest.raises(LockHeldError, match=f"migration {INDEX} failed: it waited too long for a lock"):
            apply_migrations(empty_database, local=str(folder))
        assert connection.execute(valid, (name,)).fetchall() == [(False,)]
    assert apply_migrations(empty_database, local=str(folder)) == [INDEX]
    assert connection.execute(valid, (name,)).fetchall() == [(True,)]


def test_one_that_fails_is_undone_and_named(
    empty_database: str, folder: Path, connection: Connection
) -> None:
    (folder / f"{MOOD}.sql").write_text("alter table conversations add column mood text;\nselect nonsense;")
    with pytest.raises(SessionError, match=f'migration {MOOD} failed: column "nonsense" does not exist'):
        apply_migrations(empty_database, local=str(folder))
    assert columns(connection) == set()
    assert all(state.applied_at for state in migration_status(empty_database))


def test_one_without_a_rollback_file_does_not_go_back(empty_database: str, folder: Path) -> None:
    apply_migrations(empty_database, local=str(folder))
    file = folder / f"{INDEX}.rollback.sql"
    file.unlink()
    with pytest.raises(SessionError) as refused:
        rollback_migrations(empty_database, local=str(folder))
    assert str(refused.value) == f"{INDEX} can't be rolled back: write {file} first"


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("0100.add-mood.sql", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-0003.add-mood.SQL", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-0003.add-mood", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-1.add-mood.sql", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-0001.Add.sql", b"", "must be named as local-0001.add-mood.sql is"),
        ("0100.add-mood.rollback.sql", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-0003.more.py", b"", "must be named as local-0001.add-mood.sql is"),
        ("local-0003.more.rollback.sql", b"", "there is no local-0003.more.sql that it could roll back"),
    ],
)
def test_a_file_of_another_form_is_named(
    empty_database: str, folder: Path, name: str, text: bytes, reason: str
) -> None:
    (folder / name).write_bytes(text)
    for command in (apply_migrations, rollback_migrations, migration_status):
        with pytest.raises(SettingsError) as refused:
            command(empty_database, local=str(folder))
        assert str(refused.value).startswith(f"MIGRATIONS_DIR: {folder / name}: {reason}")


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"select 1;\n-- caf\xe9\n", 2, "must be UTF-8 text, which this line isn't"),
        (b"--\n--\n-- transactional: no\n", 3, "transactional must be true or false, not 'no'"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(
    empty_database: str, folder: Path, text: bytes, line: int, reason: str
) -> None:
    file = folder / f"{MOOD}.sql"
    file.write_bytes(text)
    with pytest.raises(SettingsError) as refused:
        apply_migrations(empty_database, local=str(folder))
    assert str(refused.value) == f"MIGRATIONS_DIR: {file}:{line}: {reason}"


@pytest.mark.usefixtures("configured")
def test_the_command_ends_with_the_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / f"{MOOD}.sql").write_text("-- locks: conversations, a bit\n")
    assert main(["migrate", "status"]) == 2
    assert (
        f"chat-api: MIGRATIONS_DIR: {MOOD}.sql: `-- locks: conversations, a bit` must"
        in capsys.readouterr().err
    )
    monkeypatch.setenv("MIGRATIONS_DIR", str(folder / "elsewhere"))
    assert main(["migrate"]) == 2
    assert capsys.readouterr().err == (
        f"chat-api: MIGRATIONS_DIR {folder / 'elsewhere'}: can't be read: No such file or directory\n"
    )
