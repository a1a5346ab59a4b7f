import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.dev.system_libraries import what_is_missing
from tests.support.programs import missing, program

FAST = {"fsync": "off"}


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster that was made and stopped, because copying it is quicker than initdb."""
    folder = tmp_path_factory.mktemp("made") / "pg"
    with Postgres(folder, settings=FAST):
        pass
    return folder


@pytest.fixture
def data_dir(made_cluster: Path, tmp_path: Path) -> Path:
    """A copy of the cluster for this test, not running."""
    return Path(shutil.copytree(made_cluster, tmp_path / "pg"))


@pytest.fixture
def launch(request: pytest.FixtureRequest) -> Callable[[Path], Postgres]:
    """Make a launcher that is stopped when the test ends."""

    def make(folder: Path) -> Postgres:
        server = Postgres(folder, settings=FAST)
        request.addfinalizer(server.stop)
        return server

    return make


@pytest.fixture
def model_library() -> None:
    """The system library that the local model needs; the test is skipped without it."""
    if (sentence := what_is_missing()) is not None:
        missing(sentence)


@pytest.fixture
def curl() -> None:
    """The program that the printed line needs; the test is skipped without it."""
    program("bash", "brew install bash")
    program("curl")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "model: needs the local model, 93 MB that are fetched once and cached")
