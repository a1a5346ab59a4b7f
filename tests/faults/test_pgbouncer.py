"""Behind a real pgbouncer in transaction mode: no prepared statements, no notifications."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest

from chat_api.cli import main
from chat_api.db import load_queries
from chat_api.dev.installation import run_as
from chat_api.dev.tether import tethered
from chat_api.settings import Settings
from tests.model_server import ModelServer
from tests.processes import Service, free_port, open_conversation
from tests.reader import read_events

CONFIGURATION = """
[databases]
* = host={host} port={port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 3
"""


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """This test's database through pgbouncer, which has three connections for everybody."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None and "CI" not in os.environ:
        pytest.skip("pgbouncer is not installed: make packages, brew install pgbouncer")
    assert program is not None
    query = {name: value[0] for name, value in parse_qs(urlsplit(database_url).query).items()}
    with tempfile.TemporaryDirectory(prefix="chat-") as folder:
        Path(folder).chmod(0o755)
        port = free_port()
        configuration = Path(folder, "pgbouncer.ini")
        configuration.write_text(CONFIGURATION.format(**query, listen_port=port))
        process = subprocess.Popen(
            tethered([program, str(configuration)], signal.SIGINT, run_as(Path(folder))),
            stdin=subprocess.DEVNULL,
        )
        url = f"postgresql://postgres@127.0.0.1:{port}{urlsplit(database_url).path}"
        try:
            answers(url)
            yield f"{url}?pgbouncer=true"
        finally:
            process.send_signal(signal.SIGTERM)  # at once, whoever is connected
            process.wait(10)


def answers(url: str) -> None:
    """Return when something takes connections there."""
    deadline = time.monotonic() + 10
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.02)


async def test_readers_on_other_workers_are_served_by_polling_alone(
    pooled_url: str, settings: Settings, user: dict[str, str], model: ModelServer, sql: Any
) -> None:
    settings = settings.model_copy(update={"database_url": pooled_url, "worker_lease": 15.0})
    async with Service(settings) as one, Service(settings) as other:
        path = await open_conversation(one.session, user)
        for number in range(3):
            ask = one.session.post(f"{path}/messages", json={"content": "hi"}, headers=user)
            async with ask as local:
                call = await model.call()
                call.say("a ")
                begun = await read_events(local, 2)
                async with other.session.get(f"{path}/stream", headers=user) as remote:
                    assert await read_events(remote, 2) == begun
                    for word in ("b ", "c "):
                        call.say(word)
                        assert await read_events(remote, 1) == await read_events(local, 1)
                    if number == 2:
                        async with other.session.post(f"{path}/stop", headers=user) as stopped:
                            assert (await stopped.json())["stopped"]
                    else:
                        call.finish("d")
                    assert await read_events(remote) == await read_events(local)
        rows = await sql.fetch("select content from messages where role = 'assistant' order by created_at")
        assert [row["content"] for row in rows] == ["a b c d", "a b c d", "a b c "]
    # The sessions are everybody's: none of them has the service's limit.
    with ExitStack() as stack:
        for _ in range(3):
            session = stack.enter_context(psycopg.connect(pooled_url.partition("?")[0]))
            assert session.execute("show statement_timeout").fetchone() == ("0",)


@pytest.mark.parametrize("options", [(), ("--generic",)])
def test_a_dba_looks_at_the_queries_through_it(
    pooled_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
) -> None:
    monkeypatch.setenv("DATABASE_URL", pooled_url)
    for _ in range(3):  # whatever a call left prepared would be in the next one's way
        assert main(["sql", "check"]) == 0, capsys.readouterr()
        for name in load_queries():
            assert main(["sql", "explain", name, *options]) == 0, capsys.readouterr()
    with psycopg.connect(pooled_url.partition("?")[0], prepare_threshold=None) as connection:
        assert connection.execute("select name from pg_prepared_statements").fetchall() == []
