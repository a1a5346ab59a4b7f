import shutil
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from chat_api import folders
from chat_api.folders import migrations_dir
from chat_api.migrate import apply, demands
from chat_api.settings.database_url import parse_dsn


@pytest.fixture
def new_database(postgres_dsn: str) -> Iterator[Callable[[], str]]:
    """Make empty databases; they go when the test ends."""
    names: list[str] = []

    def make() -> str:
        names.append(f"migrations_{uuid.uuid4().hex}")
        admin.execute(sql.SQL("create database {}").format(sql.Identifier(names[-1])))
        return replace(parse_dsn(postgres_dsn), database=names[-1]).libpq()

    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        yield make
        for name in names:
            admin.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


@pytest.fixture
def empty_database(new_database: Callable[[], str]) -> str:
    """The URL of a database of the test's own."""
    return new_database()


@pytest.fixture
def connection(empty_database: str) -> Iterator[psycopg.Connection[Any]]:
    """An autocommit session in `empty_database`."""
    with psycopg.connect(empty_database, autocommit=True) as session:
        yield session


@pytest.fixture
def migrations_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in place of `migrations/`, whose name would be a pattern."""
    folder = Path(shutil.copytree(migrations_dir(), tmp_path / "migrations [copy]*"))
    for module in (apply, demands, folders):
        monkeypatch.setattr(module, "migrations_dir", lambda: folder)
    return folder
