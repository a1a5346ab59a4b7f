"""The systemd units are valid, sandboxed, and agree with the service."""

from __future__ import annotations

import configparser
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from chat_api import cli
from chat_api.serving.deadline import STOP_SECONDS
from chat_api.settings import Settings
from tests.deploy.nginx.server import program
from tests.support import processes

FOLDER = Path(__file__).parents[2] / "deploy" / "systemd"
UNITS = sorted(FOLDER.glob("*.service"))


class _Unit(configparser.ConfigParser):
    def __init__(self, path: Path) -> None:
        super().__init__(strict=False, interpolation=None)
        self.optionxform = str  # type: ignore[assignment, method-assign]
        self.read(path)


def commands() -> list[tuple[str, list[str]]]:
    """The service's commands in each unit."""
    found = []
    for path in UNITS:
        for line in re.findall("^Exec(?:Start|StartPre|StartPost)=(.*)$", path.read_text(), re.MULTILINE):
            words = shlex.split(line)
            assert words[0] == "/opt/chat-api/bin/chat-api"
            found.append((path.name, words[1:]))
    return found


@pytest.fixture
def installed(tmp_path: Path) -> list[Path]:
    """The units with a program that exists, because systemd checks that."""
    units = []
    for path in UNITS:
        text = path.read_text()
        assert "/opt/chat-api/bin/chat-api" in text
        unit = tmp_path / path.name
        unit.write_text(text.replace("/opt/chat-api/bin/chat-api", str(shutil.which("true"))))
        units.append(unit)
    return units


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [program("systemd-analyze"), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={"PATH": os.environ["PATH"], "SYSTEMD_LOG_LEVEL": "warning", "SYSTEMD_COLORS": "0"},
    )


def test_systemd_understands_every_line(installed: list[Path]) -> None:
    done = analyze("verify", "--man=no", *map(str, installed))
    complaints = [line for line in done.stderr.splitlines() if any(unit.name in line for unit in installed)]
    assert complaints == []


def test_a_line_that_systemd_does_not_understand_is_seen(tmp_path: Path) -> None:
    unit = tmp_path / "chat-api.service"
    unit.write_text((FOLDER / unit.name).read_text().replace("PrivateTmp=yes", "PrivateTemp=yes"))
    assert "PrivateTemp" in analyze("verify", "--man=no", str(unit)).stderr


def test_the_units_are_closed(installed: list[Path]) -> None:
    for unit in installed:
        done = analyze("security", "--offline=yes", "--threshold=15", "--no-pager", str(unit))
        assert done.returncode == 0, done.stdout


def test_the_commands_are_the_programs_own() -> None:
    assert len(commands()) == 3
    for name, arguments in commands():
        options = cli.make_parser().parse_args(arguments)
        assert callable(options.command), name


def test_stopping_leaves_time_to_drain() -> None:
    unit = _Unit(FOLDER / "chat-api.service")["Service"]
    drain = Settings(_env_file=None).drain_seconds
    assert int(unit["TimeoutStopSec"].removesuffix("s")) > drain + STOP_SECONDS


@pytest.mark.parametrize("name", ["env.example", "migrate.env.example"])
def test_the_environment_is_of_settings(name: str, tmp_path: Path) -> None:
    lines = [line for line in (FOLDER / name).read_text().splitlines() if line and not line.startswith("#")]
    given = dict(line.split("=", 1) for line in lines)
    assert given.keys() <= {field.upper() for field in Settings.model_fields}
    Settings(_env_file=None, **{key.lower(): value for key, value in given.items()})  # no request is refused


def test_who_migrates_gives_the_service_its_rights() -> None:
    service = re.search(r"^DATABASE_URL=postgresql://(\w+)@", (FOLDER / "env.example").read_text(), re.M)
    assert service
    assert f"\nSERVICE_ROLE={service[1]}\n" in (FOLDER / "migrate.env.example").read_text()


@pytest.mark.parametrize("options", [(), ("--workers", "2")], ids=["one process", "supervisor"])
async def test_a_process_that_is_watched_says_that_it_lives(
    settings: Settings, options: tuple[str, ...]
) -> None:
    async with processes.Service(settings, *options, WATCHDOG_USEC="200000") as service:
        for _ in range(3):
            await service.notified("WATCHDOG=1")


@pytest.mark.parametrize(
    "variables", [{}, {"WATCHDOG_USEC": "100000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}]
)
async def test_a_process_that_is_not_watched_says_nothing(settings: Settings, variables: Any) -> None:
    async with processes.Service(settings, **variables) as service:
        with pytest.raises(TimeoutError):
            await service.notified("WATCHDOG=1", seconds=0.4)
