"""MODELS_FILE, as callers see it: which models they may use, and what becomes of one that is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import ClientResponse

from chat_api.http.context import GENERATIONS
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.model_server import ModelServer
from tests.support.models_file import ModelsFile
from tests.support.processes import free_port
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab
from tests.support.unsteady_server import FINE, HEAD, UnsteadyServer

Headers = dict[str, str]
Ask = Callable[[Chat], Awaitable[ClientResponse]]
# A request of each kind that asks a conversation's model, over HTTP and over a WebSocket.
RESULTS = [{"tool_call_id": "call_1", "content": "31 degrees"}]
REQUESTS: dict[str, dict[str, Any]] = {
    "send": {"content": "Hi"},
    "regenerate": {},
    "continue": {},
    "tool_results": {"results": RESULTS},
}
PATHS = {"send": "messages"}
KINDS = [*((kind, {}) for kind in REQUESTS), ("send", {"when_running": "queue"})]
CUT = b'data: {"choices":[{"delta":{"content":"Well"},"finish_reason":"length"}]}\n\ndata: [DONE]\n\n'
CALL = (
    b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"id":"call_1","function":{"name":"weather",'
    b'"arguments":"{}"}}]},"finish_reason":"tool_calls"}]}\n\ndata: [DONE]\n\n'
)
STORED = """
    select (select json_agg(m order by id) from messages as m)::text,
        (select json_agg(m order by id) from inactive_messages as m)::text,
        (select json_agg(g order by id) from generations as g)::text,
        (select json_agg(q order by id) from queued_messages as q)::text
"""


@pytest.fixture
async def near() -> AsyncIterator[UnsteadyServer]:
    async with UnsteadyServer("near", lambda _: (FINE, 2)) as server:
        yield server


@pytest.fixture
async def spare() -> AsyncIterator[UnsteadyServer]:
    async with UnsteadyServer("spare", lambda _: (FINE, 2)) as server:
        yield server


@pytest.fixture
def file(tmp_path: Path, near: UnsteadyServer, spare: UnsteadyServer, model: ModelServer) -> ModelsFile:
    """Four models: the default one, one that is away, one of nanochat, one for administrators."""
    return ModelsFile(
        tmp_path / "models.toml",
        servers={
            "near": {"url": near.url},
            "spare": {"url": spare.url},
            "away": {"url": f"http://127.0.0.1:{free_port()}/v1"},
            "nano": {"url": model.url, "protocol": "nanochat"},
        },
        models={
            "kitchen": {
                "name": "Kitchen 8B",
                "description": "Quick, for recipes.",
                "servers": ["near"],
                "context_tokens": 8192,
            },
            "deep": {"servers": ["away"], "thinking": {"on": {"reasoning_effort": "high"}}},
            "nano": {"servers": ["nano"]},
            "lab": {"servers": ["away", "spare"], "who": "admins"},
        },
    )


@pytest.fixture
async def client(start: Start, settings: Settings, file: ModelsFile) -> Client:
    """A service with this file."""
    file.client = await start(file.settings(settings))
    return file.client


@pytest.fixture
def user_id() -> Any:
    return uuid4()


@pytest.fixture
def user(auth: AuthService, user_id: Any) -> Headers:
    return auth.sign_in(user_id)


@pytest.fixture
def admin(auth: AuthService, user_id: Any) -> Headers:
    """The same user, as long as it is an administrator."""
    return auth.sign_in(user_id, is_admin=True)


async def refused(chat: Chat, kind: str, more: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    """The status and body of a request that is refused."""
    body = {**REQUESTS[kind], **more}
    path = f"{chat.path}/{PATHS.get(kind, kind)}"
    response = await chat.client.post(path, json=body, headers=chat.user)
    return response.status, await response.json()


async def asked_in_vain(chat: Chat, sql: Sql, kind: str, more: dict[str, Any]) -> dict[str, Any]:
    """What is told over HTTP and over a WebSocket, which must be the same. Nothing is stored."""
    before = await sql.fetchrow(STORED)
    status, told = await refused(chat, kind, more)
    async with open_tab(chat.client, chat.user) as tab:
        frame = await tab.ask(kind, chat.path, **REQUESTS[kind], **more)
    assert frame == {"type": "error", "ref": 1, "status": status, "retry_after": None, **told}
    assert await sql.fetchrow(STORED) == before
    return {"status": status, **told}


def detail(tag: str, *, available: bool = True, **more: Any) -> dict[str, Any]:
    usual = {"name": tag, "description": None, "context_tokens": None, "thinking": False}
    return {"tag": tag, **usual, **more, "available": available}


async def test_a_user_is_shown_what_it_may_use_and_what_is_away(client: Client, user: Headers) -> None:
    response = await client.get("/api/models", headers=user)
    assert (response.status, await response.json()) == (
        200,
        {
            "current_model": "kitchen",
            "models": ["kitchen", "deep", "nano"],
            "details": [
                detail("kitchen", name="Kitchen 8B", description="Quick, for recipes.", context_tokens=8192),
                detail("deep", available=False, thinking=True),
                detail("nano"),
            ],
        },
    )


async def test_an_administrator_is_shown_all_and_one_server_that_answers_is_enough(
    client: Client, admin: Headers
) -> None:
    listed = await (await client.get("/api/models", headers=admin)).json()
    assert listed["models"] == ["kitchen", "deep", "nano", "lab"]
    assert listed["details"][-1] == detail("lab")


@pytest.mark.parametrize("tag", ["lab", "gone", "Kitchen 8B", "KITCHEN"])
async def test_a_model_that_a_user_may_not_use_cannot_be_chosen(
    client: Client, user: Headers, sql: Sql, tag: str
) -> None:
    chat = await open_chat(client, user)
    before = await sql.fetchval("select count(*) from conversations")
    made = await client.post("/api/conversations", json={"model_tag": tag}, headers=user)
    for response in (made, await chat.change(model_tag=tag)):
        assert (response.status, await response.json()) == (
            422,
            {
                "code": "validation_failed",
                "detail": [
                    {
                        "type": "model_unknown",
                        "loc": ["body", "model_tag"],
                        "msg": "must be one of kitchen, deep, nano, as GET /api/models lists them",
                    }
                ],
            },
        )
    assert (await chat.get())["model_tag"] == "default"
    assert await sql.fetchval("select count(*) from conversations") == before


async def test_what_a_user_may_use_can_be_chosen_also_while_it_is_away(
    client: Client, user: Headers, admin: Headers
) -> None:
    for tag in ("deep", "kitchen", "default"):
        assert (await (await open_chat(client, user, model_tag=tag)).get())["model_tag"] == tag
    chat = await open_chat(client, user)
    assert (await (await chat.change(model_tag="nano")).json())["model_tag"] == "nano"
    assert (await (await chat.change(model_tag="")).json())["model_tag"] == "default"
    lab = await open_chat(client, admin, model_tag="lab")
    assert text_of(await read_events(await lab.send())) == "spare1 spare2 "


@pytest.mark.parametrize(("kind", "more"), KINDS)
async def test_a_conversation_whose_model_is_gone_says_so_and_stores_nothing(
    client: Client,
    user: Headers,
    file: ModelsFile,
    near: UnsteadyServer,
    sql: Sql,
    kind: str,
    more: dict[str, Any],
) -> None:
    file.models["old"] = {"servers": ["near"]}
    file.write()
    chat = await open_chat(client, user, model_tag="old")
    near.answer_with(HEAD + (CALL if kind == "tool_results" else CUT))
    await read_events(await chat.send())
    del file.models["old"]
    file.write()
    assert await asked_in_vain(chat, sql, kind, more) == {
        "status": 409,
        "code": "model_gone",
        "detail": 'The model "old" is no longer offered. Choose another one for this conversation, such as '
        '"Kitchen 8B".',
        "default_model": "kitchen",
    }
    assert len(near.requests) == 1
    # With another model, the same is answered.
    assert (await chat.change(model_tag="default")).status == 200
    near.script = lambda _: (FINE, 2)
    body = {**REQUESTS[kind], **more}
    response = await client.post(f"{chat.path}/{PATHS.get(kind, kind)}", json=body, headers=user)
    assert text_of(await read_events(response)).endswith("near1 near2 ")
    assert near.requests[-1]["model"] == "kitchen"


@pytest.mark.parametrize(("kind", "more"), KINDS)
async def test_a_conversation_whose_model_is_for_administrators_is_theirs_alone(
    client: Client,
    user: Headers,
    admin: Headers,
    spare: UnsteadyServer,
    sql: Sql,
    kind: str,
    more: dict[str, Any],
) -> None:
    chat = await open_chat(client, admin, model_tag="lab")
    spare.answer_with(HEAD + (CALL if kind == "tool_results" else CUT))
    await read_events(await chat.send())
    assert await asked_in_vain(Chat(client, chat.path, user), sql, kind, more) == {
        "status": 403,
        "code": "forbidden",
        "detail": "Only administrators may use this conversation's model.",
    }
    assert len(spare.requests) == 1


async def test_a_retry_of_what_its_model_never_got_is_refused_when_that_is_gone(
    client: Client, user: Headers, file: ModelsFile, sql: Sql
) -> None:
    chat = await open_chat(client, user, model_tag="deep")
    seen = await read_events(await chat.send("Hi", "k"))
    assert seen[-2].data["error"] == "inference_unavailable"
    del file.models["deep"]
    file.write()
    before = await sql.fetchrow(STORED)
    response = await chat.send("Hi", "k")
    assert (response.status, (await response.json())["code"]) == (409, "model_gone")
    assert await sql.fetchrow(STORED) == before


async def test_results_that_their_model_never_got_are_refused_when_that_is_gone(
    client: Client, user: Headers, file: ModelsFile, near: UnsteadyServer, sql: Sql
) -> None:
    file.models["old"] = {"servers": ["near"]}
    file.write()
    chat = await open_chat(client, user, model_tag="old")
    near.answer_with(HEAD + CALL)
    await read_events(await chat.send())
    near.script = lambda _: ("503", 0)
    path = f"{chat.path}/tool_results"
    seen = await read_events(await client.post(path, json=REQUESTS["tool_results"], headers=user))
    assert seen[-2].data["error"] == "inference_unavailable"
    del file.models["old"]
    file.write()
    assert (await asked_in_vain(chat, sql, "tool_results", {}))["code"] == "model_gone"


async def test_an_answer_that_was_given_is_found_by_its_key_though_its_model_is_gone(
    client: Client, user: Headers, file: ModelsFile
) -> None:
    file.models["old"] = {"servers": ["near"]}
    file.write()
    chat = await open_chat(client, user, model_tag="old")
    said = text_of(await read_events(await chat.send("Hi", "k")))
    del file.models["old"]
    file.write()
    assert text_of(await read_events(await chat.send("Hi", "k"))) == said


async def test_tools_are_refused_where_the_model_can_call_none(
    client: Client, user: Headers, sql: Sql, near: UnsteadyServer
) -> None:
    tools = [{"type": "function", "function": {"name": "weather"}}]
    chat = await open_chat(client, user, model_tag="nano")
    told = await asked_in_vain(chat, sql, "send", {"tools": tools})
    assert (told["status"], told["code"]) == (501, "not_supported")
    assert (await chat.change(model_tag="default")).status == 200
    await read_events(await chat.send(tools=tools))
    assert near.requests[-1]["tools"] == tools


async def test_a_conversation_of_the_default_model_follows_the_file(
    client: Client, user: Headers, file: ModelsFile, near: UnsteadyServer, spare: UnsteadyServer
) -> None:
    chat = await open_chat(client, user)
    await read_events(await chat.send())
    assert near.requests[-1]["model"] == "kitchen"
    file.models["default"] = {"servers": ["spare"], "served_as": "house"}
    file.write()
    listed = await (await client.get("/api/models", headers=user)).json()
    assert listed["current_model"] == "default"
    assert text_of(await read_events(await chat.send())) == "spare1 spare2 "
    assert spare.requests[-1]["model"] == "house"


async def test_a_message_that_waits_is_answered_when_its_model_is_back(
    client: Client, user: Headers, file: ModelsFile, model: ModelServer
) -> None:
    chat = await open_chat(client, user, model_tag="nano")
    _, call, _ = await chat.begin(model, "a")
    assert (await chat.send("Later", when_running="queue")).status == 202
    nano = file.models.pop("nano")
    file.write()
    call.finish()
    await until(lambda: has_ended(chat))
    generations = client.app[GENERATIONS]
    await generations.begin_due()
    conversation = await chat.get()
    assert [each["content"] for each in conversation["queued"]] == ["Later"]
    assert [each["content"] for each in conversation["messages"]] == ["Hi", "a"]
    file.models["nano"] = nano
    file.write()
    await generations.begin_due()
    (await model.call()).finish("b")
    await until(lambda: has_ended(chat))
    conversation = await chat.get()
    assert [each["content"] for each in conversation["messages"]] == ["Hi", "a", "Later", "b"]
    assert conversation["queued"] == []


async def has_ended(chat: Chat) -> bool:
    return (await chat.get())["generation"] is None
