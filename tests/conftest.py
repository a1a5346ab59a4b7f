"""The fixtures: a real PostgreSQL, a scripted model server, a scripted auth service."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import psycopg
import pytest
import sqlparse
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from psycopg.sql import SQL, Identifier

from chat_api.app import create_app
from chat_api.dev.postgres.server import Postgres
from chat_api.migrate.apply import apply_migrations
from chat_api.settings import Settings
from chat_api.settings.database_url import parse_dsn
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, open_chat
from tests.support.model_server import ModelServer

TEMPLATE = "chat_api_template"
# A PostgreSQL other than the one from the Python packages: `make test-pg15`.
PROGRAMS = Path(os.environ["POSTGRES"]) if os.environ.get("POSTGRES") else None
FAST = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "max_connections": "200",
    "max_prepared_transactions": "4",
    # Autovacuum amid a test would take away the dead rows, and change the plans, that it looks at.
    "autovacuum_naptime": "1d",
}


@pytest.fixture(scope="session", autouse=True)
def _each_migration_is_parsed_once() -> Iterator[None]:
    """yoyo parses every file whenever one is applied or rolled back, which takes longer than that itself."""
    parse = cache(lambda text: tuple(sqlparse.split(text)))
    yoyos = SimpleNamespace(split=lambda text: list(parse(text)))  # a list of its own, which it changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yoyo.migrations.sqlparse", yoyos)
        yield


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """This test process's PostgreSQL server, with its data in memory if there is room."""
    memory = Path("/dev/shm")
    # In a container, /dev/shm has 64 MB by default.
    has_room = os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**31
    with tempfile.TemporaryDirectory(
        prefix="chat-api-tests-", dir=memory if has_room else tmp_path_factory.getbasetemp()
    ) as folder:
        Path(folder).chmod(0o755)  # PostgreSQL may have to run as another user
        with Postgres(Path(folder) / "data", settings=FAST, programs=PROGRAMS) as server:
            yield server


@pytest.fixture(scope="session")
def postgres_dsn(postgres: Postgres) -> str:
    """The server's URL, as a superuser, for the database `postgres`."""
    return postgres.dsn()


@pytest.fixture(scope="session")
def template(postgres: Postgres) -> str:
    """A migrated database to clone; there must be no connections to it."""
    with psycopg.connect(postgres.dsn(), autocommit=True) as admin:
        admin.execute(f"create database {TEMPLATE}")
    apply_migrations(postgres.dsn(TEMPLATE))
    return TEMPLATE


@pytest.fixture
def new_database(postgres_dsn: str) -> Iterator[Callable[..., str]]:
    """Make databases, empty or copied from one without connections. They are dropped when the test ends."""
    names: list[str] = []

    def make(template: str = "template1") -> str:
        names.append(f"migrations_{uuid4().hex}")
        create = SQL("create database {} template {} strategy file_copy")
        admin.execute(create.format(Identifier(names[-1]), Identifier(template)))
        return replace(parse_dsn(postgres_dsn), database=names[-1]).libpq()

    with psycopg.connect(postgres_dsn, autocommit=True) as admin:
        yield make
        for name in names:
            admin.execute(SQL("drop database {} with (force)").format(Identifier(name)))


@pytest.fixture
async def database_url(postgres: Postgres, template: str) -> AsyncIterator[str]:
    """A migrated database of this test's own."""
    name = f"test_{uuid4().hex}"
    admin = await asyncpg.connect(postgres.dsn())
    try:
        await admin.execute(f"create database {name} template {template} strategy file_copy")
        yield postgres.dsn(name)
        await admin.execute(f"drop database {name} with (force)")
    finally:
        await admin.close()


@pytest.fixture
async def sql(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """A connection to this test's database, beside the service's own."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def first(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The connection that comes first, with a transaction open."""
    connection = await asyncpg.connect(database_url)
    await connection.execute("begin")
    yield connection
    await connection.close()


@pytest.fixture
async def second(database_url: str) -> AsyncIterator[asyncpg.Connection[asyncpg.Record]]:
    """The connection that comes second, and waits."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def model() -> AsyncIterator[ModelServer]:
    """A model server that says what the test tells it, when the test tells it."""
    async with ModelServer() as server:
        yield server


@pytest.fixture
async def auth() -> AsyncIterator[AuthService]:
    """The auth service, over real HTTP."""
    async with AuthService() as service:
        yield service


@pytest.fixture
def settings(database_url: str, model: ModelServer, auth: AuthService) -> Settings:
    """Settings that connect these parts; override with `settings.model_copy(update=…)`."""
    return Settings(
        _env_file=None,
        database_url=database_url,
        auth_service_url=auth.url,
        inference_service_url=model.url,
        internal_api_key=auth.internal_key,
        log_level="DEBUG",
        drain_seconds=0.05,
    )


Start = Callable[..., Any]


class LastingServer(TestServer):
    """Keeps handlers running, as the service does; aiohttp's own would cancel them when the client leaves."""

    async def _make_runner(self, **kwargs: Any) -> web.AppRunner:
        return web.AppRunner(
            self.app, **{**kwargs, "handler_cancellation": False, "shutdown_timeout": 2, "access_log": None}
        )


@pytest.fixture
async def start(database_url: str, model: ModelServer, auth: AuthService) -> AsyncIterator[Start]:
    """Start services on real sockets with given settings, any number of them; their neighbours end later."""
    async with contextlib.AsyncExitStack() as stack:

        async def run(settings: Settings, port: int | None = None) -> Client:
            return await stack.enter_async_context(TestClient(LastingServer(create_app(settings), port=port)))

        yield run


@pytest.fixture
async def client(start: Start, settings: Settings) -> Client:
    """The service, without a token."""
    started: Client = await start(settings)
    return started


@pytest.fixture
def user(auth: AuthService) -> dict[str, str]:
    """The headers of a signed-in user."""
    return auth.sign_in()


@pytest.fixture
async def conversation(client: Client, user: dict[str, str]) -> str:
    """The path of an empty conversation of that user."""
    response = await client.post("/api/conversations", headers=user)
    assert response.status == 201
    body = await response.json()
    UUID(body["id"])
    return f"/api/conversations/{body['id']}"


@pytest.fixture
async def chat(client: Client, user: dict[str, str]) -> Chat:
    """An empty conversation of that user, with its requests."""
    return await open_chat(client, user)


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The project's own folder."""
    return Path(__file__).parent.parent
