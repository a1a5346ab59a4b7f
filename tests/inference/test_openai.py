"""The OpenAI protocol: llama.cpp, vLLM, Ollama, hosted APIs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import SecretStr

from chat_api.inference.openai import server
from chat_api.settings import Settings, SettingsError, load_settings
from tests.conftest import Start
from tests.support.chat import Chat, open_chat
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab


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


@pytest.mark.parametrize("usage", [False, 0, "", [], "many", [1], {"completion_tokens": {}}], ids=str)
async def test_figures_that_make_no_sense_cost_no_text(chat: Chat, model: ModelServer, usage: object) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(*(chunk(text, usage=usage) for text in "abc"))
    end(call)
    call.close()
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("abc", "stop")


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


@pytest.mark.parametrize(
    "sign",
    [
        {"choices": [{"index": 0, "delta": {"reasoning_content": "hm "}}]},
        {"choices": [{"index": 0, "delta": {"reasoning_details": [{"type": "reasoning.encrypted"}]}}]},
        {"choices": []},
    ],
    ids=["thinking", "hidden thinking", "nothing"],
)
async def test_a_model_that_thinks_long_is_not_cut_off(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer, sign: dict[str, Any]
) -> None:
    limits = {"inference_first_token_timeout": 0.5, "inference_token_timeout": 0.5}
    chat = await open_chat(await start(settings.model_copy(update=limits)), user)
    response = await chat.send()
    call = await model.call()
    for _ in range(16):
        call.send(sign)
        await asyncio.sleep(0.05)
    call.send(chunk("Blue."))
    end(call)
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("Blue.", "stop")
    assert "error" not in str(seen)


@pytest.mark.parametrize(
    "after", [Call.cut, lambda call: call.send_bytes(b"data: garbage\n\n"), lambda _: None]
)
async def test_once_the_reason_has_come_nothing_makes_the_answer_fail(
    chat: Chat, model: ModelServer, monkeypatch: pytest.MonkeyPatch, after: Callable[[Call], None]
) -> None:
    monkeypatch.setattr(server, "AFTER_END_SECONDS", 0.1)
    response = await chat.send()
    call = await model.call()
    call.send(chunk("a"), chunk(finish_reason="length"), {"choices": [], "usage": {"completion_tokens": 7}})
    after(call)
    done = (await read_events(response))[-1].data
    assert (done["finish_reason"], done["token_count"]) == ("length", 7)
    call.close()


async def test_a_broken_off_tag_is_kept_as_it_came(chat: Chat, model: ModelServer) -> None:
    response = await chat.send()
    call = await model.call()
    call.send(chunk("<thi"))
    call.cut()
    seen = await read_events(response)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("<thi", "interrupted")


async def test_thinking_in_the_text_is_not_sent_back(chat: Chat, model: ModelServer) -> None:
    response = await chat.send("My name is Ada.")
    call = await model.call()
    call.send(chunk("<thi"), chunk("nk>"), *[chunk("x" * 100)] * 70, chunk("</think>"), chunk("Hi Ada."))
    end(call)
    assert text_of(await read_events(response)) == "Hi Ada."
    await chat.send("What is my name?")
    assert [message["content"] for message in (await model.call()).request["messages"]] == [
        "My name is Ada.",
        "Hi Ada.",
        "What is my name?",
    ]


@pytest.mark.parametrize(("max_tokens", "status"), [(4097, 200), (65_536, 200), (65_537, 422)])
async def test_long_answers_may_be_asked_for(
    chat: Chat, model: ModelServer, max_tokens: int, status: int
) -> None:
    response = await chat.send(max_tokens=max_tokens)
    assert response.status == status
    if status == 200:
        assert (await model.call()).request["max_tokens"] == max_tokens
    else:
        assert "65536" in await response.text()


async def test_nanochats_limit_names_the_maximum_over_both_transports(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    given = settings.model_copy(update={"inference_protocol": "nanochat", "inference_service_url": model.url})
    client = await start(given)
    chat = await open_chat(client, user)
    response = await chat.send(max_tokens=4097)
    problems = (await response.json())["detail"]
    assert (response.status, problems[0]["loc"]) == (422, ["body", "max_tokens"])
    assert "4096" in problems[0]["msg"]
    async with open_tab(client, user) as tab:
        frame = await tab.ask("send", chat.path, content="Hi", max_tokens=4097)
    assert (frame["status"], frame["detail"][0]["loc"]) == (422, ["frame", "max_tokens"])


@pytest.mark.parametrize(("protocol", "fits"), [("openai", True), ("nanochat", False), ("chat_web", False)])
def test_the_default_is_held_against_the_protocol(protocol: str, fits: bool) -> None:
    given = {"inference_protocol": protocol, "default_max_tokens": 65_536}
    if fits:
        assert load_settings(_env_file=None, **given).default_max_tokens == 65_536
    else:
        with pytest.raises(SettingsError, match="DEFAULT_MAX_TOKENS=65536: must be at most 4096"):
            load_settings(_env_file=None, **given)
