"""SECURITY.md: each test that it names exists, and those that belong nowhere else are here."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, open_chat
from tests.support.model_server import ModelServer
from tests.support.tab import token_of

LIST = "/api/conversations"
OUT_OF_SCOPE = "Out of scope"
SQL = [
    "'; drop table messages; --",
    "' or '1'='1",
    "$1); delete from conversations where (true",
    ":user_id :id %s %(user)s {} \\",
    "E'\\x27' || chr(39)",
    "\u02bc\uff07 or 1=1",
]


def threats(checkout: Path) -> dict[str, tuple[str, list[str]]]:
    """For each threat, the defence and the tests that prove it."""
    table = (checkout / "SECURITY.md").read_text().partition("## Threat by threat")[2].partition("## Dep")[0]
    rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines() if line[:1] == "|"
    ]
    return {row[0]: (row[1], re.findall(r"`([^`]+)`", row[2])) for row in rows[2:]}


def test_every_test_that_is_named_exists(checkout: Path) -> None:
    missing = []
    for _, named in threats(checkout).values():
        for each in named:
            path, _, name = each.partition("::")
            source = checkout / path
            if not source.exists() or not re.search(rf"def {name}\(", source.read_text()):
                missing.append(each)
    assert missing == []


def test_every_threat_has_a_test_or_is_somebody_elses(checkout: Path) -> None:
    found = threats(checkout)
    assert len(found) > 25
    assert [
        name for name, (defence, named) in found.items() if not named and OUT_OF_SCOPE not in defence
    ] == []


async def test_a_token_in_an_address_or_a_cookie_signs_nobody_in(
    client: Client, user: dict[str, str], conversation: str
) -> None:
    token = token_of(user)
    for name in ("token", "access_token", "Authorization", "session"):
        for request in ({"params": {name: token}}, {"headers": {"Cookie": f"{name}={token}"}}):
            for path in (LIST, conversation):
                response = await client.get(path, **request)
                assert response.status == 401
            assert (await client.delete(conversation, **request)).status == 401


@pytest.mark.parametrize("text", SQL)
async def test_text_that_looks_like_sql_is_text(
    client: Client, user: dict[str, str], model: ModelServer, sql: Sql, text: str
) -> None:
    model.say = [text]
    chat = await open_chat(client, user, title=text, model_tag=text)
    key = text if text.isascii() else None
    assert (await chat.send(text, key=key, stream=False)).status == 200
    assert (await client.put(chat.path, headers=user, json={"title": text})).status == 200
    body = await chat.get()
    assert (body["title"], body["model_tag"]) == (text, text)
    assert [message["content"] for message in body["messages"]] == [text, text]
    for path in (
        f"{LIST}/{text}",
        f"{LIST}?cursor={text}",
        f"{LIST}?limit={text}",
        f"{chat.path}/stream?after={text}",
    ):
        assert (await client.get(path, headers=user)).status in (404, 422)
    assert await sql.fetchval("select count(*) from messages") == 2


async def test_no_neighbour_sends_a_request_elsewhere(
    start: Start, settings: Settings, auth: AuthService, user: dict[str, str]
) -> None:
    """A token, a message and the internal key reach only the neighbour that they were sent to."""
    strayed: list[str] = []

    async def stray(request: web.Request) -> web.Response:
        strayed.append(request.path)
        return web.json_response({})

    async def away(request: web.Request) -> web.Response:
        return web.Response(
            status=int(request.match_info["status"]), headers={"Location": f"{elsewhere.make_url('/x')}"}
        )

    elsewhere_app, lying = web.Application(), web.Application()
    elsewhere_app.router.add_route("*", "/{path:.*}", stray)
    lying.router.add_route("*", "/{status}/{path:.*}", away)
    async with TestServer(elsewhere_app) as elsewhere, TestServer(lying) as liar:
        for status in (301, 302, 303, 307, 308):
            url = str(liar.make_url(f"/{status}"))
            client = await start(settings.model_copy(update={"auth_service_url": url}))
            assert (await client.get(LIST, headers=user)).status == 502
            client = await start(settings.model_copy(update={"inference_service_url": url}))
            chat = await open_chat(client, user)
            assert (await chat.send(stream=False)).status == 502
            assert (await client.get("/api/models", headers=user)).status == 502
            swap: dict[str, Any] = {"headers": auth.sign_in(is_admin=True), "json": {"model_tag": "x"}}
            response = await client.post("/api/models/swap", **swap)
            assert response.status in (502, status), "passed on as it is, at most"
    assert strayed == []


@pytest.mark.parametrize(
    "tag", ["http://169.254.169.254/", "//evil.example", "../../admin", "\r\nHost: evil"]
)
async def test_a_users_model_reaches_no_address(
    client: Client, user: dict[str, str], model: ModelServer, tag: str
) -> None:
    model.say = ["a"]
    chat = await open_chat(client, user, model_tag=tag)
    assert (await chat.send(stream=False)).status == 200
    (call,) = model.requests
    assert call.path == "/generate"
    assert call.headers["Host"] == model.url.partition("//")[2]


async def test_the_figures_tell_no_user_token_or_text(
    client: Client, user: dict[str, str], chat: Chat, model: ModelServer
) -> None:
    await chat.exchange(model, "classified")
    await client.get(f"/api/{chat.path.rpartition('/')[2]}/classified", headers=user)
    await client.request("GET", LIST, headers={"Authorization": "Bearer classified"})
    figures = await (await client.get("/metrics")).text()
    body = await chat.get()
    for secret in (token_of(user), "classified", body["user_id"], body["id"], "Hi\n"):
        assert secret not in figures
