"""Workers that notice dead ones within a second."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings

# What it has written stays with the system, which lives on, so it need not sync.
UNSYNCED = {"fsync": "off"}


@pytest.fixture(scope="session")
def migrated_cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cluster that was made, migrated and stopped, because copying it is quicker."""
    folder = tmp_path_factory.mktemp("migrated") / "data"
    with Postgres(folder, settings=UNSYNCED) as server:
        apply_migrations(server.dsn())
    return folder


@pytest.fixture
def own_server(migrated_cluster: Path, tmp_path: Path) -> Iterator[Postgres]:
    """A server to break."""
    with Postgres(Path(shutil.copytree(migrated_cluster, tmp_path / "data")), settings=UNSYNCED) as server:
        yield server


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short leases, and answers that end with their worker."""
    return settings.model_copy(
        update={"worker_lease": 1.0, "drain_seconds": 0.1, "database_timeout": 3.0, "log_level": "INFO"}
    )
