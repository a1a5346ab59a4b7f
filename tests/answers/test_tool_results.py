"""The results of tool calls: stored once, told to the model, and answered."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from aiohttp import ClientResponse

from chat_api.generation import prompt
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, open_chat
from tests.support.model_server import Call, ModelServer
from tests.support.reader import read_events
from tests.support.tab import open_tab

WEATHER = {"type": "function", "function": {"name": "weather"}}
ARGUMENTS = '{"city":"Pune"}'
RAIN = {"tool_call_id": "c1", "content": "rain"}


@pytest.fixture
def openai(settings: Settings, model: ModelServer) -> Settings:
    """Settings for an OpenAI-compatible model server."""
    changes = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return settings.model_copy(update=changes)


@pytest.fixture
async def chat(start: Start, openai: Settings, user: dict[str, str]) -> Chat:
    """A conversation with that server."""
    return await open_chat(await start(openai), user)


def says(call: Call, text: str) -> None:
    """The whole answer."""
    call.send({"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": "stop"}]})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()


def calls_tools(call: Call, *ids: str, reason: str = "tool_calls") -> None:
    """The model asks for the weather, once for each id."""
    pieces = [
        {
            "index": index,
            "id": call_id,
            "type": "function",
            "function": {"name": "weather", "arguments": ARGUMENTS},
        }
        for index, call_id in enumerate(ids)
    ]
    call.send({"choices": [{"index": 0, "delta": {"tool_calls": pieces}, "finish_reason": reason}]})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()


async def ask(chat: Chat, model: ModelServer, *ids: str, **options: Any) -> None:
    """A question whose answer calls tools."""
    response = await chat.send("Weather?", **options)
    calls_tools(await model.call(), *(ids or ("c1",)))
    await read_events(response)


async def give(
    chat: Chat, *results: dict[str, str], key: str | None = None, **options: Any
) -> ClientResponse:
    """Give results."""
    headers = chat.user if key is None else {**chat.user, "Idempotency-Key": key}
    body = {"results": results or [RAIN], **options}
    return await chat.client.post(f"{chat.path}/tool_results", json=body, headers=headers)


async def refusal(response: ClientResponse) -> tuple[int, str, str]:
    """Its status, its code, and the sentence."""
    body = await response.json()
    if response.status == 422:
        return 422, body["detail"][0]["type"], body["detail"][0]["msg"]
    return response.status, body["code"], body["detail"]


async def answered(chat: Chat, model: ModelServer, *results: dict[str, str], text: str = "It rains.") -> Call:
    """Give results, and let the model answer."""
    response = await give(chat, *results)
    assert response.status == 200, await response.text()
    call = await model.call()
    says(call, text)
    await read_events(response)
    return call


async def roles(chat: Chat) -> list[str]:
    return [role for role, _, _ in await chat.messages()]


WHOLE = [
    ("user", "Weather?", None),
    ("assistant", "", "tool_calls"),
    ("tool", "rain", None),
    ("assistant", "It rains.", "stop"),
]


async def test_results_are_told_and_answered(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, tools=[WEATHER], tool_choice="required", thinking_mode=True)
    response = await give(chat)
    call = await model.call()
    assert [message["role"] for message in call.request["messages"]] == ["user", "assistant", "tool"]
    assert call.request["messages"][1]["tool_calls"][0]["id"] == "c1"
    assert call.request["messages"][2] == {"role": "tool", "content": "rain", "tool_call_id": "c1"}
    # A choice that forces a call holds for one answer: else every answer would call.
    assert call.request["tools"] == [WEATHER]
    assert "tool_choice" not in call.request
    says(call, "It rains.")
    seen = await read_events(response)
    stored = (await chat.get())["messages"]
    assert seen[0].data["user_message_id"] == stored[0]["id"]
    assert seen[0].data["history"] == {"sent": 3, "left_out": 0}
    assert seen[-1].data["message_id"] == stored[3]["id"]
    assert await chat.messages() == WHOLE
    assert stored[2]["tool_call_id"] == "c1"
    says_next = await chat.send("And tomorrow?")
    call = await model.call()
    assert [message["role"] for message in call.request["messages"]][:4] == [
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    says(call, "x")
    await read_events(says_next)


async def test_without_a_stream(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    asked = asyncio.create_task(give(chat, stream=False))
    says(await model.call(), "It rains.")
    body = await (await asked).json()
    assert (body["user_message"]["content"], body["message"]["content"]) == ("Weather?", "It rains.")


async def test_over_a_socket(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    async with open_tab(chat.client, chat.user) as tab:
        ack = await tab.ask("tool_results", chat.path, results=[RAIN])
        assert ack["type"] == "ack"
        says(await model.call(), "It rains.")
        events = await tab.events()
        assert [event["type"] for event in events] == ["start", "token", "done"]
        assert events[0]["user_message_id"] == ack["user_message_id"]
        refused = await tab.ask("tool_results", chat.path, results=[{**RAIN, "content": "sun"}])
        assert (refused["status"], refused["detail"][0]["type"]) == (422, "tool_calls_answered")
    async with open_tab(chat.client, chat.user) as tab:
        again = await tab.ask("tool_results", chat.path, results=[RAIN])
        assert again["generation_id"] == ack["generation_id"]
        assert await tab.events() == events
    assert await chat.messages() == WHOLE


async def test_several_results_are_stored_in_the_order_of_the_calls(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1", "c2", "c3")
    given = [{"tool_call_id": each, "content": each.upper()} for each in ("c3", "c1", "c2")]
    call = await answered(chat, model, *given)
    assert [each["content"] for each in call.request["messages"][2:]] == ["C1", "C2", "C3"]
    assert [text for role, text, _ in await chat.messages() if role == "tool"] == ["C1", "C2", "C3"]
    first = (await chat.get())["messages"][-1]
    # In another order it is the same request.
    response = await give(chat, *given[::-1])
    assert (await read_events(response))[-1].data["message_id"] == first["id"]


async def test_calls_may_follow_calls(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1")
    first = await give(chat)
    calls_tools(await model.call(), "c2")
    seen = await read_events(first)
    call = await answered(chat, model, {"tool_call_id": "c2", "content": "31"})
    wanted = ["user", "assistant", "tool", "assistant", "tool"]
    assert [message["role"] for message in call.request["messages"]] == wanted
    # A repetition of the earlier one still finds its answer.
    assert await read_events(await give(chat)) == seen
    assert await roles(chat) == [*wanted, "assistant"]


async def test_the_same_id_in_a_later_answer_is_another_call(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1")
    first = await give(chat, key="first")
    calls_tools(await model.call(), "c1")
    seen = await read_events(first)
    assert await read_events(await give(chat, key="first")) == seen
    call = await answered(chat, model, {"tool_call_id": "c1", "content": "sun"})
    assert [each["content"] for each in call.request["messages"] if each["role"] == "tool"] == ["rain", "sun"]


@pytest.mark.parametrize("key", [None, "k"])
async def test_a_repetition_gets_the_same_answer(chat: Chat, model: ModelServer, key: str | None) -> None:
    await ask(chat, model)
    first = await give(chat, key=key)
    call = await model.call()
    second = await give(chat, key=key)
    says(call, "It rains.")
    seen = await read_events(first)
    assert await read_events(second) == seen
    for again in (key, "another"):
        assert await read_events(await give(chat, key=again)) == seen
    assert await chat.messages() == WHOLE
    assert len(model.requests) == 2


async def test_at_the_same_moment_on_two_workers(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    chat = await open_chat(await start(openai), user)
    other = Chat(await start(openai), chat.path, user)
    await ask(chat, model)
    tasks = [asyncio.create_task(give(each)) for each in (chat, other) * 5]
    says(await model.call(), "It rains.")
    answers = [await read_events(await task) for task in tasks]
    assert len({answer[0].id for answer in answers}) == 1
    assert {answer[-1].data["message_id"] for answer in answers} == {(await chat.get())["messages"][-1]["id"]}
    assert await chat.messages() == WHOLE
    assert len(model.requests) == 2


async def test_other_contents_are_refused(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1", "c2")
    await answered(chat, model)
    before = await chat.messages()
    for results in (
        [{**RAIN, "content": "sun"}],
        [{"tool_call_id": "c2", "content": "late"}],
        [RAIN, {"tool_call_id": "c2", "content": "late"}],
    ):
        status, kind, _ = await refusal(await give(chat, *results))
        assert (status, kind) == (422, "tool_calls_answered")
    assert await chat.messages() == before


async def test_a_call_without_a_result_is_closed(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1", "c2")
    call = await answered(chat, model, {"tool_call_id": "c2", "content": "31"})
    told = {each["tool_call_id"]: each["content"] for each in call.request["messages"][2:]}
    assert told == {"c1": prompt.NOT_RUN, "c2": "31"}


async def test_an_unknown_id_is_named(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    status, kind, sentence = await refusal(await give(chat, RAIN, {"tool_call_id": "c9", "content": "x"}))
    assert (status, kind) == (422, "tool_call_unknown")
    assert "'c9'" in sentence
    assert await roles(chat) == ["user", "assistant"]
    await answered(chat, model)


async def test_nothing_open(chat: Chat, model: ModelServer) -> None:
    assert (await refusal(await give(chat)))[:2] == (409, "no_open_calls")
    response = await chat.send()
    says(await model.call(), "x")
    await read_events(response)
    assert (await refusal(await give(chat)))[:2] == (409, "no_open_calls")


async def test_a_plain_message_closes_the_calls(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    response = await chat.send("Never mind")
    call = await model.call()
    # It doesn't stop the answer that runs either.
    refused = await refusal(await give(chat, when_running="supersede"))
    assert refused[:2] == (409, "no_open_calls")
    says(call, "x")
    assert (await read_events(response))[-1].data["finish_reason"] == "stop"


@pytest.mark.parametrize("reason", ["length", "stop"])
async def test_an_answer_that_was_cut_waits_for_none(chat: Chat, model: ModelServer, reason: str) -> None:
    response = await chat.send("Weather?")
    calls_tools(await model.call(), "c1", reason=reason)
    ended = (await read_events(response))[-1].data["finish_reason"]
    refused = await give(chat)
    if ended == "tool_calls":
        says(await model.call(), "x")
        assert refused.status == 200
        await read_events(refused)
    else:
        assert (await refusal(refused))[:2] == (409, "no_open_calls")


async def test_somebody_elses_conversation(chat: Chat, model: ModelServer, auth: AuthService) -> None:
    await ask(chat, model)
    other = Chat(chat.client, chat.path, auth.sign_in())
    assert (await refusal(await give(other)))[:2] == (404, "conversation_not_found")
    await answered(chat, model)
    assert (await refusal(await give(other)))[:2] == (404, "conversation_not_found")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"results": []},
        {"results": [RAIN, RAIN]},
        {"results": [{"tool_call_id": "c1"}]},
        {"results": [{"content": "rain"}]},
        {"results": [{"tool_call_id": "", "content": "rain"}]},
        {"results": [{"tool_call_id": "c1", "content": "a\0b"}]},
        {"results": [{"tool_call_id": "c\0", "content": "rain"}]},
        {"results": [{"tool_call_id": "c1", "content": "é" * 32_769}]},
        {"results": [{"tool_call_id": f"c{each}", "content": "x" * 33_000} for each in (1, 2)]},
        {"results": [RAIN], "temperature": 3},
    ],
)
async def test_what_is_no_result_is_refused(chat: Chat, model: ModelServer, body: dict[str, Any]) -> None:
    await ask(chat, model)
    response = await chat.client.post(f"{chat.path}/tool_results", json=body, headers=chat.user)
    assert response.status == 422
    assert await roles(chat) == ["user", "assistant"]


@pytest.mark.parametrize("content", ["", "é" * 32_768, "🍵\u2028\ufeff"])
async def test_what_a_result_may_say(chat: Chat, model: ModelServer, content: str) -> None:
    await ask(chat, model)
    call = await answered(chat, model, {"tool_call_id": "c1", "content": content})
    assert call.request["messages"][-1]["content"] == content
    assert (await chat.messages())[2] == ("tool", content, None)


async def test_regenerating_answers_the_same_results(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, tools=[WEATHER])
    await answered(chat, model)
    old = await chat.get()
    response = await chat.regenerate()
    call = await model.call()
    assert [message["role"] for message in call.request["messages"]] == ["user", "assistant", "tool"]
    assert call.request["tools"] == [WEATHER]
    says(call, "Rain.")
    seen = await read_events(response)
    assert seen[0].data["user_message_id"] == old["messages"][0]["id"]
    assert await chat.messages() == [*WHOLE[:3], ("assistant", "Rain.", "stop")]
    # A repetition of the results gets the answer that is stored now.
    again = await read_events(await give(chat))
    assert again[-1].data["message_id"] == (await chat.get())["messages"][-1]["id"]


async def stop_refusing(model: ModelServer) -> None:
    """Let the model answer, and forget the requests that were refused."""
    model.refuse = None
    while not model.idle:
        await model.call()


async def answer_again(chat: Chat, model: ModelServer) -> None:
    """Regenerate: the results are sent again, and answered."""
    response = await chat.regenerate()
    call = await model.call()
    assert call.request["messages"][-1]["content"] == "rain"
    says(call, "It rains.")
    await read_events(response)
    assert await chat.messages() == WHOLE


REFUSALS = [
    (400, "", "inference_rejected"),
    (400, '{"error":{"message":"filtered","param":"prompt","code":"content_filter"}}', "inference_rejected"),
    (413, "", "conversation_too_long"),
]


@pytest.mark.parametrize(("status", "body", "code"), REFUSALS)
async def test_results_that_the_model_server_refuses_are_not_sent_with_the_next_question(
    chat: Chat, model: ModelServer, status: int, body: str, code: str
) -> None:
    await ask(chat, model)
    model.refuse = (status, body)
    _, error, done = await read_events(await give(chat))
    assert (error.data["error"], done.data["message_id"]) == (code, None)
    await stop_refusing(model)
    response = await chat.send("And tomorrow?")
    call = await model.call()
    told = [(message["role"], message["content"]) for message in call.request["messages"]]
    assert told == [
        ("user", "Weather?"),
        ("assistant", ""),
        ("tool", prompt.NOT_RUN),
        ("user", "And tomorrow?"),
    ]
    says(call, "Sun.")
    await read_events(response)
    assert await roles(chat) == ["user", "assistant", "tool", "user", "assistant"]


async def test_refused_results_can_be_answered_again(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    model.refuse = (400, "")
    await read_events(await give(chat))
    await stop_refusing(model)
    await answer_again(chat, model)
    await chat.send("And tomorrow?")
    assert [each["content"] for each in (await model.call()).request["messages"]] == [
        "Weather?",
        "",
        "rain",
        "It rains.",
        "And tomorrow?",
    ]


async def test_an_answer_that_failed_can_be_asked_for_again(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    response = await give(chat)
    (await model.call()).cut()
    assert (await read_events(response))[-1].data["message_id"] is None
    assert await roles(chat) == ["user", "assistant", "tool"]
    assert (await chat.get())["unanswered"]["error"] == "inference_interrupted"
    await answer_again(chat, model)


async def test_while_an_answer_runs(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model)
    again = await chat.regenerate()
    call = await model.call()
    refused = await refusal(await give(chat, when_running="reject"))
    assert refused[:2] == (409, "generation_running")
    response = await give(chat, when_running="supersede")
    assert (await read_events(again))[-1].data["finish_reason"] == "stopped"
    await call.closed.wait()
    says(await model.call(), "It rains.")
    await read_events(response)
    assert await chat.messages() == WHOLE


async def test_a_key_of_another_message_is_refused(chat: Chat, model: ModelServer) -> None:
    response = await chat.send("Weather?", key="k")
    calls_tools(await model.call(), "c1")
    await read_events(response)
    assert (await refusal(await give(chat, key="k")))[:2] == (422, "idempotency_key_reused")


async def test_results_count_as_a_message(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    limited = Settings.model_validate({**openai.model_dump(), "sends_per_user": "1/hour"})
    chat = await open_chat(await start(limited), user)
    await ask(chat, model)
    assert (await refusal(await give(chat)))[:2] == (429, "sending_too_fast")
    assert await roles(chat) == ["user", "assistant"]


async def test_many_rounds_keep_the_question(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    client: Client = await start(openai.model_copy(update={"max_conversation_history": 2}))
    chat = await open_chat(client, user)
    await ask(chat, model, "c0")
    for number in range(4):
        response = await give(chat, {"tool_call_id": f"c{number}", "content": str(number)})
        calls_tools(await model.call(), f"c{number + 1}")
        await read_events(response)
    call = await answered(chat, model, {"tool_call_id": "c4", "content": "4"})
    assert len(call.request["messages"]) == 11
    response = await chat.regenerate()
    call = await model.call()
    assert len(call.request["messages"]) == 11
    says(call, "x")
    await read_events(response)


async def test_an_attempt_that_never_reached_the_model_is_tried_again(chat: Chat, model: ModelServer) -> None:
    await ask(chat, model, "c1", "c2")
    results = [RAIN, {"tool_call_id": "c2", "content": "31"}]
    model.refuse = 503, ""
    for _ in range(2):
        assert (await refusal(await give(chat, *results, stream=False)))[:2] == (503, "inference_unavailable")
        await model.call()
    model.refuse = None
    again = await give(chat, *results)
    call = await model.call()
    assert [message["role"] for message in call.request["messages"]] == ["user", "assistant", "tool", "tool"]
    says(call, "It rains.")
    await read_events(again)
    assert await chat.messages() == [*WHOLE[:3], ("tool", "31", None), WHOLE[3]]
