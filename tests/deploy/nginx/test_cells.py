"""docs/operations/scale.md: two cells, each with a database, behind the real nginx."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import aiohttp
import asyncpg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chat_api.settings import Settings
from tests.conftest import Start
from tests.deploy.nginx.server import Nginx
from tests.support.auth_service import AuthService
from tests.support.model_server import ModelServer
from tests.support.processes import environment, free_port, until

LIST = "/chat/api/conversations"


@dataclass
class Cells:
    """nginx before two cells, and the sessions of the site's users."""

    nginx: Nginx
    settings: dict[str, Settings]
    auth: AuthService
    ports: list[int]
    sessions: dict[str, UUID] = field(default_factory=dict)

    def user(self) -> tuple[UUID, dict[str, str]]:
        """A user who has just signed in, and their cookie."""
        user_id = uuid4()
        return user_id, self.sign_in(user_id)

    def sign_in(self, user_id: UUID) -> dict[str, str]:
        """A new session of that user."""
        session = uuid4().hex
        self.sessions[session] = user_id
        self.auth.replies[session] = (200, {"valid": True, "user": {"id": str(user_id)}})
        return {"Cookie": f"session={session}"}

    async def homes(self, user_id: UUID) -> dict[str, int]:
        """The cells that have conversations of that user, and how many."""
        found = {}
        for name, settings in self.settings.items():
            connection = await asyncpg.connect(settings.database_url)
            count = await connection.fetchval(
                "select count(*) from conversations where user_id = $1", user_id
            )
            await connection.close()
            if count:
                found[name] = count
        return found

    async def send_to(self, user_id: UUID, upstream: str) -> None:
        """What an operator does: name the user in the map, and reload nginx."""
        path = self.nginx.folder / "snippets" / "chat-api-cells.conf"
        lines = [line for line in path.read_text().splitlines() if str(user_id) not in line]
        lines.insert(lines.index("    default $chat_api_dealt;"), f"    {user_id} {upstream};")
        path.write_text("\n".join(lines) + "\n")
        await self.nginx.reload()

    async def command(self, cell: str, *arguments: object) -> None:
        """Run `chat-api user …` on a cell's database."""
        done = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "chat_api", "user", *map(str, arguments)],
            capture_output=True, text=True, timeout=60, check=False,
            env=environment(self.settings[cell]),
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


@pytest.fixture
async def cells(
    start: Start,
    settings: Settings,
    auth: AuthService,
    template: str,
    new_database: Callable[..., str],
) -> AsyncIterator[Cells]:
    """Two services with a database each, and nginx before them."""
    a = settings.model_copy(update={"base_path": "/chat"})
    b = a.model_copy(update={"database_url": new_database(template)})
    ports = [(await start(each)).port for each in (a, b)]

    async def session(request: web.Request) -> web.Response:
        token = request.cookies.get("session", "")
        if token not in cells.sessions:
            return web.Response(status=401)
        return web.Response(
            status=204, headers={"X-Chat-Token": token, "X-Chat-User": str(cells.sessions[token])}
        )

    app = web.Application()
    app.router.add_get("/chat-session", session)
    async with TestServer(app) as site:
        adapted = {
            "127.0.0.1:8080": f"127.0.0.1:{site.port}",
            "127.0.0.1:8002": f"127.0.0.1:{ports[0]}",
            "127.0.0.1:8102": f"127.0.0.1:{ports[1]}",
        }
        async with Nginx("cells", "cells", adapted) as nginx:
            cells = Cells(nginx, {"a": a, "b": b}, auth, ports)
            yield cells


async def test_a_users_requests_reach_one_cell_whatever_their_token(cells: Cells) -> None:
    homes = []
    async with cells.nginx.connect() as http:
        for _ in range(12):
            user_id, cookie = cells.user()
            for each in (cookie, cells.sign_in(user_id), cells.sign_in(user_id)):
                async with http.post(LIST, headers=each) as response:
                    assert response.status == 201
            ((home, count),) = (await cells.homes(user_id)).items()
            assert count == 3
            homes.append(home)
    assert {*homes} == {"a", "b"}


async def test_a_cell_that_is_down_is_not_replaced_by_another(cells: Cells) -> None:
    path = cells.nginx.folder / "snippets" / "chat-api-cells.conf"
    path.write_text(path.read_text().replace(f"127.0.0.1:{cells.ports[1]}", f"127.0.0.1:{free_port()}"))
    await cells.nginx.reload()
    statuses = []
    async with cells.nginx.connect() as http:
        for _ in range(12):
            user_id, cookie = cells.user()
            async with http.post(LIST, headers=cookie) as response:
                statuses.append(response.status)
                if response.status == 503:
                    assert (await response.json())["code"] == "unavailable"
                    assert response.headers["Retry-After"] == "5"
            assert await cells.homes(user_id) == ({"a": 1} if response.status == 201 else {})
    assert {*statuses} == {201, 503}


async def test_moving_a_user_loses_no_message(cells: Cells, model: ModelServer, tmp_path: Path) -> None:
    model.say = ["chai"]
    user_id, cookie = cells.user()
    said: list[str] = []
    waited = asyncio.Event()
    stop = asyncio.Event()

    async def talk(http: aiohttp.ClientSession, path: str) -> None:
        """Send messages all the while, each until it is answered."""
        while not stop.is_set():
            text, key = f"tea {len(said)}", uuid4().hex
            while True:
                async with http.post(
                    f"{path}/messages",
                    headers=cookie | {"Idempotency-Key": key},
                    json={"content": text, "stream": False},
                ) as response:
                    if response.status == 200:
                        break
                    assert response.status in {429, 503}, await response.text()
                    waited.set()
                await asyncio.sleep(0.05)
            said.append(text)
            await asyncio.sleep(0.1)

    async def has_said(count: int) -> bool:
        return len(said) >= count

    async with cells.nginx.connect() as http, asyncio.TaskGroup() as group:
        async with http.post(LIST, headers=cookie) as response:
            path = f"{LIST}/{(await response.json())['id']}"
        (old,) = await cells.homes(user_id)
        (new,) = {"a", "b"} - {old}
        group.create_task(talk(http, path))
        await until(lambda: has_said(3))

        await cells.send_to(user_id, "chat_api_moving")
        await waited.wait()
        before, after = tmp_path / "before.jsonl", tmp_path / "after.jsonl"
        await cells.command(old, "export", user_id, "--output", before)
        await cells.command(new, "import", user_id, before)
        await cells.command(new, "export", user_id, "--output", after)
        assert after.read_text() == before.read_text()
        await cells.send_to(user_id, f"chat_api_cell_{new}")
        await cells.command(old, "delete", user_id, "--yes")

        count = len(said)
        await until(lambda: has_said(count + 3))
        stop.set()
    assert await cells.homes(user_id) == {new: 1}
    async with cells.nginx.connect() as http, http.get(path, headers=cells.sign_in(user_id)) as response:
        messages: list[dict[str, Any]] = (await response.json())["messages"]
    assert [each["content"] for each in messages if each["role"] == "user"] == said
    assert {each["content"] for each in messages if each["role"] == "assistant"} == {"chai"}
