"""Migrating works, whoever runs it, however often and concurrently, and whatever was killed before."""

import getpass
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api.migrate import apply
from chat_api.migrate.apply import apply_migrations, known_migrations, migration_status, rollback_migrations
from chat_api.migrate.session import CHAT_LOCK, TURN_LOCK
from chat_api.postgres.session import SessionError
from chat_api.settings.database_url import parse_dsn
from tests.migrate import earlier
from tests.migrate.catalog import catalog

Connection = psycopg.Connection[Any]

APPLY = "import sys; from chat_api.migrate.apply import *; print(*apply_migrations(sys.argv[1]))"


def start_process(database_url: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", APPLY, database_url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_until(connection: Connection, query: str, **parameters: object) -> None:
    """Poll until a session waits, because PostgreSQL has no notification for that."""
    deadline = time.monotonic() + 20
    while connection.execute(query, parameters).fetchone() is None:
        assert time.monotonic() < deadline, query
        time.sleep(0.01)


def times(connection: Connection) -> list[Any]:
    return connection.execute(
        "select id, to_jsonb(m) - 'position' from messages as m order by created_at, id"
    ).fetchall()


def test_the_migrations_are_applied_in_order_and_once(empty_database: str) -> None:
    known = known_migrations()
    assert [state.applied_at for state in migration_status(empty_database)] == [None] * len(known)
    assert apply_migrations(empty_database) == known == sorted(known)
    assert apply_migrations(empty_database) == []
    states = migration_status(empty_database)
    assert [state.id for state in states] == known
    now = datetime.now(UTC)
    assert all(state.applied_at and now - state.applied_at < timedelta(minutes=1) for state in states)


def test_status_writes_nothing(connection: Connection, empty_database: str) -> None:
    migration_status(empty_database)
    assert connection.execute("select relname from pg_class where relname ~ 'yoyo'").fetchall() == []


def test_rolled_back_and_applied_again_nothing_said_is_lost(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=False)
    apply_migrations(empty_database)
    schema, messages = catalog(connection), times(connection)
    known = known_migrations()
    assert rollback_migrations(empty_database) == known[-1:]
    assert rollback_migrations(empty_database, len(known)) == known[-2::-1]
    assert connection.execute("select count(*) from conversations").fetchone() == (3,)
    assert connection.execute(
        "select indexrelid::regclass::text from pg_index join pg_class on oid = indrelid"
        " where relname = 'messages' order by 1"
    ).fetchall() == [("idx_messages_conversation",), ("messages_pkey",)]
    connection.execute(
        "insert into messages (conversation_id, role, content) values (%s, 'user', 'between')",
        (earlier.NULLS,),
    )
    assert apply_migrations(empty_database) == known
    assert catalog(connection) == schema
    assert len(times(connection)) == len(messages) + 1
    assert times(connection)[: len(messages)] == messages


def test_each_file_can_run_twice_both_ways(
    connection: Connection, empty_database: str, migrations_copy: Path
) -> None:
    """yoyo runs a file and marks it in two transactions. If killed in between, it runs the file again."""
    earlier.make(empty_database, is_favorited=True)
    apply_migrations(empty_database)
    for name in reversed(known_migrations()):
        rollback_migrations(empty_database)
        apply_migrations(empty_database)
        schema = catalog(connection)
        unmark = "delete from _yoyo_migration where migration_id = %s returning *"
        mark = connection.execute(unmark, (name,)).fetchone()
        assert apply_migrations(empty_database) == [name]
        assert catalog(connection) == schema
        assert rollback_migrations(empty_database) == [name]
        schema = catalog(connection)
        connection.execute("insert into _yoyo_migration values (%s, %s, %s)", mark)
        assert rollback_migrations(empty_database) == [name]
        assert catalog(connection) == schema
        (migrations_copy / f"{name}.sql").rename(migrations_copy / f"{name}.seen")


def test_four_at_once_apply_each_migration_once(empty_database: str) -> None:
    processes = [start_process(empty_database) for _ in range(4)]
    outputs = [process.communicate(timeout=60) for process in processes]
    assert [
        (process.returncode, errors) for process, (_, errors) in zip(processes, outputs, strict=True)
    ] == [(0, "")] * 4
    assert sorted(" ".join(output for output, _ in outputs).split()) == known_migrations()


def test_killed_inside_a_migration_the_next_one_finishes(
    connection: Connection, empty_database: str, new_database: Callable[[], str]
) -> None:
    earlier.make(empty_database, is_favorited=True)
    with connection.transaction():
        connection.execute("lock table messages in access share mode")
        process = start_process(empty_database)
        with process, psycopg.connect(empty_database, autocommit=True) as watcher:
            wait_until(watcher, "select from pg_locks where not granted and relation = 'messages'::regclass")
            process.kill()
        assert connection.execute("select count(*) from yoyo_lock").fetchone() == (1,)
    assert apply_migrations(empty_database)[0] == "0002.adopt-messages"
    fresh = new_database()
    apply_migrations(fresh)
    with psycopg.connect(fresh) as other:
        assert catalog(connection) == catalog(other)


def test_an_index_build_that_outlives_its_process_is_waited_for(
    connection: Connection, empty_database: str
) -> None:
    """If the next process started beside it, it would drop the index that is still being built."""
    earlier.make(empty_database, is_favorited=True)
    index = """
        select indexrelid, indisvalid from pg_index
        where indexrelid = to_regclass('idx_conversations_user_updated')
    """
    building = """
        select from pg_stat_activity
        where datname = current_database() and query ~ '^create index' and wait_event_type = 'Lock'
    """
    # The next process either keeps polling until the old one has ended, or has started its own work.
    started = """
        select from pg_stat_activity
        where datname = current_database() and application_name = 'chat-api migrate'
        and query !~ '^create index'
        and (wait_event_type = 'Lock' or query_start > backend_start + interval '300 ms')
    """
    apply_migrations(empty_database)
    known = known_migrations()
    rollback_migrations(empty_database, len(known) - known.index("0007.index-conversations"))
    with (
        ThreadPoolExecutor() as threads,
        psycopg.connect(empty_database, autocommit=True) as watcher,
    ):
        with connection.transaction():
            # A build waits for every transaction that has written to the table.
            connection.execute("update conversations set title = 'x' where id = %s", (earlier.EMPTY,))
            with start_process(empty_database) as process:
                wait_until(watcher, building)
                process.kill()
            (oid, valid) = watcher.execute(index).fetchone() or (None, None)
            assert valid is False
            following = threads.submit(apply_migrations, empty_database)
            wait_until(watcher, started)
        assert following.result(timeout=30)[0] == "0007.index-conversations"
        assert watcher.execute(index).fetchone() == (oid, True)


def test_an_invalid_index_that_was_left_behind_is_built_again(
    connection: Connection, empty_database: str
) -> None:
    earlier.make(empty_database, is_favorited=True)
    connection.execute("create index idx_conversations_user_updated on conversations (user_id)")
    for later in ("created", "position"):
        connection.execute(f"create index idx_messages_conversation_{later} on messages (conversation_id)")
    connection.execute(
        "update pg_index set indisvalid = false where indexrelid::regclass::text ~ '(d|_position)$'"
    )
    apply_migrations(empty_database)
    indexes = {row[1]: row for row in catalog(connection)["indexes"]}
    updated, by_position = (
        indexes["idx_conversations_user_updated"],
        indexes["idx_messages_conversation_position"],
    )
    assert updated[2].endswith("(user_id, updated_at DESC, id DESC)")
    assert by_position[2].endswith('(conversation_id, "position")')
    assert updated[3:] == by_position[3:] == ("True", "True")


def test_a_migration_that_fails_leaves_nothing_of_it(
    connection: Connection, empty_database: str, capfd: pytest.CaptureFixture[str]
) -> None:
    connection.execute("create table conversations (id bigint primary key)")
    before = catalog(connection)
    with pytest.raises(SessionError, match=r"^migration 0001.adopt-conversations failed: "):
        apply_migrations(empty_database)
    assert catalog(connection) == before
    connection.execute("drop table conversations")
    assert apply_migrations(empty_database) == known_migrations()
    rollback_migrations(empty_database)
    assert capfd.readouterr() == ("", "")


def test_a_lock_that_is_not_to_be_had_is_said_in_one_sentence(
    connection: Connection, empty_database: str, migrations_copy: Path
) -> None:
    earlier.make(empty_database, is_favorited=True)
    file = migrations_copy / "0002.adopt-messages.sql"
    file.write_text(file.read_text().replace("lock_timeout = '5s'", "lock_timeout = '50ms'"))
    with connection.transaction():
        connection.execute("select from messages")
        with pytest.raises(SessionError, match=r"0002.*a lock that another transaction holds"):
            apply_migrations(empty_database)
    assert apply_migrations(empty_database) == known_migrations()[1:]


def test_files_that_are_no_migrations_are_not_run(empty_database: str, migrations_copy: Path) -> None:
    (migrations_copy / "__init__.py").write_text("raise AssertionError")
    (migrations_copy / "README.md").write_text("# Migrations")
    assert apply_migrations(empty_database) == known_migrations()


def test_a_package_without_its_migrations_says_so(empty_database: str, migrations_copy: Path) -> None:
    shutil.rmtree(migrations_copy)
    with pytest.raises(SessionError, match=r"there are no migrations in .*install the package again"):
        apply_migrations(empty_database)


@pytest.fixture
def reader(connection: Connection, empty_database: str) -> Iterator[str]:
    """The URL for a role that can only read."""
    role = f"{parse_dsn(empty_database).database}_reader"
    connection.execute(f"create role {role} login")
    connection.execute("revoke create on schema public from public")
    connection.execute(f"alter default privileges grant select on tables to {role}")
    yield replace(parse_dsn(empty_database), user=role).libpq()
    connection.execute(f"drop owned by {role}")
    connection.execute(f"drop role {role}")


def test_a_role_without_the_right_to_create_is_told_so(reader: str) -> None:
    with pytest.raises(SessionError, match=r"permission denied for schema public; .* check the role in"):
        apply_migrations(reader)


def test_where_nothing_is_to_be_done_no_right_is_needed(reader: str, empty_database: str) -> None:
    apply_migrations(empty_database)
    assert apply_migrations(reader) == []


def test_a_uid_without_a_name_can_migrate(empty_database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 12345")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert apply_migrations(empty_database) == known_migrations()


def test_waiting_for_another_process_has_an_end(
    connection: Connection, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apply, "TURN_SECONDS", 0)
    connection.execute("select pg_advisory_lock(%s, %s)", (CHAT_LOCK, TURN_LOCK))
    with pytest.raises(SessionError, match="another process has been migrating"):
        apply_migrations(empty_database)


def test_an_unreachable_database_is_one_sentence_without_the_password(unused_tcp_port: int) -> None:
    url = f"postgresql+asyncpg://me:s3cret@127.0.0.1:{unused_tcp_port}/chat"
    for command in (apply_migrations, rollback_migrations, migration_status):
        with pytest.raises(SessionError) as caught:
            command(url)
        text = str(caught.value)
        assert f"cannot connect to the database at postgresql://me@127.0.0.1:{unused_tcp_port}/chat: " in text
        assert "check DATABASE_URL" in text
        assert "s3cret" not in text
        assert "\n" not in text


def test_a_missing_database_is_named(postgres_dsn: str) -> None:
    with pytest.raises(SessionError, match='database "no_such_database" does not exist'):
        apply_migrations(replace(parse_dsn(postgres_dsn), database="no_such_database").libpq())


def test_rolling_back_nothing_is_refused(empty_database: str) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        rollback_migrations(empty_database, 0)
