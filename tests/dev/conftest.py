import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from chat_api.dev.postgres.server import Postgres

FAST = {"fsync": "off"}


@pytest.fixture(scope="session")
def made_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster that was made and stopped; copying it is quicker than initdb."""
    folder = tmp_path_factory.mktemp("made") / "pg"
    with Postgres(folder, settings=FAST):
        pass
    return folder


@pytest.fixture
def data_dir(made_cluster: Path, tmp_path: Path) -> Path:
    """A cluster of the test's own, not running."""
    return Path(shutil.copytree(made_cluster, tmp_path / "pg"))


@pytest.fixture
def launch(request: pytest.FixtureRequest) -> Callable[[Path], Postgres]:
    """Make a launcher that is stopped when the test ends."""

    def make(folder: Path) -> Postgres:
        server = Postgres(folder, settings=FAST)
        request.addfinalizer(server.stop)
        return server

    return make


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "model: needs the local model, 93 MB that are fetched once and cached")
