"""The tree, the distributions built from it, and their installation."""

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run(command: Sequence[str | Path], *, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command, and return what it printed on both streams. A failure shows it."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, f"{command} gave {done.returncode}:\n{done.stdout}"
    return done.stdout


def copy_tree(to: Path) -> None:
    """Copy the tree without build results, because setuptools writes into the tree that it builds."""
    strangers = shutil.ignore_patterns(".*", "build", "dist", "node_modules", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, to, ignore=strangers, dirs_exist_ok=True)


@dataclass(frozen=True)
class Distribution:
    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel and its requirements."""

    environment: Path

    @property
    def chat_api(self) -> Path:
        return self.environment / "bin" / "chat-api"

    @property
    def site_packages(self) -> Path:
        (path,) = self.environment.glob("lib/python*/site-packages")
        return path

    def run(self, folder: Path, *arguments: str, **variables: str) -> str:
        return run([self.chat_api, *arguments], cwd=folder, env=self.variables(folder, **variables))

    def variables(self, home: Path, **more: str) -> dict[str, str]:
        """Only the given variables, without the settings and paths of the user who runs the tests."""
        return {"PATH": "/usr/bin:/bin", "HOME": str(home), **more}
