"""Rights and the second wall behind a pooler in transaction mode, whose connections all clients share."""

from __future__ import annotations

from collections.abc import Iterator

import asyncpg
import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.privileges.conftest import SERVICE
from tests.support.hot_paths import walk
from tests.support.model_server import ModelServer
from tests.support.pgbouncer import pooled
from tests.support.queries import Chat, Connection, opened

pytestmark = pytest.mark.usefixtures("wall")


@pytest.fixture
def pooled_url(database_url: str) -> Iterator[str]:
    """This test's database through pgbouncer, as the service's role."""
    with pooled(database_url, SERVICE) as url:
        yield url


async def test_every_hot_path_works(
    start: Start,
    settings: Settings,
    pooled_url: str,
    user: dict[str, str],
    model: ModelServer,
    sql: Connection,
) -> None:
    through = settings.model_copy(update={"database_url": pooled_url})
    await walk(await start(through), await start(through), user, model, sql)


async def test_what_a_statement_said_of_itself_is_not_left_to_the_next_one(
    pooled_url: str, sql: Connection
) -> None:
    """Each of the three server connections serves each of the clients."""
    chat = await Chat().open(sql)
    clients = [await asyncpg.connect(pooled_url.partition("?")[0], statement_cache_size=0) for _ in range(6)]
    for number, client in enumerate(clients * 5):
        if number % 2:
            assert await client.fetchval("select count(*) from conversations") == 0
        else:
            assert await opened(client, chat.id, chat.user_id) is not None
    for client in clients:
        await client.close()
