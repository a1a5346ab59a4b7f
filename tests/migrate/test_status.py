"""`migrate status`: its output for DBAs before a deployment, and its exit status for the deployment."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.cli import main
from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations
from chat_api.migrate.report import Size, _size
from tests.migrate import earlier

Connection = psycopg.Connection[Any]


@pytest.fixture
def status(empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run the command: its exit status, stdout's lines by migration, and stderr."""
    monkeypatch.setenv("DATABASE_URL", empty_database)

    def run() -> tuple[int, dict[str, list[str]], str]:
        ended = main(["migrate", "status"])
        written = capsys.readouterr()
        found: dict[str, list[str]] = {}
        for line in written.out.splitlines():
            if line.startswith(" "):
                found[list(found)[-1]].append(line.strip())
            else:
                name, _, state = line.partition(" ")
                found[name] = [state.strip()]
        return ended, found, written.err

    return run


def test_a_pending_one_says_what_it_locks_for_whom_and_when_it_gives_up(
    connection: Connection, empty_database: str, status: Any
) -> None:
    earlier.make(empty_database, is_favorited=True)
    connection.execute(
        "insert into messages (conversation_id, role, content)"
        " select %s, 'user', repeat('x', 500) from generate_series(1, 2000)",
        (earlier.COMPLETE,),
    )
    connection.execute("vacuum analyze messages")
    ended, found, complaint = status()
    assert (ended, complaint) == (3, "")
    assert list(found) == known_migrations()
    assert found["0002.adopt-messages"] == [
        "pending",
        "messages: access exclusive, a moment; reading and writing wait",
        "conversations: share row exclusive, a moment; writing waits",
        "gives up after waiting 5s for a lock, or when a statement takes 1min; then it is undone",
    ]
    size = re.search("of (.*);", found["0004.validate-checks"][2])[1]  # type: ignore[index]
    assert re.fullmatch(r"1\.\d+ MB, about 2,005 rows", size)
    assert found["0004.validate-checks"][2] == (
        f"messages: share update exclusive, reads every row of {size}; blocks neither reading nor writing"
    )
    assert found["0008.index-messages"][1:] == [
        f"messages: share update exclusive, builds an index on {size}; blocks neither reading nor writing",
        "gives up after waiting 10min for a lock, or when a statement takes 2h; then it can be run again",
    ]
    assert found["0011.create-journal"] == ["pending", "locks no existing table"]


def test_in_a_fresh_database_nothing_can_be_locked(status: Any) -> None:
    ended, found, _ = status()
    assert ended == 3
    assert {tuple(lines[:2]) for lines in found.values()} == {("pending", "locks no existing table")}


def test_a_pending_one_says_what_going_back_does_to_the_data(status: Any) -> None:
    _, found, _ = status()
    told = {name: lines[2:] for name, lines in found.items() if lines[2:]}
    [line] = told["0041.create-inactive-messages"]
    assert line.startswith("going back: keeps every message; versions are read one after the other")
    assert len(told) == 9


def test_where_nothing_is_pending_it_ends_with_0(empty_database: str, status: Any) -> None:
    apply_migrations(empty_database)
    ended, found, complaint = status()
    assert (ended, complaint) == (0, "")
    assert {line.partition(" ")[0] for (line,) in found.values()} == {"applied"}
    rollback_migrations(empty_database)
    assert status()[0] == 3


def test_a_later_releases_and_another_programs_migrations_are_told_apart(
    connection: Connection, empty_database: str, status: Any
) -> None:
    apply_migrations(empty_database)
    connection.execute(
        "insert into _yoyo_migration values ('a', '20240101_01_xYz9-users', '2024-01-01 12:00')"
    )
    ended, found, complaint = status()
    assert (ended, complaint) == (0, "")
    assert found["20240101_01_xYz9-users"] == ["another program's, applied 2024-01-01 12:00:00+0000"]
    connection.execute("insert into _yoyo_migration values ('b', '9999.from-the-future', '2031-01-01 12:00')")
    ended, found, complaint = status()
    assert ended == 1
    assert found["9999.from-the-future"] == ["by a later release 2031-01-01 12:00:00+0000"]
    assert complaint.startswith(
        "chat-api: the database is newer than this release: a later one applied 9999."
    )


def test_programs_get_it_as_json(
    connection: Connection,
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    earlier.make(empty_database, is_favorited=True)
    connection.execute("vacuum analyze conversations")
    monkeypatch.setenv("DATABASE_URL", empty_database)
    assert main(["migrate", "status", "--json"]) == 3
    report = json.loads(capsys.readouterr().out)
    assert report["pending"] == known_migrations()
    assert report["newer"] == []
    assert report["migrations"][4] == {
        "id": "0005.require-conversation-times",
        "state": "pending",
        "applied_at": None,
        "transactional": True,
        "lock_timeout": "5s",
        "statement_timeout": "1min",
        "locks": [
            {
                "table": "conversations",
                "mode": "access exclusive",
                "lasts": "a moment",
                "hinders": "reading and writing wait",
                "bytes": report["migrations"][0]["locks"][0]["bytes"],
                "rows": 3,
            }
        ],
    }
    assert report["migrations"][0]["locks"][0]["bytes"] >= 8192
    apply_migrations(empty_database)
    assert main(["migrate", "status", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pending"] == []
    assert set(report["migrations"][0]) == {"id", "state", "applied_at"}
    assert report["migrations"][0]["applied_at"].endswith("+00:00")


def test_a_file_that_says_nothing_of_its_locks_is_not_taken_for_harmless(
    migrations_copy: Path, status: Any
) -> None:
    (migrations_copy / "9999.a-test.sql").write_text("select 1;\n")
    _, found, _ = status()
    assert found["9999.a-test"] == ["pending", "its file doesn't say what it locks"]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (Size(0, None), "0 bytes"),
        (Size(8192, 1), "8 kB, about 1 rows"),
        (Size(1023 * 1024, None), "1023 kB"),
        (Size(12_900_000_000, 104_000_000), "12 GB, about 104,000,000 rows"),
        (Size(3 * 1024**5, None), "3072 TB"),
    ],
)
def test_sizes_are_written_as_people_read_them(size: Size, words: str) -> None:
    assert _size(size) == words
