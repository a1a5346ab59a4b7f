"""The commands, as an operator runs them."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import psycopg
import pytest

from chat_api import __version__
from chat_api.cli import main
from chat_api.dev.postgres.server import Postgres
from chat_api.folders import migration_ids
from chat_api.settings import Settings
from tests.conftest import FAST
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import processor_seconds
from tests.support.reader import read_events
from tests.support.service import Service, environment

Headers = dict[str, str]
LIST = "/api/conversations"
NOWHERE = "postgresql://u:hunter2@127.0.0.1:1/none"


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["dev", "--help"],
        ["serve", "--help"],
        ["migrate", "--help"],
        ["migrate", "apply", "--help"],
        ["migrate", "status", "--help"],
        ["migrate", "rollback", "--help"],
        ["sql", "--help"],
        ["sql", "list", "--help"],
        ["sql", "show", "--help"],
        ["sql", "check", "--help"],
        ["sql", "explain", "--help"],
        ["models", "--help"],
        ["models", "check", "--help"],
        ["docs", "--help"],
        ["hold", "--help"],
        ["hold", "set", "--help"],
        ["hold", "list", "--help"],
        ["hold", "lift", "--help"],
        ["key", "--help"],
        ["key", "create", "--help"],
        ["key", "list", "--help"],
        ["key", "revoke", "--help"],
    ],
)
def test_every_command_explains_itself(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 0
    assert "usage: chat-api" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["destroy"],
        ["serve", "--huh"],
        ["serve", "--port", "0"],
        ["serve", "--port", "65536"],
        ["serve", "--port", "٣"],
        ["serve", "extra"],
        ["migrate", "sideways"],
        ["migrate", "rollback", "--count", "0"],
        ["migrate", "rollback", "--count", "-1"],
        ["migrate", "--wait", "-1"],
        ["migrate", "apply", "--wait", "soon"],
        ["models"],
        ["models", "load"],
        ["models", "check", "near"],
        ["sql"],
        ["sql", "drop"],
        ["sql", "show"],
        ["sql", "explain", "generations.stop", "--timeout", "0"],
        ["sql", "explain", "generations.stop", "--timeout", "٣"],
    ],
)
def test_a_wrong_usage_ends_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: chat-api" in capsys.readouterr().err


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chat_api", "--version"],
        env=environment(), capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert done.stdout == f"chat-api {__version__}\n"
    assert done.stderr == ""


@pytest.fixture
def fresh(postgres: Postgres, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """An empty database; the environment's DATABASE_URL names it."""
    name = f"cli_{uuid4().hex}"
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {name}")
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("DATABASE_URL", postgres.dsn(name))
        yield postgres.dsn(name)
        admin.execute(f"drop database {name} with (force)")


Run = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command that succeeds with nothing on stderr. Returns its exit status and its lines."""

    def run(*arguments: str) -> tuple[int, list[str]]:
        status = main(arguments)
        written = capsys.readouterr()
        assert written.err == ""
        return status, written.out.splitlines()

    return run


@pytest.mark.usefixtures("fresh")
def test_migrations_are_applied_shown_and_taken_back(run: Run) -> None:
    ids = migration_ids()
    status, lines = run("migrate", "status")
    assert status == 3
    assert [line for line in lines if not line.startswith(" ")] == [f"{name:<40} pending" for name in ids]
    assert run("migrate") == (0, [f"applied {name}" for name in ids])
    assert run("migrate", "apply") == (0, ["nothing to apply"])
    status, lines = run("migrate", "status")
    assert status == 0
    assert all(re.fullmatch(r"\S+ +applied \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\+0000", line) for line in lines)
    assert run("migrate", "rollback") == (0, [f"rolled back {ids[-1]}"])
    assert run("migrate", "rollback", "--count", "99") == (0, [f"rolled back {name}" for name in ids[-2::-1]])
    assert run("migrate", "rollback") == (0, ["nothing to roll back"])


@pytest.mark.parametrize("arguments", [["migrate"], ["migrate", "status"], ["migrate", "rollback"]])
def test_without_a_database_migrating_fails_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", NOWHERE)
    assert main(arguments) == 1
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.startswith(
        "chat-api: cannot connect to the database at postgresql://u@127.0.0.1:1/none"
    )
    assert "hunter2" not in written.err


@pytest.mark.parametrize(
    "arguments",
    [["serve"], ["migrate"], ["migrate", "status"], ["migrate", "rollback"], ["sql", "check"]],
)
def test_bad_settings_end_with_two_and_a_line_each(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    monkeypatch.setenv("DATABASE_URL", "mysql://u:hunter2@host/db")
    assert main(arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [re.split("[:=]", line)[:2] for line in lines] == [
        ["chat-api", " DATABASE_URL"],
        ["chat-api", " LOG_LEVEL"],
    ]
    assert "hunter2" not in str(lines)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_it_serves_on_a_port(settings: Settings, user: Headers) -> None:
    port = free_port()
    async with Service(environment(settings), port=port) as service:
        await service.ready("/api/ready")
        assert processor_seconds(service.pid) < 5, "start to first answer"
        async with service.http.get(LIST, headers=user) as response:
            assert response.status == 200

        async with Service(environment(settings), port=port) as second:
            assert await second.ended() == 1
        assert f"chat-api: can't listen on 127.0.0.1 port {port}" in second.log_at_end
        assert "Traceback" not in second.log_at_end
    assert service.status == 0


async def test_it_serves_on_a_unix_socket_and_cleans_up(settings: Settings, user: Headers) -> None:
    async with Service(environment(settings)) as service:
        await service.ready("/api/ready")
        assert stat.S_IMODE(service.socket.stat().st_mode) == 0o666, "a web server of another user connects"
        async with service.http.get(LIST, headers=user) as response:
            assert response.status == 200

        async with Service(environment(settings), socket=service.socket) as second:
            assert await second.ended() == 1
        assert f"chat-api: another server is listening on {service.socket}" in second.log_at_end
        async with service.http.get("/api/health") as response:
            assert response.status == 200, "the second one took nothing away"
        await service.end()
        assert not service.socket.exists()


async def test_a_dead_servers_socket_is_no_obstacle(settings: Settings) -> None:
    async with Service(environment(settings)) as dead:
        await dead.ready()
        await dead.end(signal.SIGKILL)
        assert dead.socket.exists()
        async with Service(environment(settings), socket=dead.socket) as service:
            await service.ready()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_server_at_once(settings: Settings, number: int) -> None:
    update = {"drain_seconds": 60.0}
    async with Service(environment(settings.model_copy(update=update))) as service:
        await service.ready()  # which leaves an idle connection
        began = asyncio.get_running_loop().time()
        assert await service.end(number) == 0
        assert asyncio.get_running_loop().time() - began < 3
        assert [line["event"] for line in service.lines][-1] == "draining"
        assert all(line["level"] in ("debug", "info") for line in service.lines)


async def test_a_signal_lets_the_running_answer_finish_and_refuses_new_ones(
    settings: Settings, user: Headers, model: ModelServer
) -> None:
    update = {"drain_seconds": 60.0}
    async with Service(environment(settings.model_copy(update=update))) as service:
        await service.ready("/api/ready")
        async with service.http.post(LIST, headers=user) as response:
            path = f"{LIST}/{(await response.json())['id']}"
        async with service.http.post(f"{path}/messages", headers=user, json={"content": "a"}) as stream:
            call = await model.call()
            call.say("one")
            await read_events(stream, 2)
            os.kill(service.pid, signal.SIGTERM)
            status = 200
            async with asyncio.timeout(5):
                while status == 200:
                    async with service.http.get("/api/ready") as ready:
                        status = ready.status
            assert status == 503
            async with service.http.post(f"{path}/messages", headers=user, json={"content": "b"}) as refused:
                assert refused.status == 503
            call.finish("two")
            assert (await read_events(stream))[-1].data["finish_reason"] == "stop"
        assert await service.ended() == 0


async def test_an_answer_that_outlasts_the_drain_is_kept_as_interrupted(
    settings: Settings, user: Headers, model: ModelServer, sql: asyncpg.Connection[asyncpg.Record]
) -> None:
    async with Service(environment(settings)) as service:
        await service.ready("/api/ready")
        async with service.http.post(LIST, headers=user) as response:
            path = f"{LIST}/{(await response.json())['id']}"
        async with service.http.post(f"{path}/messages", headers=user, json={"content": "a"}) as stream:
            (await model.call()).say("half")
            await read_events(stream, 2)
            os.kill(service.pid, signal.SIGTERM)
            error, done = await read_events(stream)
        assert error.data["error"] == "draining"
        assert done.data["finish_reason"] == "interrupted"
        assert await service.ended() == 0
    assert [
        tuple(row) for row in await sql.fetch("select content, finish_reason from messages order by id")
    ] == [
        ("a", None),
        ("half", "interrupted"),
    ]


async def test_a_second_signal_ends_it_without_waiting(
    settings: Settings, user: Headers, model: ModelServer
) -> None:
    update = {"drain_seconds": 60.0}
    async with Service(environment(settings.model_copy(update=update))) as service:
        await service.ready("/api/ready")
        async with service.http.post(LIST, headers=user) as response:
            path = f"{LIST}/{(await response.json())['id']}"
        async with service.http.post(f"{path}/messages", headers=user, json={"content": "a"}):
            await model.call()
            os.kill(service.pid, signal.SIGTERM)
            async with asyncio.timeout(5):
                while "draining" not in service.log:  # noqa: ASYNC110 - another process's file
                    await asyncio.sleep(0.01)
            assert await service.end(signal.SIGTERM) == -signal.SIGTERM


async def test_a_database_that_is_away_at_start_is_waited_for(
    tmp_path: Path, auth: AuthService, user: Headers
) -> None:
    database = Postgres(tmp_path / "data", settings=FAST)
    env = environment(
        DATABASE_URL=database.dsn(),
        AUTH_SERVICE_URL=auth.url,
        INTERNAL_API_KEY=auth.internal_key,
        WORKER_LEASE="1",
    )
    async with Service(env) as service:
        await service.ready()
        async with service.http.get("/api/ready") as response:
            assert response.status == 503
            assert response.headers["Retry-After"]
        async with service.http.get(LIST, headers=user) as response:
            assert response.status == 503
        with database:
            async with service.http.get("/api/ready") as response:
                assert response.status == 503
                assert "chat-api migrate" in (await response.json())["checks"]["migrations"]
            migrate = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "chat_api", "migrate", env=env, stdout=asyncio.subprocess.DEVNULL
            )
            assert await migrate.wait() == 0
            await service.ready("/api/ready")
            async with service.http.get(LIST, headers=user) as response:
                assert response.status == 200
            assert await service.end() == 0
