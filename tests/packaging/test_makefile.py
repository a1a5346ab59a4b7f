"""The make targets: each has a help line, does its own set-up, and starts at once when that is done."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.tree import ROOT
from tests.support.programs import program


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run make as from a shell, not as part of the make that runs the tests."""
    outer = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS", "PYTHON", "VENV")
    return subprocess.run(
        [program("make", "apt install make"), "--no-print-directory", *arguments],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name not in outer},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def installed_venv(tmp_path: Path) -> Path:
    """A folder that looks to make like a virtual environment with everything installed."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to(sys.executable)
    (venv / "made").touch()
    for extras in ("dev", "test", "test-api", "browser-test", "npm"):
        (venv / f"{extras}-installed").touch()
    return venv


def test_make_alone_lists_every_target_in_one_line() -> None:
    targets = re.findall(r"^\.PHONY: (help .*)$", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    lines = make().stdout.splitlines()
    assert [line.split()[1] for line in lines] == targets[0].split()
    assert all(re.fullmatch(r"  make [a-z0-9-]+ +\S.*", line) and len(line) <= 110 for line in lines)
    assert lines == make("help").stdout.splitlines()


@pytest.mark.parametrize("target", ["dev", "test", "test-api", "lint", "format"])
def test_without_a_fitting_python_it_says_so_and_leaves_nothing(target: str, tmp_path: Path) -> None:
    done = make(target, "PYTHON=no-such-python", f"VENV={tmp_path}/venv")
    assert done.returncode == 2
    assert "No Python 3.11 or newer" in done.stderr
    assert "no-such-python" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("target", ["dev", "test", "test-api", "test-browser", "npm", "lint", "format"])
def test_second_run_installs_nothing(target: str, installed_venv: Path) -> None:
    assert "pip install" not in make("--dry-run", target, f"VENV={installed_venv}").stdout


@pytest.mark.parametrize("changed", ["setup.cfg", "pyproject.toml", "constraints.txt", "made"])
@pytest.mark.parametrize(
    ("target", "extras"),
    [
        ("dev", "dev-stack"),
        ("test", "dev-stack,test"),
        ("test-api", "dev-stack,test,test-api"),
        ("test-browser", "dev-stack,test,browser-test"),
        ("npm", "npm"),
        ("lint", "dev-stack,test"),
        ("format", "dev-stack,test"),
    ],
)
def test_after_a_change_of_what_it_rests_on_it_installs_its_extras_again(
    target: str, extras: str, changed: str, installed_venv: Path
) -> None:
    file = installed_venv / changed if changed == "made" else changed
    commands = make("--dry-run", f"--what-if={file}", target, f"VENV={installed_venv}").stdout
    assert f"--editable '.[{extras}]'" in commands
    assert "-c constraints.txt" in commands


def test_what_pip_cannot_install_is_looked_for_before_pip_fetches_anything(installed_venv: Path) -> None:
    options = ("--dry-run", "--what-if=setup.cfg", f"VENV={installed_venv}")
    lines = make(*options, "dev", "ARGS=--port 9000").stdout.splitlines()
    look = f"{installed_venv}/bin/python -P chat_api/dev/system_libraries.py --port 9000"
    assert lines.index(look) < next(number for number, line in enumerate(lines) if "pip install" in line)
    assert "system_libraries" not in make(*options, "test").stdout


def test_arguments_reach_the_command(installed_venv: Path) -> None:
    done = make("--dry-run", "dev", f"VENV={installed_venv}", "ARGS=--port 9000")
    assert done.stdout.splitlines()[-1] == f"exec {installed_venv}/bin/python -m chat_api dev --port 9000"


def test_another_python_makes_the_environment_anew(installed_venv: Path) -> None:
    same = make("--dry-run", "test", f"VENV={installed_venv}", f"PYTHON={sys.executable}")
    assert "-m venv" not in same.stdout
    other = make("--dry-run", "test", f"VENV={installed_venv}", "PYTHON=/bin/false")
    assert "-m venv" in other.stdout
