"""A model server that accepts connections and never answers: readiness, and the list of models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Self

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Client
from tests.support.unsteady_server import FINE, UnsteadyServer


class Hanging:
    """Counts connections, and leaves them."""

    async def __aenter__(self) -> Self:
        self.connections: list[asyncio.StreamWriter] = []
        self._server = await asyncio.start_server(self._take, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for writer in self.connections:
            writer.close()

    def _take(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(writer)


@pytest.fixture
async def hanging() -> AsyncIterator[Hanging]:
    """The one that hangs."""
    async with Hanging() as server:
        yield server


@pytest.fixture
async def client(start: Start, settings: Settings, hanging: Hanging, tmp_path: Path) -> AsyncIterator[Client]:
    """The service with a model at that server, one at a server that is fine, and one at both."""
    path = tmp_path / "models.toml"
    async with UnsteadyServer("fine", lambda _: (FINE, 1)) as fine:
        path.write_text(f"""
[servers.hangs]
url = "{hanging.url}"
[servers.fine]
url = "{fine.url}"
[models.away]
servers = ["hangs"]
[models.also_away]
servers = ["hangs"]
[models.there]
servers = ["fine"]
[models.both]
servers = ["hangs", "fine"]
""")
        client: Client = await start(settings.model_copy(update={"models_file": str(path)}))
        yield client


async def listed(client: Client, user: dict[str, str]) -> tuple[dict[str, bool], float]:
    """Whether each model is available, and how long the list took."""
    began = time.monotonic()
    async with client.get("/api/models", headers=user) as response:
        assert response.status == 200
        body: dict[str, Any] = await response.json()
    return {each["tag"]: each["available"] for each in body["details"]}, time.monotonic() - began


async def test_readiness_asks_no_model_server(client: Client, hanging: Hanging) -> None:
    began = time.monotonic()
    async with client.get("/api/ready") as response:
        assert (response.status, (await response.json())["ready"]) == (200, True)
    assert time.monotonic() - began < 1
    assert hanging.connections == []


async def test_readiness_is_not_held_up_by_who_asks_a_server_that_hangs(
    client: Client, user: dict[str, str], hanging: Hanging
) -> None:
    asking = asyncio.create_task(listed(client, user))
    while not hanging.connections:  # noqa: ASYNC110 - another loop's event would be needed
        await asyncio.sleep(0.01)
    began = time.monotonic()
    async with client.get("/api/ready") as response:
        assert response.status == 200
    assert time.monotonic() - began < 1
    assert not asking.done()
    await asking


async def test_the_list_of_models_waits_two_seconds_for_it_and_then_remembers(
    client: Client, user: dict[str, str], hanging: Hanging
) -> None:
    expected = {"away": False, "also_away": False, "there": True, "both": True}
    for seen, seconds in await asyncio.gather(*(listed(client, user) for _ in range(3))):
        assert seen == expected
        assert 1.5 < seconds < 3
    assert len(hanging.connections) == 1, "one look for all who ask, and for all of its models"
    seen, seconds = await listed(client, user)
    assert (seen, len(hanging.connections)) == (expected, 1)
    assert seconds < 0.5


async def test_after_fifteen_seconds_it_is_asked_again(
    client: Client, user: dict[str, str], hanging: Hanging, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chat_api.inference.servers.model_server.LOOK_SECONDS", 0.2)
    await listed(client, user)
    await asyncio.sleep(0.2)
    await listed(client, user)
    assert len(hanging.connections) > 1
