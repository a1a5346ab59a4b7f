"""The openai protocol: llama.cpp, vLLM, Ollama, hosted APIs."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, open_chat
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events, text_of


@pytest.fixture
def settings(settings: Settings, model: ModelServer) -> Settings:
    changes = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return settings.model_copy(update=changes)


def chunk(content: str | None = None, finish_reason: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more}


def end(call: Call, finish_reason: str = "stop") -> None:
    call.send(chunk(finish_reason=finish_reason))
    call.send_bytes(b"data: [DONE]\n\n")


async def test_the_request_is_openais(chat: Chat, model: ModelServer) -> None:
    await chat.send("Hi", temperature=0.5, max_tokens=7)
    call = await model.call()
    assert call.path == "/v1/chat/completions"
    assert "Authorization" not in call.headers
    assert "X-Internal-API-Key" not in call.headers
    assert call.request == {
        "model": "tiny",
        "messages": [{"role": "user", "content": "Hi"}],
        "temperature": 0.5,
        "max_tokens": 7,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


async def test_top_k_is_sent_only_when_it_is_given(chat: Chat, model: ModelServer) -> None:
    await chat.send("Hi", top_k=0)
    assert (await model.call()).request["top_k"] == 0


async def test_the_key_goes_along_as_bearer(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    given = settings.model_copy(update={"inference_api_key": SecretStr("sk-1"), "inference_model": "m"})
    chat = await open_chat(await start(given), user)
    await chat.send()
    assert (await model.call()).headers["Authorization"] == "Bearer sk-1"


async def test_the_system_prompt_is_a_message_of_its_own(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    given = settings.model_copy(update={"system_prompt": "Be kind."})
    chat = await open_chat(await start(given), user)
    await chat.send()
    assert (await model.call()).request["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
    ]


@pytest.mark.parametrize(
    ("setting", "tag", "asked"),
    [
        ("", None, "tiny"),
        ("", "default", "tiny"),
        ("chosen", None, "chosen"),
        ("chosen", "default", "chosen"),
        ("chosen", "other", "other"),
    ],
)
async def test_which_model_is_asked(
    start: Start,
    settings: Settings,
    user: dict[str, str],
    model: ModelServer,
    setting: str,
    tag: str | None,
    asked: str,
) -> None:
    given = settings.model_copy(update={"inference_model": setting})
    chat = await open_chat(await start(given), user, model_tag=tag)
    response = await chat.send()
    call = await model.call()
    assert call.request["model"] == asked
    call.send(chunk("a", model="tiny-q4"))
    end(call)
    await read_events(response)
    assert (await chat.get())["messages"][1]["model_tag"] == "tiny-q4"


async def test_a_whole_stream_with_role_usage_and_reason(chat: Chat, model: ModelServer) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(
        {"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}], "model": "tiny"},
        chunk(""),
        chunk("hel"),
        chunk("lo"),
        chunk(finish_reason="length"),
        {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 42}},
    )
    call.send_bytes(b"data: [DONE]\n\n")
    _, first, second, done = await read_events(response)
    assert (first.data, second.data) == ({"token": "hel"}, {"token": "lo"})
    assert (done.data["finish_reason"], done.data["token_count"]) == ("length", 42)
    answer = (await chat.get())["messages"][1]
    assert (answer["finish_reason"], answer["token_count"], answer["model_tag"]) == ("length", 42, "tiny")


async def test_usage_in_every_chunk_counts_once(chat: Chat, model: ModelServer) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(*(chunk("x", usage={"completion_tokens": n}) for n in (1, 2, 3)), chunk(usage=None))
    end(call, "tool_calls")
    done = (await read_events(response))[-1].data
    assert (done["finish_reason"], done["token_count"]) == ("stop", 3)


@pytest.mark.parametrize(
    "end",
    [b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\n', b"data: [DONE]\n\n"],
    ids=["reason", "[DONE]"],
)
async def test_either_end_is_one(chat: Chat, model: ModelServer, end: bytes) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(chunk("a"))
    call.send_bytes(end)
    call.close()
    assert (await read_events(response))[-1].data["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "strange",
    [
        {"usage": {"completion_tokens": 2**31}},
        {"usage": {"completion_tokens": -1}},
        {"usage": {"completion_tokens": "many"}},
        {"model": "nul\0"},
        {"model": "x" * 5000},
        {"model": 5},
        {"choices": None},
        {"choices": [{"delta": "x"}]},
    ],
    ids=str,
)
async def test_what_the_database_cannot_hold_does_not_hold_up_the_answer(
    chat: Chat, model: ModelServer, strange: dict[str, Any]
) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(chunk("a"), {"choices": [], **strange})
    end(call)
    call.close()
    seen = await read_events(response)
    assert text_of(seen) == "a"
    conversation = await chat.get()
    assert conversation["generation"] is None
    assert conversation["messages"][1]["id"] == seen[-1].data["message_id"]


@pytest.mark.parametrize("usage", [False, 0, "", []], ids=str)
async def test_a_chunk_that_is_wrong_beside_its_text_is_refused(
    chat: Chat, model: ModelServer, usage: object
) -> None:
    response = await chat.send()
    call = await model.call()
    call.send({**chunk("a"), "usage": usage})
    end(call)
    call.close()
    assert [event.data.get("error") for event in await read_events(response)] == [
        None,
        "inference_broken",
        None,
    ]


@pytest.mark.parametrize("models", [[], None, [{"name": "x"}], "x"], ids=str)
async def test_a_server_that_lists_no_model_is_told_about(
    chat: Chat, model: ModelServer, models: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.openai_models = (200, {"data": models})
    response = await chat.send(stream=False)
    assert response.status == 502
    assert (await response.json())["code"] in ("inference_rejected", "inference_broken")
    assert model.requests == []


async def test_the_list_is_asked_for_once(chat: Chat, model: ModelServer) -> None:
    for _ in range(2):
        response = await chat.send()
        end(await model.call())
        await response.read()
        model.openai_models = (500, "")
    assert [call.request["model"] for call in model.requests] == ["tiny", "tiny"]
