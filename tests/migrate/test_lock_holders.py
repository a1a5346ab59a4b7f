"""A migration that can't get a lock reports who holds it, and can be run again."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.cli import main
from chat_api.migrate import apply
from chat_api.migrate.apply import apply_migrations, known_migrations, rollback_migrations
from chat_api.postgres.session import SessionError
from chat_api.settings.database_url import parse_dsn
from tests.migrate import earlier
from tests.migrate.catalog import catalog

Connection = psycopg.Connection[Any]

HELD_UP = "0002.adopt-messages"


@pytest.fixture(autouse=True)
def impatient(migrations_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second migration waits half a second for a lock, then pauses for half a second."""
    for file in migrations_copy.glob("0002.*"):
        file.write_text(file.read_text().replace("lock_timeout = '5s'", "lock_timeout = '500ms'"))
    monkeypatch.setattr(apply, "PAUSE_SECONDS", 0.5)


@pytest.fixture
def holder(empty_database: str) -> Iterator[Connection]:
    """A named session, in a transaction that has read the messages."""
    earlier.make(empty_database, is_favorited=True)
    with psycopg.connect(empty_database, application_name="a long report") as session:
        session.execute("select from messages")
        yield session


def test_the_holder_is_named_and_nothing_stays(
    holder: Connection, connection: Connection, empty_database: str
) -> None:
    with pytest.raises(SessionError) as caught:
        apply_migrations(empty_database)
    assert str(caught.value).startswith(
        f"migration {HELD_UP} failed: it waited too long for a lock that another transaction holds: "
        f"pid {holder.info.backend_pid} (a long report, role postgres, idle in transaction, "
        "its transaction open for "
    )
    assert str(caught.value).endswith(" s); end it, or let it end, and try again")
    schema = catalog(connection)
    with pytest.raises(SessionError):
        apply_migrations(empty_database)
    assert catalog(connection) == schema
    holder.rollback()
    assert apply_migrations(empty_database) == known_migrations()[1:]


def test_going_back_names_it_too(connection: Connection, empty_database: str) -> None:
    earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    rollback_migrations(empty_database, len(known_migrations()) - 2)
    with connection.transaction():
        connection.execute("select from messages")
        with pytest.raises(SessionError, match=rf"^rolling back .*: pid {connection.info.backend_pid} \("):
            rollback_migrations(empty_database)
    assert rollback_migrations(empty_database) == [HELD_UP]


def test_a_prepared_transaction_has_no_session_to_end(connection: Connection, empty_database: str) -> None:
    earlier.make(empty_database, is_favorited=True)
    connection.execute("begin")
    connection.execute("select from messages")
    connection.execute("prepare transaction 'forgotten'")
    try:
        with pytest.raises(SessionError, match=r"a prepared transaction .*pg_prepared_xacts"):
            apply_migrations(empty_database)
    finally:
        connection.execute("rollback prepared 'forgotten'")


def test_a_role_that_may_not_look_at_others_still_learns_who_it_is(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=True)
    role = f"{parse_dsn(empty_database).database}_owner"
    connection.execute(f"create role {role} login")
    try:
        connection.execute(f"alter schema public owner to {role}")
        for table in ("users", "conversations", "messages"):
            connection.execute(f"alter table {table} owner to {role}", prepare=False)
        owner = replace(parse_dsn(empty_database), user=role).libpq()
        with connection.transaction():
            connection.execute("select from messages")
            pid = connection.info.backend_pid
            with pytest.raises(SessionError, match=rf"pid {pid} \(.*role postgres\)"):
                apply_migrations(owner)
    finally:
        connection.execute(f"reassign owned by {role} to postgres")
        connection.execute(f"drop owned by {role}")
        connection.execute(f"drop role {role}")


def test_it_tries_again_for_as_long_as_it_is_told_to(
    connection: Connection,
    holder: Connection,
    empty_database: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)

    def end() -> None:
        """Let go once the migration has waited for the lock, and for the pause after that."""
        waits = "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        while connection.execute(waits).fetchone() is None:
            time.sleep(0.01)
        time.sleep(1.2)
        holder.rollback()

    ending = threading.Thread(target=end, daemon=True)
    ending.start()
    assert main(["migrate", "--wait", "20"]) == 0
    ending.join()
    written = capsys.readouterr()
    assert written.out.splitlines() == [f"applied {name}" for name in known_migrations()]
    lines = written.err.splitlines()
    assert 1 <= len(lines) <= 3
    assert all(f"pid {holder.info.backend_pid} (a long report" in line for line in lines)
    assert all(line.endswith(" - trying again in 0 s") for line in lines)


@pytest.mark.usefixtures("holder")
def test_trying_again_has_an_end(
    empty_database: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database)
    began = time.monotonic()
    assert main(["migrate", "apply", "--wait", "2"]) == 1
    assert 1 < time.monotonic() - began < 6
    written = capsys.readouterr()
    assert len(written.err.splitlines()) >= 2
    assert written.out == f"applied {known_migrations()[0]}\n"  # it reports what stays


def test_of_two_that_wait_for_each_other_the_migration_gives_way_and_tries_again(
    connection: Connection, empty_database: str, migrations_copy: Path
) -> None:
    apply_migrations(empty_database)
    (migrations_copy / "9999.both-tables.sql").write_text(
        "lock table conversations in access exclusive mode; lock table messages in access exclusive mode;"
    )
    # The first session that checks for the deadlock is cancelled. Each checks once. With this setting, the
    # migration checks when both wait.
    connection.execute(f"alter database {parse_dsn(empty_database).database} set deadlock_timeout = '3s'")
    told: list[str] = []
    with psycopg.connect(empty_database, options="-c deadlock_timeout=1min") as other:
        other.execute("lock table messages in access share mode")
        migrating = threading.Thread(
            target=apply_migrations,
            args=[empty_database],
            kwargs={"wait_seconds": 20, "warn": told.append},
        )
        migrating.start()
        waits = "select from pg_locks where not granted and relation = 'messages'::regclass"
        while connection.execute(waits).fetchone() is None:
            assert migrating.is_alive()
            time.sleep(0.01)
        other.execute("select from conversations")
    migrating.join(30)
    assert len(told) == 1
    assert "waited for each other (Process " in told[0]


def test_a_statement_that_takes_too_long_is_undone(
    connection: Connection, empty_database: str, migrations_copy: Path
) -> None:
    (migrations_copy / "9999.a-nap.sql").write_text(
        "set local statement_timeout = '100ms'; create table nap (); select pg_sleep(10);"
    )
    with pytest.raises(SessionError, match=r"9999\.a-nap failed: .*statement timeout; it is undone"):
        apply_migrations(empty_database)
    assert connection.execute("select to_regclass('nap')").fetchone() == (None,)


def test_a_time_out_for_idle_sessions_ends_no_migration(
    connection: Connection, empty_database: str, migrations_copy: Path
) -> None:
    database = parse_dsn(empty_database).database
    connection.execute(f"alter database {database} set idle_session_timeout = '300ms'")
    (migrations_copy / "9999.a-nap.sql").write_text("select pg_sleep(1);")
    assert apply_migrations(empty_database)[-1] == "9999.a-nap"
