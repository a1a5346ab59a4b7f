"""A path with a slash at its end is the same path, where it is one of the API's."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from yarl import URL

from chat_api.app import create_app
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab

LIST = "/api/conversations"


@pytest.mark.parametrize("base_path", ["", "/team/chat"])
async def test_every_request_of_a_conversation_may_end_in_a_slash(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, base_path: str
) -> None:
    client = await start(settings.model_copy(update={"base_path": base_path}))
    model.say = ["tea"]
    made = await client.post(f"{base_path}{LIST}/", json={"title": "T"}, headers=user, allow_redirects=False)
    assert made.status == 201
    path = f"{base_path}{LIST}/{(await made.json())['id']}/"
    sent = await client.post(f"{path}messages/", json={"content": "Hi"}, headers=user, allow_redirects=False)
    assert text_of(await read_events(sent)) == "tea"
    again = await client.post(f"{path}regenerate/", headers=user, allow_redirects=False)
    assert text_of(await read_events(again)) == "tea"
    for method, below, body, status in [
        ("GET", "", None, 200),
        ("HEAD", "", None, 200),
        ("PUT", "", {"title": "New"}, 200),
        ("GET", "stream/", None, 200),
        ("POST", "stop/", None, 200),
        ("PATCH", "", None, 405),
        ("DELETE", "", None, 204),
        ("GET", "", None, 404),
    ]:
        response = await client.request(method, path + below, json=body, headers=user, allow_redirects=False)
        assert response.status == status, (method, below)
    page = await client.get(f"{base_path}{LIST}/?limit=1", headers=user, allow_redirects=False)
    assert (await page.json())["limit"] == 1
    assert (await client.get(f"{base_path}/api/health/", allow_redirects=False)).status == 200
    assert (await client.get(f"{base_path}{LIST}/")).status == 401, "a slash opens nothing"
    # Metrics and log name the path as the contract does.
    figures = await (await client.get(f"{base_path}/metrics")).text()
    assert 'route="/api/conversations/{id}/messages",status="200"} 1.0' in figures
    assert '/"' not in figures.replace('route="/"', "")


async def test_a_socket_and_a_preflight_too(client: Client, user: dict[str, str], conversation: str) -> None:
    async with open_tab(client, user, path="/api/ws/") as tab:
        assert (await tab.ask("subscribe", conversation, 1))["ref"] == 1
    preflight = await client.options(
        f"{conversation}/",
        headers={"Origin": "http://localhost:3000", "Access-Control-Request-Method": "PUT"},
    )
    assert (preflight.status, preflight.headers["Access-Control-Allow-Methods"]) == (200, "PUT")


@pytest.mark.parametrize(
    "path",
    [
        "/api/",
        "/api//conversations",
        f"{LIST}//",
        f"{LIST}%2F",
        f"{LIST}/.//",
        "/nowhere/",
        # A proxy that closes /metrics need not know of another way there.
        "/metrics/",
        # The URLs in a page are relative to its path.
        "/api/docs/",
        "/api/docs/docs.css/",
        "/api/openapi.json/",
        "/web/",
        "/web/client.js/",
    ],
)
async def test_no_other_path_leads_anywhere(client: Client, user: dict[str, str], path: str) -> None:
    response = await client.get(URL(path, encoded=True), headers=user, allow_redirects=False)
    assert (response.status, (await response.json())["code"]) == (404, "not_found")


async def test_below_another_application_too(
    aiohttp_client: object, settings: Settings, auth: AuthService, user: dict[str, str]
) -> None:
    site = web.Application()
    site.add_subapp("/chat", create_app(settings))
    client = await aiohttp_client(site)  # type: ignore[operator]
    assert (await client.post(f"/chat{LIST}/", headers=user, allow_redirects=False)).status == 201
    assert (await client.get("/chat/metrics/", headers=user, allow_redirects=False)).status == 404


@pytest.mark.parametrize("title", ["", None])
async def test_an_empty_title_is_as_none(
    client: Client, user: dict[str, str], model: ModelServer, title: str | None
) -> None:
    made = await client.post(LIST, json={"title": title}, headers=user)
    assert made.status == 201
    body = await made.json()
    assert body["title"] == "New conversation"
    chat = await open_chat(client, user)
    assert (await client.put(chat.path, json={"title": ""}, headers=user)).status == 422
    model.say = ["a"]
    await read_events(
        await client.post(f"{LIST}/{body['id']}/messages", json={"content": "Tea?"}, headers=user)
    )
    page = await (await client.get(LIST, headers=user)).json()
    assert "Tea?" in json.dumps(page["items"])
