"""A database as a careful DBA sets it up: an owner that migrates, and a role for the service."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import psycopg
import pytest

from chat_api.dev.postgres.installation import binaries
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from chat_api.settings.database_url import parse_dsn
from tests.support.queries import Connection

TEMPLATE, OWNER, SERVICE = "owned_template", "chat_owner", "chat_service"

Script = Callable[[str], str]


def url_of(role: str, database_url: str) -> str:
    """The URL of the same database as another role."""
    return replace(parse_dsn(database_url), user=role).libpq()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A database that its owner migrated, with the rights for SERVICE."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create role {OWNER} login")
        admin.execute(f"create role {SERVICE} login")
        admin.execute(f"create database {TEMPLATE} owner {OWNER}")
    apply_migrations(url_of(OWNER, postgres.dsn(TEMPLATE)), SERVICE)
    return TEMPLATE


@pytest.fixture
async def database_url(database_url: str) -> str:
    """This test's database, as a superuser."""
    admin = await asyncpg.connect(database_url)
    await admin.execute(f"alter database {parse_dsn(database_url).database} owner to {OWNER}")
    await admin.close()
    return database_url


@pytest.fixture
def owner_url(database_url: str) -> str:
    """This test's database, as the owner."""
    return url_of(OWNER, database_url)


@pytest.fixture
def service_url(database_url: str) -> str:
    """This test's database, as the service's role."""
    return url_of(SERVICE, database_url)


@pytest.fixture
async def service(service_url: str) -> AsyncIterator[Connection]:
    """A connection with the service's rights."""
    connection = await asyncpg.connect(service_url)
    yield connection
    await connection.close()


@pytest.fixture
async def owner(owner_url: str) -> AsyncIterator[Connection]:
    """A connection with the owner's rights."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


@pytest.fixture
def settings(settings: Settings, service_url: str) -> Settings:
    """Settings for the service under its own role; it looks for dead workers every second."""
    return settings.model_copy(update={"database_url": service_url, "worker_lease": 3.0})


@pytest.fixture
def script(checkout: Path, owner_url: str) -> Script:
    """Run a script of deploy/postgresql as the owner, by psql, and return its output."""

    def run(name: str) -> str:
        done = subprocess.run(
            [binaries(None) / "psql", "-X", "-q", owner_url, "-f", checkout / "deploy" / "postgresql" / name],
            capture_output=True, text=True, timeout=30, check=False, env={**os.environ, "PSQLRC": os.devnull},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


@pytest.fixture
def wall(script: Script) -> None:
    """The second wall, enabled."""
    script("row-security.sql")
