"""GET /api/search: pages, and what it refuses."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, open_chat
from tests.support.model_server import ModelServer


async def search(chat: Chat, **query: str) -> dict[str, Any]:
    response = await chat.client.get("/api/search", params=query, headers=chat.user)
    assert response.status == 200, await response.text()
    page: dict[str, Any] = await response.json()
    return page


async def ask(chat: Chat, model: ModelServer, content: str) -> None:
    response = await chat.send(content)
    (await model.call()).finish("Hm.")
    await response.read()


async def test_a_sentence_is_found_as_soon_as_it_was_said(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "Where did I put the cardamom?")
    [title, message] = (await search(chat, q="cardamom"))["items"]
    assert title["message_id"] is None
    assert message["role"] == "user"
    assert message["snippet"] == "Where did I put the «cardamom»?"
    assert message["conversation"] == {
        key: value for key, value in (await chat.get()).items() if key in message["conversation"]
    }
    await chat.client.delete(chat.path, headers=chat.user)
    assert await search(chat, q="cardamom") == {"items": [], "next_cursor": None}


async def test_pages_neither_repeat_nor_miss_one(chat: Chat, model: ModelServer) -> None:
    for number in range(7):
        await ask(chat, model, f"saffron {number}")
    found, cursor = [], {}
    while True:
        page = await search(chat, q="saffron ", limit="2", **cursor)
        assert len(page["items"]) <= 2
        found += [item["message_id"] for item in page["items"] if item["role"] != "assistant"]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    asked = [message["id"] for message in (await chat.get())["messages"] if message["role"] == "user"]
    assert found == [None, *reversed(asked)]


async def test_nobody_finds_what_another_said(chat: Chat, model: ModelServer, auth: AuthService) -> None:
    await ask(chat, model, "my secret turmeric")
    other = await open_chat(chat.client, auth.sign_in())
    assert await search(other, q="turmeric") == {"items": [], "next_cursor": None}
    page = await search(chat, q="turmeric", limit="1")
    assert (await search(other, q="turmeric", cursor=page["next_cursor"]))["items"] == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "q"),
        ({"q": ""}, "q"),
        ({"q": "x" * 501}, "q"),
        ({"q": "a\0b"}, "q"),
        ({"q": "tea", "limit": "0"}, "limit"),
        ({"q": "tea", "limit": "51"}, "limit"),
        ({"q": "tea", "cursor": "x"}, "cursor"),
        ({"q": "tea", "cursor": base64.urlsafe_b64encode(b"2026 x 1").decode()}, "cursor"),
        (
            {
                "q": "tea",
                "cursor": base64.urlsafe_b64encode(b" " + b"0" * 32 + b" 9999999999999999999").decode(),
            },
            "cursor",
        ),
    ],
)
async def test_what_it_refuses(chat: Chat, query: dict[str, str], field: str) -> None:
    response = await chat.client.get("/api/search", params=query, headers=chat.user)
    assert response.status == 422
    assert (await response.json())["detail"][0]["loc"] == ["query", field]


@pytest.mark.parametrize("words", ["!!!", "-tea", '""', " ", "%", "'; drop table messages; --"])
async def test_what_asks_for_nothing_finds_nothing(chat: Chat, model: ModelServer, words: str) -> None:
    await ask(chat, model, "tea")
    assert await search(chat, q=words) == {"items": [], "next_cursor": None}


async def test_it_can_be_left_out(start: Start, settings: Settings, user: dict[str, str]) -> None:
    client = await start(settings.model_copy(update={"search": "off"}))
    response = await client.get("/api/search", params={"q": "tea"}, headers=user)
    assert response.status == 404
    assert (await response.json())["code"] == "search_off"
