"""BASE_PATH: the whole service below a path."""

from __future__ import annotations

import pytest
from aiohttp import web

from chat_api.app import create_app
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Client, open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab, words

Headers = dict[str, str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"base_path": "/team/chat"})


def addresses(app: web.Application) -> set[tuple[str, str]]:
    return {(route.method, route.resource.canonical) for route in app.router.routes() if route.resource}


def test_every_address_lies_below_it_and_nothing_else_changes(settings: Settings) -> None:
    above = addresses(create_app(settings.model_copy(update={"base_path": ""})))
    assert ("GET", "/metrics") in above
    assert addresses(create_app(settings)) == {(method, f"/team/chat{path}") for method, path in above}


async def test_a_conversation_goes_its_whole_way(client: Client, user: Headers, model: ModelServer) -> None:
    model.say = ["tea"]
    made = await client.post("/team/chat/api/conversations", headers=user)
    assert made.status == 201
    path = f"/team/chat/api/conversations/{(await made.json())['id']}"
    sent = await client.post(f"{path}/messages", json={"content": "Hi"}, headers=user)
    assert text_of(await read_events(sent)) == "tea"
    assert [
        each["content"] for each in (await (await client.get(path, headers=user)).json())["messages"]
    ] == [
        "Hi",
        "tea",
    ]
    assert (await client.get("/team/chat/api/health")).status == 200
    async with open_tab(client, user, path="/team/chat/api/ws") as tab:
        await tab.say("regenerate", path)
        assert words(await tab.events()) == "tea"
    preflight = await client.options(
        path, headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"}
    )
    assert (preflight.status, preflight.headers["Access-Control-Allow-Methods"]) == (200, "PUT")
    # A dashboard's queries for routes work wherever the service is mounted.
    figures = await (await client.get("/team/chat/metrics")).text()
    assert 'route="/api/conversations/{id}/messages",status="200"} 1.0' in figures
    assert "/team" not in figures


@pytest.mark.parametrize(
    "path", ["/", "/api/health", "/team/chat", "/team/chatapi/health", "/team", "/metrics"]
)
async def test_beside_it_there_is_nothing(client: Client, user: Headers, path: str) -> None:
    response = await client.get(path, headers=user)
    assert (response.status, (await response.json())["code"]) == (404, "not_found")
    assert response.headers["X-Trace-Id"]


async def test_it_may_end_in_a_slash_or_be_one(start: Start) -> None:
    for given, taken in [("/chat/", "/chat"), ("/", ""), ("", "")]:
        assert Settings(_env_file=None, base_path=given).base_path == taken


async def test_without_it_the_addresses_are_the_contracts(
    start: Start, settings: Settings, user: Headers
) -> None:
    client = await start(settings.model_copy(update={"base_path": ""}))
    chat = await open_chat(client, user)
    assert (await chat.get())["messages"] == []
