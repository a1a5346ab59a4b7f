"""How connections are made and kept: a server that is lost, hung or the wrong one costs little."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from structlog.testing import capture_logs

from chat_api import errors
from chat_api.libraries.asyncpg import Connection
from chat_api.observe.metrics import Metrics
from chat_api.postgres.connector import Connector
from chat_api.postgres.database import Database
from chat_api.postgres.queries import load_queries
from chat_api.settings import Settings
from chat_api.settings.database_url import parse_dsn
from tests.support.chat import Sql, nobody_waits, somebody_waits, until
from tests.support.processes import ROOT
from tests.support.wire import DatabaseWire

READ = "maintenance.applied_migrations"
WRITE: Any = {"name": "limits.prune", "max_rows": 1}
KEPT = 5
SECONDS = 2.0


@asynccontextmanager
async def opened(url: str, **changes: Any) -> AsyncIterator[Database]:
    settings = Settings(
        _env_file=None,
        **{"database_url": url, "database_pool_max": KEPT, "database_timeout": SECONDS, **changes},
    )
    database = Database(settings, Metrics())
    await database.open()
    try:
        yield database
    finally:
        await database.close()


async def keep_all(database: Database, sql: Sql) -> None:
    """Have all connections opened and kept."""
    async with sql.transaction():
        await sql.execute("lock table allowances in access exclusive mode")
        asked = [asyncio.create_task(database.row(**WRITE)) for _ in range(KEPT)]

        async def waiting() -> bool:
            locks = await sql.fetchval("select count(*) from pg_locks where not granted")
            return bool(locks == KEPT)

        await until(waiting)
    await asyncio.gather(*asked)
    assert database.connections == (KEPT, KEPT)


async def kill_all(sql: Sql) -> None:
    kill = "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name = 'chat-api'"
    assert len(await sql.fetch(f"{kill} and datname = current_database()")) == KEPT


async def test_kept_connections_that_the_server_closed_cost_nobody_anything(
    database_url: str, sql: Sql
) -> None:
    async with opened(database_url) as database:
        await keep_all(database, sql)
        await kill_all(sql)
        with capture_logs() as lines:
            for _ in range(KEPT):
                await database.row(**WRITE)
                await database.rows(READ)
        assert lines == []


async def test_nor_does_one_whose_end_the_loop_has_not_read_yet(database_url: str, sql: Sql) -> None:
    """A worker that was paused finds the end and the next request at the same moment."""
    async with opened(database_url) as database:
        await keep_all(database, sql)
        with psycopg.connect(database_url, autocommit=True) as other:  # blocks the loop
            other.execute(
                "select pg_terminate_backend(pid, 5000) from pg_stat_activity"
                " where application_name = 'chat-api' and datname = current_database()"
            )
        with capture_logs() as lines:
            for _ in range(KEPT):
                await database.row(**WRITE)
        assert lines == []


async def test_a_statement_that_only_reads_is_repeated_when_its_connection_breaks(database_url: str) -> None:
    async with DatabaseWire(database_url) as wire, opened(wire.url) as database:
        await database.rows(READ)
        wire.lose_reply_to = b"\x00\x00"  # whatever is sent next
        with capture_logs() as lines:
            assert await database.rows(READ)
        assert (wire.lose_reply_to, lines) == (None, [])


async def test_a_statement_that_writes_is_not(database_url: str, sql: Sql) -> None:
    async with DatabaseWire(database_url) as wire, opened(wire.url) as database:
        await database.row(**WRITE)
        wire.lose_reply_to = b"\x00\x00"
        with pytest.raises(errors.DatabaseUnavailable):
            await database.row(**WRITE)
        await database.row(**WRITE)


async def test_queries_that_may_be_repeated_change_nothing(sql: Sql) -> None:
    queries = load_queries()
    reading = {name for name, query in queries.items() if query.only_reads}
    assert {READ, "conversations.page", "conversations.get", "journal.read", "messages.exchange"} <= reading
    assert not {"generations.start", "generations.finish", "journal.tick", "conversations.delete"} & reading
    await sql.execute("begin read only")
    for name in reading:
        query = queries[name]
        statement = await sql.prepare(query.text)
        await statement.fetch(*[None] * len(query.parameters))


@pytest.fixture
async def sessions(sql: Sql) -> Callable[[str], Any]:
    """Make new sessions of this database read-only, or not."""
    name = await sql.fetchval("select current_database()")

    async def change(what: str) -> None:
        await sql.execute(f"alter database {name} {what}")

    return change


async def test_kept_sessions_that_are_read_only_are_let_go_before_anybody_notices(
    database_url: str, sql: Sql, sessions: Callable[[str], Any]
) -> None:
    await sessions("set default_transaction_read_only = on")
    async with opened(database_url) as database:
        for _ in range(KEPT):
            with pytest.raises(errors.DatabaseUnavailable):
                await database.row(**WRITE)
        await asyncio.gather(*(database.rows(READ) for _ in range(KEPT)))
        await sessions("reset default_transaction_read_only")
        with capture_logs() as lines:
            await database.row(**WRITE)
            await asyncio.gather(*(database.row(**WRITE) for _ in range(KEPT)))
        assert [line["event"] for line in lines] == ["database_failed_over"]


async def test_a_listening_session_is_let_go_with_them(
    database_url: str, sessions: Callable[[str], Any]
) -> None:
    await sessions("set default_transaction_read_only = on")
    async with opened(database_url) as database, database.session() as session:
        with pytest.raises(errors.DatabaseUnavailable):
            await database.row(**WRITE)
        assert session.is_closed()


@asynccontextmanager
async def black_hole(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[int]:
    """A port whose connections are taken, and then ignored."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family) as listener:
        yield listener.getsockname()[1]


async def test_a_host_that_swallows_what_it_is_sent_leaves_time_for_the_next(database_url: str) -> None:
    async with DatabaseWire(database_url) as wire, black_hole() as hole:
        url = wire.url.replace("@127.0.0.1:", f"@127.0.0.1:{hole},127.0.0.1:")
        async with opened(url) as database:
            began = time.monotonic()
            assert await database.rows(READ)
            assert time.monotonic() - began < SECONDS
            # From now on the one that answers comes first.
            began = time.monotonic()
            await asyncio.gather(*(database.rows(READ) for _ in range(KEPT)))
            assert time.monotonic() - began < SECONDS / 4


async def test_so_does_an_address_of_the_same_host(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up = socket.getaddrinfo

    def two_addresses(host: str, *arguments: Any, **options: Any) -> list[Any]:
        names = ["::1", "127.0.0.1"] if host == "two.test" else [host]
        return [each for name in names for each in looked_up(name, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
    async with (
        DatabaseWire(database_url) as wire,
        black_hole("::1", wire.port),
        opened(wire.url.replace("127.0.0.1", "two.test")) as database,
    ):
        began = time.monotonic()
        assert await database.rows(READ)
        assert SECONDS / 3 < time.monotonic() - began < SECONDS
        began = time.monotonic()
        await asyncio.gather(*(database.rows(READ) for _ in range(KEPT)))
        assert time.monotonic() - began < SECONDS / 4


async def test_connect_timeout_is_the_time_of_each_host(database_url: str) -> None:
    async with DatabaseWire(database_url) as wire, black_hole() as hole:
        url = wire.url.replace("@127.0.0.1:", f"@127.0.0.1:{hole},127.0.0.1:{hole},127.0.0.1:")
        async with opened(f"{url}?connect_timeout=0.2") as database:
            began = time.monotonic()
            assert await database.rows(READ)
            assert 0.4 < time.monotonic() - began < 1


async def test_what_each_of_several_hosts_said_is_in_the_log() -> None:
    async with (
        black_hole() as hole,
        opened(f"postgresql://me@127.0.0.1:1,127.0.0.1:{hole}/chat", database_timeout=0.5) as database,
    ):
        with capture_logs() as lines, pytest.raises(errors.DatabaseUnavailable):
            await database.rows(READ)
    assert "127.0.0.1:1: ConnectionRefusedError" in lines[-1]["reason"]
    assert f"127.0.0.1:{hole}: TimeoutError: no connection within" in lines[-1]["reason"]


async def test_of_several_hosts_the_one_that_takes_writes_is_meant(
    database_url: str, sql: Sql, sessions: Callable[[str], Any], new_database: Callable[[], str]
) -> None:
    """Two databases stand for two servers here; tests/faults has a real standby."""
    async with DatabaseWire(database_url) as first, DatabaseWire(database_url) as second:
        url = second.url.replace("@127.0.0.1:", f"@127.0.0.1:{first.port},127.0.0.1:")
        await sessions("set default_transaction_read_only = on")
        async with opened(url) as database:
            with capture_logs() as lines, pytest.raises(errors.DatabaseUnavailable):
                await database.rows(READ)
            assert lines[-1]["reason"].count("TargetServerAttributeNotMatched") == 2
            await sessions("reset default_transaction_read_only")
            assert await database.rows(READ)
        await sessions("set default_transaction_read_only = on")
        async with opened(f"{url}?target_session_attrs=prefer-standby") as database:
            assert await database.rows(READ)


async def test_a_silent_end_costs_one_time_out_and_no_more(database_url: str, sql: Sql) -> None:
    """As when a firewall has forgotten the connections: what is sent is lost, and nobody says so."""
    async with DatabaseWire(database_url) as wire, opened(wire.url, database_timeout=1.0) as database:
        await keep_all(database, sql)
        wire.ignore()
        began = time.monotonic()
        with pytest.raises(errors.DatabaseUnavailable):
            await database.row(**WRITE)
        assert 0.9 < time.monotonic() - began < 1.3
        began = time.monotonic()
        for _ in range(KEPT):
            await database.row(**WRITE)
        assert time.monotonic() - began < 0.5


async def test_a_time_out_is_waited_for_once_while_the_server_takes_no_connections(
    database_url: str, sql: Sql
) -> None:
    async with DatabaseWire(database_url) as wire, opened(wire.url, database_timeout=1.0) as database:
        await keep_all(database, sql)
        wire.arrivals = "ignore"
        wire.ignore()
        for _ in range(2):  # one is kept, one would be new
            began = time.monotonic()
            with pytest.raises(errors.DatabaseUnavailable):
                await database.row(**WRITE)
            assert 0.9 < time.monotonic() - began < 1.3
        wire.mend()
        await database.row(**WRITE)

        async def nobody_is_left() -> bool:
            names = [getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks()]
            return "Connection._cancel" not in names

        await until(nobody_is_left)


async def test_what_is_given_up_is_cancelled_on_the_server(database_url: str, sql: Sql) -> None:
    async with opened(database_url, database_timeout=0.5) as database, sql.transaction():
        await sql.execute("lock table allowances in access exclusive mode")
        began = time.monotonic()
        with pytest.raises(errors.DatabaseUnavailable):
            await database.row(**WRITE)
        await nobody_waits(sql)
        assert time.monotonic() - began < 1  # the server's own limit comes later


async def test_one_task_that_is_cancelled_waits_for_no_server(database_url: str, sql: Sql) -> None:
    async with DatabaseWire(database_url) as wire, opened(wire.url) as database, sql.transaction():
        await sql.execute("lock table allowances in access exclusive mode")
        asked = asyncio.create_task(database.row(**WRITE))
        await somebody_waits(sql)
        wire.arrivals = "ignore"
        wire.ignore()
        began = time.monotonic()
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)
        assert time.monotonic() - began < 0.2


async def test_the_system_looks_after_idle_connections(database_url: str) -> None:
    made: list[socket.socket] = []
    watch = Connection.watch

    async with DatabaseWire(database_url) as wire:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Connection, "watch", lambda self, each: (made.append(each), watch(self, each))[1])
            async with opened(f"{wire.url}?keepalives_idle=7") as database:
                await database.rows(READ)
                assert made[0].getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
                if sys.platform == "linux":
                    assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 7
                    assert made[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 10


CONNECT = """
import asyncio, os, sys
from chat_api.observe.metrics import Metrics
from chat_api.postgres.database import Database
from chat_api.settings import Settings
async def look():
    database = Database(Settings(_env_file=None, database_url=sys.argv[1]), Metrics())
    await database.open()
    rows = await database.rows("maintenance.applied_migrations")
    await database.close()
    return len(rows)
async def main():
    await look()  # loads every module, which may lie in a closed home too
    os.setuid(54321)
    print(await look())
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
@pytest.mark.parametrize("closed", ["home", ".postgresql"])
async def test_a_home_that_belongs_to_somebody_else_is_left_aside(
    database_url: str, tmp_path: Path, closed: str
) -> None:
    """As after su and sudo -E; libpq doesn't mind either."""
    home = tmp_path / "home"
    (home / ".postgresql").mkdir(parents=True)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o111 != 0o111:  # pytest's own
            folder.chmod(0o755)
    (home if closed == "home" else home / ".postgresql").chmod(0o700)
    async with DatabaseWire(database_url) as wire:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            CONNECT,
            wire.url,
            cwd=ROOT,
            env={**os.environ, "HOME": str(home)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        out, said = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, said.decode()) == (0, "")
    assert int(out) > 0


async def test_prepared_statements_have_names_that_no_other_process_gives(database_url: str) -> None:
    """Behind a pooler that the URL doesn't announce, a worker would else run another one's statement."""
    dsn = parse_dsn(database_url)
    connection = await Connector(dsn, dsn.asyncpg_kwargs()).connect(5)
    await connection.fetch("select now()")
    names = [row["name"] for row in await connection.fetch("select name from pg_prepared_statements")]
    connection.terminate()
    assert names
    assert all(re.fullmatch("__asyncpg_stmt_[0-9a-f]+__[0-9a-f]{8}", name) for name in names)
