"""The distribution as a user gets it: built from a copy of the tree, and installed away from the checkout.

This takes some 15 s, so the first xdist worker does it once, and the others wait. (The mark xdist_group would
keep these tests together, but has no effect with pytest 9.2: pytest-xdist's issue #1386.)
"""

import fcntl
import sys
from pathlib import Path

import pytest

from tests.packaging.tree import ROOT, Distribution, Installed, copy_tree, run


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """This run's folder, shared by all xdist workers."""
    own = tmp_path_factory.getbasetemp()
    folder = (own if worker_id == "master" else own.parent) / "packaging"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def distribution(shared: Path) -> Distribution:
    """The sdist of the tree, and the wheel built only from that sdist."""
    folder = shared / "built"
    with (shared / "build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            build(shared / "tree", folder)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return Distribution(wheel, sdist)


@pytest.fixture(scope="session")
def installed(shared: Path, distribution: Distribution) -> Installed:
    """The wheel, installed in a separate virtual environment."""
    environment = shared / "environment"
    with (shared / "install.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "installed").exists():
            install(distribution.wheel, environment)
            (shared / "installed").touch()
    return Installed(environment)


def build(tree: Path, folder: Path) -> None:
    """Build both distributions in `folder`, which appears only once they are complete."""
    copy_tree(tree)
    run([sys.executable, "-m", "build", "--no-isolation", tree], cwd=tree.parent)
    (tree / "dist").rename(folder)


def install(wheel: Path, environment: Path) -> None:
    run([sys.executable, "-m", "venv", "--clear", "--without-pip", environment], cwd=wheel.parent)
    pip = [sys.executable, "-m", "pip", "--quiet", "--python", str(environment / "bin" / "python"), "install"]
    run([*pip, "--no-compile", "--constraint", ROOT / "constraints.txt", wheel], cwd=wheel.parent)
