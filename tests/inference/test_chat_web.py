"""nanochat's own server, scripts/chat_web.py, and what is said where it is taken for another."""

from __future__ import annotations

import json
from typing import Any

import pytest
from aiohttp import web
from pytest_aiohttp.plugin import AiohttpServer
from structlog.testing import capture_logs

from chat_api.inference import ChatWeb, Nanochat, Options, Prompt, Turn
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, open_chat
from tests.support.endpoints import only_endpoint
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of


@pytest.fixture
def settings(settings: Settings, model: ModelServer) -> Settings:
    model.speaks = "chat_web"
    return settings.model_copy(update={"inference_protocol": "chat_web"})


async def test_the_request_is_the_servers(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "Hello")
    await chat.send("Second", temperature=0.1, max_tokens=7, top_k=3)
    call = await model.call()
    first, second = model.requests
    assert second is call
    assert call.path == "/chat/completions"
    assert "X-Internal-API-Key" not in call.headers, "it asks for no key, and logs what it likes"
    assert "Authorization" not in call.headers
    assert call.request == {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Second"},
        ],
        "temperature": 0.1,
        "max_tokens": 7,
        "top_k": 3,
    }
    assert {name: first.request[name] for name in ("temperature", "max_tokens", "top_k")} == {
        "temperature": 0.8,
        "max_tokens": 1024,
        "top_k": 50,
    }


async def test_an_answer_is_read_as_it_is_written(chat: Chat, model: ModelServer) -> None:
    """The server writes a space after colons, and characters unescaped."""
    response, call, began = await chat.begin(model)
    said = ["Chai", " ☕", " 🥟", 'a "quoted"\n', "data: x"]
    stream = b"".join(
        b"data: %b\n\n" % json.dumps({"token": text, "gpu": 1}, ensure_ascii=False).encode() for text in said
    )
    for byte in stream:  # characters arrive in pieces
        call.send_bytes(bytes([byte]))
    call.send_bytes(b'data: {"done": true}\n\n')
    call.close()
    seen = began + await read_events(response)
    assert [event.data for event in seen[1:-1]] == [{"token": text, "gpu": 1} for text in said]
    assert seen[-1].data["finish_reason"] == "stop"
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "".join(said), "stop")]


@pytest.mark.parametrize(("count", "reason"), [(3, "length"), (2, "stop")])
async def test_an_answer_that_used_its_tokens_up_was_cut(
    chat: Chat, model: ModelServer, count: int, reason: str
) -> None:
    response = await chat.send(max_tokens=3)
    (await model.call()).finish(*"abc"[:count])
    assert (await read_events(response))[-1].data["finish_reason"] == reason
    assert (await chat.messages())[-1] == ("assistant", "abc"[:count], reason)


async def test_there_is_one_model_and_no_swap(client: Client, auth: AuthService, model: ModelServer) -> None:
    admin = auth.sign_in(is_admin=True)
    response = await client.get("/api/models", headers=admin)
    listed = await response.json()
    assert (listed["current_model"], listed["models"]) == ("nanochat", ["nanochat"])
    response = await client.post("/api/models/swap", headers=admin, json={"model_tag": "d32"})
    assert (response.status, (await response.json())["code"]) == (501, "not_supported")
    assert model.requests == []


@pytest.mark.parametrize(("protocol", "sent"), [(Nanochat, True), (ChatWeb, None)])
def test_only_samosachaats_service_searches(
    settings: Settings, protocol: type[Nanochat], sent: bool | None
) -> None:
    inference = protocol(only_endpoint(settings), None)  # type: ignore[arg-type]
    prompt = Prompt("", [Turn("user", "Hi")], "default", Options(0.8, 1024, None), force_web_search=True)
    assert inference._body(prompt).get("force_web_search") == sent


@pytest.mark.parametrize(
    ("path", "named_model", "spoken"),
    [
        ("", "m", "chat_web"),
        ("", "", "chat_web"),
        ("/v1", "m", "chat_web"),
        ("/v1", "", "chat_web"),
        ("/v1", "m", "nanochat"),
        ("", "m", "nanochat"),
    ],
)
async def test_a_server_of_nanochat_that_is_taken_for_openai_is_told(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    path: str,
    named_model: str,
    spoken: str,
) -> None:
    model.speaks = spoken
    model.say = ["Hello"]
    changes = {
        "inference_protocol": "openai",
        "inference_service_url": f"{model.url}{path}",
        "inference_model": named_model,
    }
    chat = await open_chat(await start(settings.model_copy(update=changes)), user)
    with capture_logs() as lines:
        *_, error, done = await read_events(await chat.send())
    assert error.data["error"] in ("inference_broken", "inference_rejected")
    assert (text_of([error, done]), done.data["finish_reason"]) == ("", "error")
    said = [line.get("do") or line.get("reason") for line in lines if line["event"].startswith("inference_")]
    assert any(told(spoken) in str(each) for each in said)


def told(protocol: str) -> str:
    """What the log says is to be done."""
    return f"set INFERENCE_PROTOCOL={protocol}, or the server's protocol in MODELS_FILE"


WRONG = [
    ("nanochat", "chat_web", "chat_web"),
    ("chat_web", "nanochat", "nanochat"),
    ("nanochat", "openai", None),
    ("chat_web", "openai", None),
]


@pytest.mark.parametrize(("named", "spoken", "do"), WRONG)
async def test_a_server_that_is_taken_for_another_is_told(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    named: str,
    spoken: str,
    do: str | None,
) -> None:
    model.speaks = spoken
    client = await start(settings.model_copy(update={"inference_protocol": named}))
    chat = await open_chat(client, user)
    with capture_logs() as lines:
        *_, error, done = await read_events(await chat.send())
    assert (error.data["error"], done.data["finish_reason"]) == ("inference_rejected", "error")
    wrong = [line for line in lines if line["event"] == "inference_protocol_wrong"]
    assert [(line["do"], line["log_level"]) for line in wrong] == ([(told(do), "error")] if do else [])
    assert (await client.get("/api/ready")).status == 200


async def test_a_list_of_models_that_is_not_there_is_explained_too(
    start: Start, settings: Settings, user: dict[str, str]
) -> None:
    client = await start(settings.model_copy(update={"inference_protocol": "nanochat"}))
    with capture_logs() as lines:
        response = await client.get("/api/models", headers=user)
    assert (response.status, (await response.json())["code"]) == (502, "inference_rejected")
    assert [line["do"] for line in lines if "do" in line] == [told("chat_web")]


@pytest.mark.parametrize("status", [400, 401, 422, 500])
async def test_a_refusal_of_another_kind_asks_no_further(chat: Chat, model: ModelServer, status: int) -> None:
    model.refuse = (status, '{"detail":"Message 0 is too long"}')
    with capture_logs() as lines:
        *_, error, _ = await read_events(await chat.send())
    assert error.data["error"] in ("inference_rejected", "inference_error")
    assert not [line for line in lines if line["event"] == "inference_protocol_wrong"]


@pytest.mark.parametrize("health", [[], {}, "text", None, {"num_gpus": 1}])
async def test_whatever_health_says_the_refusal_stands(
    start: Start, settings: Settings, user: dict[str, str], aiohttp_server: AiohttpServer, health: Any
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response(health)

    application = web.Application()
    application.router.add_get("/health", answer)
    url = str((await aiohttp_server(application)).make_url("/")).rstrip("/")
    chat = await open_chat(await start(settings.model_copy(update={"inference_service_url": url})), user)
    *_, error, _ = await read_events(await chat.send())
    assert error.data["error"] == "inference_rejected"


async def test_what_comes_after_the_end_changes_nothing(chat: Chat, model: ModelServer) -> None:
    response, call, began = await chat.begin(model, "a")
    call.send({"done": True})
    call.send_bytes(b'data: {"error": "x"}\n\ndata: {"token": "b"}\n\ndata: \n\n')
    call.close()
    assert text_of(began + await read_events(response)) == "a"
    assert (await chat.messages())[-1] == ("assistant", "a", "stop")
