"""The installed command works outside the checkout, against a real PostgreSQL."""

import json
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import ProxyHandler, build_opener
from uuid import uuid4

import asyncpg
import pytest

from tests.packaging.tree import ROOT, Installed


@pytest.fixture
async def empty_database(postgres_dsn: str) -> AsyncIterator[str]:
    """An empty database for this test."""
    name = f"packaging_{uuid4().hex}"
    connection = await asyncpg.connect(postgres_dsn)
    try:
        await connection.execute(f"create database {name}")
        yield urlunsplit(urlsplit(postgres_dsn)._replace(path=f"/{name}"))
        await connection.execute(f"drop database {name} with (force)")
    finally:
        await connection.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@contextmanager
def serving(
    installed: Installed, log: Path, port: int, empty_database: str
) -> Iterator[subprocess.Popen[bytes]]:
    """The running server. On SIGTERM it must end by itself, with status 0."""
    with log.open("wb") as output:
        server = subprocess.Popen(
            [installed.chat_api, "serve", "--port", str(port)],
            cwd=log.parent,
            env=installed.variables(log.parent, DATABASE_URL=empty_database),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            yield server
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=20) == 0, log.read_text()
        finally:
            server.kill()
            server.wait()


def get(server: subprocess.Popen[bytes], url: str, log: Path) -> object:
    """The JSON response, once the server listens. It must do so within 20 s, and must not have ended."""
    opener = build_opener(ProxyHandler({}))
    deadline = time.monotonic() + 20
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                assert answer.status == 200
                return json.load(answer)
        except URLError as error:
            listening = not isinstance(error.reason, ConnectionRefusedError)
            if listening or server.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{url}: {error}\n{log.read_text()}")
            time.sleep(0.05)


@pytest.mark.parametrize("command", ["", "dev", "serve", "migrate", "docs", "hold", "key"])
def test_every_command_explains_itself(installed: Installed, command: str, tmp_path: Path) -> None:
    assert "usage" in installed.run(tmp_path, *command.split(), "--help").lower()


def test_pages_and_scripts_come_along(installed: Installed, tmp_path: Path) -> None:
    assert "\noperations/runbook " in installed.run(tmp_path, "docs")
    for name, place in {
        "operations/runbook": "docs/operations/runbook.md",
        "sql/README": "sql/README.md",
        "deploy/postgresql/row-security.sql": "deploy/postgresql/row-security.sql",
    }.items():
        assert installed.run(tmp_path, "docs", name) == (ROOT / place).read_text()


def test_dev_without_its_extra_names_what_to_install(installed: Installed, tmp_path: Path) -> None:
    done = subprocess.run(
        [installed.chat_api, "dev", "--port", str(free_port())],
        cwd=tmp_path,
        env=installed.variables(tmp_path),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "samosachaat-chat-api[dev-stack]" in done.stderr
    assert "Traceback" not in done.stderr


async def test_migrates_and_serves_outside_the_checkout(
    installed: Installed, empty_database: str, tmp_path: Path
) -> None:
    installed.run(tmp_path, "migrate", DATABASE_URL=empty_database)
    port = free_port()
    log = tmp_path / "serve.log"
    with serving(installed, log, port, empty_database) as server:
        health = get(server, f"http://127.0.0.1:{port}/api/health", log)
        assert health == {"status": "ok", "ready": True, "service": "chat-api"}
        ready = get(server, f"http://127.0.0.1:{port}/api/ready", log)
        assert isinstance(ready, dict)
        assert ready["ready"] is True
