"""docs/sign-in.md: each of its examples works as it stands, and so does the auth service in one file."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

import aiohttp
import pytest

from chat_api.access.keys import PREFIX
from chat_api.settings import Settings
from chat_api.settings.sign_in import WAYS
from tests.docs.page import names
from tests.support.processes import free_port
from tests.support.provider import Provider
from tests.support.queries import Connection
from tests.support.service import environment

SECONDS = 60


@pytest.fixture
def page(checkout: Path) -> str:
    return (checkout / "docs" / "sign-in.md").read_text()


def example(page: str, way: str) -> tuple[str, str]:
    """What starts the service in this way, and what asks it then."""
    section = re.search(rf"^## `{way}`.*?(?=^## )", page, re.MULTILINE | re.DOTALL)
    assert section is not None
    serve, ask = re.findall(r"```sh\n(.*?)```", section[0], re.DOTALL)
    return serve, ask


@asynccontextmanager
async def running(script: str, port: int, env: dict[str, str], checkout: Path) -> AsyncIterator[None]:
    """Run a script that serves on this port while the block runs."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        "-e",
        "-c",
        script,
        env=env,
        cwd=checkout,
        start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL,
    )
    try:
        async with aiohttp.ClientSession() as http, asyncio.timeout(SECONDS):
            while True:
                assert process.returncode is None
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get(f"http://127.0.0.1:{port}/api/health") as response:
                        if response.status == 200:
                            break
                await asyncio.sleep(0.05)
        yield
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        async with asyncio.timeout(SECONDS):
            await process.wait()


async def said(script: str, env: dict[str, str], checkout: Path) -> str:
    """What a script prints. It must succeed."""
    process = await asyncio.create_subprocess_exec(
        "sh", "-e", "-c", script, env=env, cwd=checkout, stdout=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(SECONDS):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


@pytest.fixture
def env(settings: Settings, tmp_path: Path) -> dict[str, str]:
    """Where the examples run: with a database and a model server, and without any other setting."""
    for name, command in (("chat-api", "-m chat_api"), ("python3", "")):
        (tmp_path / name).write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n')
        (tmp_path / name).chmod(0o755)
    given = environment(
        DATABASE_URL=settings.database_url, INFERENCE_SERVICE_URL=settings.inference_service_url
    )
    del given["PYTHONWARNINGS"]
    return {**given, "PATH": f"{tmp_path}:{given['PATH']}"}


EMPTY = '{"items":[],'


@pytest.mark.parametrize("way", WAYS)
async def test_the_example_of_each_way_works(
    page: str, way: str, env: dict[str, str], checkout: Path, sql: Connection
) -> None:
    serve, ask = example(page, way)
    assert len((serve + ask).splitlines()) <= 10
    async with Provider() as provider:
        places = {
            "8002": str(free_port()),
            "8001": str(free_port()),
            "https://id.example/realms/chat": provider.issuer,
        }
        for place, here in places.items():
            serve, ask = serve.replace(place, here), ask.replace(place, here)
        env |= {"TOKEN": provider.sign(provider.claims()), "PORT": places["8001"]}
        async with running(serve, int(places["8002"]), env, checkout):
            printed = await said(ask, env, checkout)
    assert printed.startswith(EMPTY), printed
    match way:
        case "header":
            user_id = uuid5(uuid5(NAMESPACE_URL, "https://id.example"), "asha")
            assert await sql.fetchval("select user_id from conversations") == user_id
        case "keys":
            assert f"{PREFIX}" in printed
            assert "nightly report" in printed
            assert "revoked: " in printed
            assert await sql.fetchval("select count(*) from api_keys") == 0


@pytest.fixture
async def auth_service(env: dict[str, str], checkout: Path) -> AsyncIterator[aiohttp.ClientSession]:
    """The example, started by hand. Leaving the test ends it."""
    port = free_port()
    env |= {"INTERNAL_API_KEY": "shared", "USERS": "asha:secret admin:x:y", "PORT": str(port)}
    script = checkout / "deploy" / "sign-in" / "auth_service.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(script), env=env, stdout=asyncio.subprocess.DEVNULL
    )
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        async with asyncio.timeout(SECONDS):
            while True:
                with contextlib.suppress(aiohttp.ClientError):
                    async with http.get("/"):
                        break
                await asyncio.sleep(0.05)
        yield http
    process.terminate()
    await process.wait()


async def test_the_auth_service_in_one_file_says_who_has_a_token(auth_service: aiohttp.ClientSession) -> None:
    async def ask(path: str, body: object, key: str = "shared") -> tuple[int, dict[str, object]]:
        headers = {"X-Internal-API-Key": key}
        async with auth_service.post(path, json=body, headers=headers) as response:
            return response.status, await response.json()

    for name, password in (("asha", "wrong"), ("nobody", "secret"), ("asha", ""), ("", "")):
        assert (await ask("/login", {"name": name, "password": password}))[0] == 401
    found = {}
    for name, password, is_admin in (("asha", "secret", False), ("admin", "x:y", True)):
        status, body = await ask("/login", {"name": name, "password": password})
        assert status == 200
        status, answer = await ask("/auth/validate", body)
        assert (status, answer["valid"]) == (200, True)
        assert answer["user"]["is_admin"] is is_admin  # type: ignore[index]
        found[name] = answer["user"]["id"]  # type: ignore[index]
        assert (await ask("/auth/validate", body, key="other"))[0] == 403
    assert len(set(found.values())) == 2
    for token in ("", "x", None):
        assert (await ask("/auth/validate", {"token": token}))[0] == 401


def test_every_way_is_explained(page: str) -> None:
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| ")]
    chosen = {name for row in rows for name in names(row[2])} & set(WAYS)
    assert chosen == set(WAYS)
    order = page.partition("## The order")[2].partition("## ")[0]
    assert re.findall(r"^\d\. `(\w+)`", order, re.MULTILINE) == list(WAYS)
