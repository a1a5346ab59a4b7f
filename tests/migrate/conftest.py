import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from chat_api import folders
from chat_api.folders import migrations_dir
from chat_api.migrate import apply, demands


@pytest.fixture
def empty_database(new_database: Callable[[], str]) -> str:
    """The URL of an empty database for this test."""
    return new_database()


@pytest.fixture
def connection(empty_database: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session in `empty_database`."""
    with psycopg.connect(empty_database, autocommit=True) as session:
        yield session


@pytest.fixture
def migrations_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `migrations/` in a folder whose name is also a glob pattern."""
    folder = Path(shutil.copytree(migrations_dir(), tmp_path / "migrations [copy]*"))
    for module in (apply, demands, folders):
        monkeypatch.setattr(module, "migrations_dir", lambda: folder)
    return folder
