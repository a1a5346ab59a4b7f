"""The development page signs in by itself, and no other page can."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from chat_api.app import create_app
from chat_api.dev.sign_in import PATH, sign_in
from chat_api.settings import Settings
from tests.support.chat import Client

OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
URL = f"/{PATH}"


@pytest.fixture
async def dev(settings: Settings) -> AsyncIterator[Client]:
    tokens = (f"token-{number}" for number in range(10))
    async with TestClient(TestServer(create_app(settings, [sign_in(lambda: next(tokens))]))) as client:
        yield client


async def test_the_page_gets_a_fresh_token_each_time_that_nobody_keeps(dev: Client) -> None:
    for number in range(2):
        response = await dev.get(URL, headers=OWN_PAGE)
        assert (response.status, await response.json()) == (200, {"token": f"token-{number}"})
        assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:3000"},
        {"Sec-Fetch-Site": "none"},
        OWN_PAGE | {"Host": "evil.example"},
        OWN_PAGE | {"Host": "127.0.0.1.evil.example:8002"},
        OWN_PAGE | {"X-Forwarded-For": "203.0.113.7"},
        OWN_PAGE | {"Via": "1.1 proxy"},
    ],
)
async def test_nobody_else_gets_one(dev: Client, headers: dict[str, str]) -> None:
    response = await dev.get(URL, headers=headers)
    assert response.status == 403
    assert (await response.json())["code"] == "forbidden"


async def test_a_deployment_has_no_such_address(client: Client, user: dict[str, str]) -> None:
    assert (await client.get(URL, headers=user | OWN_PAGE)).status == 404
