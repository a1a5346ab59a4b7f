"""`serve` with MODELS_FILE: a file that can't be used, and SIGHUP, which reads it anew."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from chat_api.settings import Settings
from tests.support.model_server import ModelServer
from tests.support.processes import Service, environment, open_conversation
from tests.support.reader import read_events, text_of
from tests.support.service_log import has_line, logged
from tests.support.unsteady_server import FINE, UnsteadyServer

BAD = '[servers.near]\nurl = "nonsense"\n[models.default]\nservers = ["near"]\n'
SENTENCE = 'servers.near.url = "nonsense": must be a URL such as http://host:8000'


@pytest.fixture
def file(tmp_path: Path, model: ModelServer) -> Path:
    """A file with one server, which answers as the test says."""
    path = tmp_path / "models.toml"
    change(path, good(model))
    return path


@pytest.fixture
async def spare() -> AsyncIterator[UnsteadyServer]:
    """Another server, which says its name."""
    async with UnsteadyServer("spare", lambda _: (FINE, 1)) as server:
        yield server


@asynccontextmanager
async def serving(settings: Settings, file: Path, *options: str) -> AsyncIterator[tuple[Service, Path]]:
    """The service with this file, and the file of its log."""
    update = {"models_file": str(file), "drain_seconds": 15.0, "worker_lease": 2.0, "log_level": "INFO"}
    log = file.with_name("log")
    with log.open("wb") as written:
        async with Service(
            settings.model_copy(update=update), *options, stderr=written.fileno(), LOG_FORMAT="json"
        ) as service:
            yield service, log


async def ask(service: Service, user: dict[str, str]) -> str:
    """What a new message is answered."""
    path = await open_conversation(service.session, user)
    async with service.session.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
        return text_of(await read_events(stream))


def change(file: Path, text: str) -> None:
    """Edit the file."""
    file.write_text(text)


def good(model: ModelServer) -> str:
    """A file with the server that answers as the test says."""
    return (
        f'[servers.near]\nurl = "{model.url}"\nprotocol = "nanochat"\n[models.default]\nservers = ["near"]\n'
    )


def remove(file: Path) -> None:
    """Delete the file."""
    file.unlink()


def spares(spare: UnsteadyServer) -> str:
    """A file with the other server alone."""
    return f'[servers.spare]\nurl = "{spare.url}"\n[models.default]\nservers = ["spare"]\n'


async def test_one_process_reads_the_file_anew_and_running_answers_end_as_they_began(
    settings: Settings, user: dict[str, str], model: ModelServer, spare: UnsteadyServer, file: Path
) -> None:
    async with serving(settings, file) as (service, log):
        path = await open_conversation(service.session, user)
        async with service.session.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
            call = await model.call()
            call.say("so ")
            begun = await read_events(stream, 2)
            change(file, spares(spare))
            service.send(signal.SIGHUP)
            line = await logged(log, "models_read")
            assert (line["models"], line["servers"]) == (["default"], ["spare"])
            assert await ask(service, user) == "spare1 "
            call.finish("far")
            assert text_of(begun + await read_events(stream)) == "so far"
        assert len(model.requests) == 1
        async with service.session.get("/metrics") as response:
            text = await response.text()
        assert 'chat_server_state{server="spare"} 0.0' in text
        assert 'chat_server_state{server="near"}' not in text, "it would be seen as it was last, for ever"
        assert 'chat_server_tries_total{model="default",outcome="answered",server="near"} 1.0' in text
        service.send(signal.SIGTERM)
        assert await service.ended() == 0


async def test_one_process_keeps_the_models_of_before_if_the_file_is_bad(
    settings: Settings, user: dict[str, str], model: ModelServer, file: Path
) -> None:
    model.say = ["near"]
    async with serving(settings, file) as (service, log):
        change(file, BAD)
        service.send(signal.SIGHUP)
        line = await logged(log, "models_refused")
        assert (line["level"], line["reason"]) == ("error", f"MODELS_FILE {file}: {SENTENCE}")
        assert await ask(service, user) == "near"
        remove(file)
        service.send(signal.SIGHUP)
        assert str(file) in (await logged(log, "models_refused", 2))["reason"]
        assert await ask(service, user) == "near"
        change(file, good(model))
        service.send(signal.SIGHUP)
        await logged(log, "models_read")


async def test_workers_are_replaced_by_ones_that_have_the_new_file(
    settings: Settings, user: dict[str, str], model: ModelServer, spare: UnsteadyServer, file: Path
) -> None:
    async with serving(settings, file, "--workers", "2") as (service, log):
        before = await service.workers()
        path = await open_conversation(service.session, user)
        async with service.session.post(f"{path}/messages", json={"content": "Hi"}, headers=user) as stream:
            call = await model.call()
            call.say("so ")
            begun = await read_events(stream, 2)
            change(file, spares(spare))
            service.send(signal.SIGHUP)
            await service.notified("RELOADING=1")
            call.finish("far")
            # A reader of the worker that goes may be sent to the other one; this one is at its writer's.
            assert text_of(begun + await read_events(stream)) == "so far"
        await service.notified("READY=1")
        await logged(log, "restarted")
        assert not set(before) & set(await service.workers())
        assert {await ask(service, user) for _ in range(6)} == {"spare1 "}
        assert len(model.requests) == 1
        async with service.session.get("/metrics") as response:
            text = await response.text()
        assert 'chat_server_state{server="spare"} 0.0' in text
        assert 'chat_server_state{server="near"}' not in text


async def test_workers_stay_if_the_file_is_bad_and_the_log_says_why(
    settings: Settings, user: dict[str, str], model: ModelServer, file: Path
) -> None:
    model.say = ["near"]
    async with serving(settings, file, "--workers", "2") as (service, log):
        before = await service.workers()
        change(file, BAD)
        service.send(signal.SIGHUP)
        await service.notified("RELOADING=1")
        await service.notified("READY=1")
        assert (await logged(log, "restart_given_up"))["level"] == "error"
        assert has_line(log, f"chat-api: MODELS_FILE {file}: {SENTENCE}")
        assert await service.workers() == before
        assert {await ask(service, user) for _ in range(6)} == {"near"}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bad_file_stops_the_start_with_its_sentence_and_nothing_else(
    settings: Settings, file: Path, workers: str, checkout: Path
) -> None:
    file.write_text(BAD)
    done = subprocess.run(
        [sys.executable, "-m", "chat_api", "serve", "--workers", workers, "--unix-socket", "/nowhere/socket"],
        cwd=checkout,
        env=environment(settings, MODELS_FILE=str(file)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"chat-api: MODELS_FILE {file}: {SENTENCE}\n"


def test_the_unit_reloads_by_sighup(checkout: Path) -> None:
    unit = (checkout / "deploy" / "systemd" / "chat-api.service").read_text()
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in unit
