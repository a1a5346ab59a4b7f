"""PostgreSQL is killed or hangs during an export, or the service ends: a file that isn't whole shows it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import aiohttp
import asyncpg
import pytest

from chat_api.dev.postgres.server import Postgres
from chat_api.settings import Settings
from tests.faults.test_hangs import hung
from tests.support.auth_service import AuthService
from tests.support.processes import Service, children, until


@pytest.fixture
async def much(own_server: Postgres, auth: AuthService) -> dict[str, str]:
    """A user of whom 40 MB are stored: more than any socket keeps."""
    user_id = uuid4()
    connection = await asyncpg.connect(own_server.dsn())
    conversation_id = await connection.fetchval(
        "insert into conversations (user_id) values ($1) returning id", user_id
    )
    await connection.execute(
        "insert into messages (conversation_id, role, content)"
        " select $1, 'user', repeat('x', 100000) from generate_series(1, 400)",
        conversation_id,
    )
    await connection.close()
    return auth.sign_in(user_id)


@asynccontextmanager
async def begun(service: Service, user: dict[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
    """An export of which the client has taken the first byte, and the service waits for it."""
    async with service.session.get("/api/export", headers=user) as response:
        assert response.status == 200
        await response.content.readexactly(1)
        await asyncio.sleep(0.5)
        yield response


async def is_cut(response: aiohttp.ClientResponse) -> None:
    """Read the rest, which ends badly and without the last line."""
    rest = bytearray()

    async def read() -> None:
        async for piece in response.content.iter_any():
            rest.extend(piece)

    with pytest.raises(aiohttp.ClientPayloadError):
        await read()
    assert b'{"type":"end"' not in rest
    assert len(rest) < 40_000_000


async def test_a_killed_postgresql_breaks_the_file_and_the_next_one_is_whole(
    own_server: Postgres, settings: Settings, much: dict[str, str]
) -> None:
    settings = settings.model_copy(update={"database_url": own_server.dsn(), "worker_lease": 15.0})
    async with Service(settings) as service:
        async with begun(service, much) as response:
            assert own_server.pid is not None
            for pid in (own_server.pid, *await children(own_server.pid)):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            own_server.wait()
            await is_cut(response)
        async with service.session.get("/api/export", headers=much) as response:
            assert response.status == 503
        await asyncio.to_thread(own_server.start)

        async def is_whole() -> bool:
            async with service.session.get("/api/export", headers=much) as response:
                return response.status == 200 and b'\n{"type":"end"' in await response.read()

        await until(is_whole)


async def test_a_postgresql_that_hangs_breaks_the_file_in_time(
    own_server: Postgres, settings: Settings, much: dict[str, str]
) -> None:
    settings = settings.model_copy(update={"database_url": own_server.dsn(), "worker_lease": 15.0})
    async with Service(settings) as service, begun(service, much) as response:
        async with hung(own_server):
            began = time.monotonic()
            await is_cut(response)
            async with service.session.get("/api/export", headers=much) as refused:
                assert (refused.status, (await refused.json())["code"]) == (503, "database_unavailable")
            assert time.monotonic() - began < 2 * settings.database_timeout + 3
        async with service.session.get("/api/export", headers=much) as whole:
            assert len(await whole.read()) > 40_000_000  # no place was kept


async def test_a_worker_that_ends_cuts_what_it_was_writing(
    own_server: Postgres, settings: Settings, much: dict[str, str]
) -> None:
    settings = settings.model_copy(update={"database_url": own_server.dsn(), "worker_lease": 15.0})
    async with Service(settings) as service, begun(service, much) as response:
        service.send(signal.SIGTERM)
        assert await service.ended() == 0
        await is_cut(response)


async def test_a_worker_that_is_stopped_holds_no_moment_for_ever(
    own_server: Postgres, settings: Settings, much: dict[str, str]
) -> None:
    """A process that hangs can't end its transaction, for which vacuum waits. PostgreSQL does."""
    settings = settings.model_copy(update={"database_url": own_server.dsn(), "slow_reader_timeout": 1.5})
    connection = await asyncpg.connect(own_server.dsn())
    held = "select count(*) from pg_stat_activity where state = 'idle in transaction'"
    async with Service(settings) as service, begun(service, much):
        assert await connection.fetchval(held) == 1
        service.send(signal.SIGSTOP)
        try:

            async def is_over() -> bool:
                return await connection.fetchval(held) == 0

            await until(is_over)
        finally:
            service.send(signal.SIGCONT)
    await connection.close()
