"""Sending a message: what is stored, what is streamed, what is refused."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from chat_api.http.context import GENERATIONS
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, Client, Sql, open_chat
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of

STRANGE = {
    "emoji": "\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f95f",
    "right-to-left": "\u05e9\u05dc\u05d5\u05dd \u202e\u200f \u0645\u0631\u062d\u0628\u0627",
    "combining": "Z\u0351\u036b\u0343\u036a A\u0334\u0335\u031c",
    "line ends": "a\nb\r\nc\u2028d\u2029e\x85f",
    "looks like an event": 'data: {"done":true}\n\nid: 7\n\n',
    "SQL": "'); drop table messages; --",
    "control characters": "\x01\x08\x1b[31m\x7f",
    "spaces alone": " \t ",
    "8,000 characters beyond the basic plane": "\U0001d54f" * 8000,
}


BESIDE = {"reasoning": None, "tool_calls": None, "tool_call_id": None, "usage": None}


async def test_who_polls_the_list_learns_that_a_question_came_and_then_its_answer(
    chat: Chat, model: ModelServer
) -> None:
    async def listed() -> dict[str, str]:
        """The conversations in the order of the list, and their `updated_at`."""
        response = await chat.client.get("/api/conversations", headers=chat.user)
        return {each["id"]: each["updated_at"] for each in (await response.json())["items"]}

    own = chat.path.rpartition("/")[2]
    await open_chat(chat.client, chat.user)
    created = await listed()
    response, call, _ = await chat.begin(model)
    asked = await listed()
    await open_chat(chat.client, chat.user)
    assert list(await listed())[1] == next(iter(asked)) == own
    call.finish("a")
    await read_events(response)
    answered = await listed()
    assert next(iter(answered)) == own
    assert created[own] < asked[own] < answered[own]


async def test_an_answer_streams_in_the_contracts_form(chat: Chat, model: ModelServer) -> None:
    response = await chat.send("Hello")
    call = await model.call()
    call.finish("hel", "lo")
    body = (await response.read()).decode()
    assert response.headers["Content-Type"] == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-cache"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["X-Trace-Id"]
    stored = await chat.get()
    generation_id = body[len("id: ") :].partition(":")[0]
    question, answer = stored["messages"]
    time = answer["inference_time_ms"]
    assert body == (
        f'id: {UUID(generation_id)}:0\ndata: {{"generation_id":"{generation_id}",'
        f'"conversation_id":"{stored["id"]}","user_message_id":"{question["id"]}",'
        '"history":{"sent":1,"left_out":0}}\n\n'
        f'id: {generation_id}:1\ndata: {{"token":"hel","gpu":0}}\n\n'
        f'id: {generation_id}:2\ndata: {{"token":"lo","gpu":0}}\n\n'
        f'id: {generation_id}:3\ndata: {{"done":true,"message_id":"{answer["id"]}","finish_reason":"stop",'
        f'"token_count":2,"inference_time_ms":{time},"usage":{{"prompt_tokens":null,'
        '"completion_tokens":null,"reasoning_tokens":null,"cached_tokens":null}}\n\n'
    )


async def test_question_and_answer_are_stored_as_messages(chat: Chat, model: ModelServer) -> None:
    await chat.exchange(model, "hel", "lo")
    conversation = await chat.get()
    question, answer = conversation["messages"]
    question_id = question["id"]
    for message in question, answer:
        assert UUID(message.pop("id"))
        assert message.pop("created_at").endswith("+00:00")
        assert message.pop("conversation_id") == conversation["id"]
    assert question == {
        "role": "user",
        "content": "Hi",
        "token_count": 0,
        "model_tag": "",
        "inference_time_ms": 0,
        "finish_reason": None,
        **BESIDE,
        "parent_id": None,
        "siblings": None,
    }
    assert answer.pop("inference_time_ms") >= 0
    assert answer == {
        "role": "assistant",
        "content": "hello",
        "token_count": 2,
        "model_tag": "default",
        "finish_reason": "stop",
        **BESIDE,
        "parent_id": question_id,
        "siblings": None,
    }
    assert conversation["generation"] is None
    assert conversation["updated_at"] > conversation["created_at"]


async def test_without_stream_the_answer_comes_whole(chat: Chat, model: ModelServer) -> None:
    model.say = ["hel", "lo"]
    response = await chat.send(stream=False)
    assert (response.status, response.content_type) == (200, "application/json")
    question, answer = (await chat.get())["messages"]
    assert await response.json() == {"user_message": question, "message": answer}


async def test_a_reloaded_page_learns_what_is_running(chat: Chat, model: ModelServer) -> None:
    response, call, seen = await chat.begin(model, "a")
    conversation = await chat.get()
    generation = conversation["generation"]
    [question] = conversation["messages"]
    assert conversation["created_at"] < generation.pop("started_at") <= question["created_at"]
    assert generation == {
        "id": seen[0].data["generation_id"],
        "conversation_id": conversation["id"],
        "user_message_id": question["id"],
        "status": "running",
        "last_event_id": seen[-1].id,
    }
    call.finish()
    await read_events(response)


@pytest.mark.parametrize("content", STRANGE.values(), ids=STRANGE.keys())
async def test_any_text_goes_through_unchanged(chat: Chat, model: ModelServer, content: str) -> None:
    response = await chat.send(content)
    call = await model.call()
    assert call.request["messages"] == [{"role": "user", "content": content}]
    call.finish(content, content)
    assert text_of(await read_events(response)) == content * 2
    assert [message[1] for message in await chat.messages()] == [content, content * 2]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "validation_failed"),
        ({"content": ""}, 422, "validation_failed"),
        ({"content": None}, 422, "validation_failed"),
        ({"content": 5}, 422, "validation_failed"),
        ({"content": "x" * 8001}, 422, "validation_failed"),
        ({"content": "nul\0"}, 422, "validation_failed"),
        ({"content": "x", "temperature": 2.1}, 422, "validation_failed"),
        ({"content": "x", "temperature": -0.1}, 422, "validation_failed"),
        ({"content": "x", "max_tokens": 0}, 422, "validation_failed"),
        ({"content": "x", "max_tokens": 4097}, 422, "validation_failed"),
        ({"content": "x", "max_tokens": 1.5}, 422, "validation_failed"),
        ({"content": "x", "top_k": -1}, 422, "validation_failed"),
        ({"content": "x", "top_k": 201}, 422, "validation_failed"),
        ({"content": "x", "stream": "maybe"}, 422, "validation_failed"),
        ([], 422, "validation_failed"),
        (None, 422, "validation_failed"),
        (b'{"content": "half \\ud83d surrogate"}', 400, "invalid_json"),
        (b'{"content": "\xff"}', 400, "invalid_json"),
        (b'{"content": "x", "temperature": NaN}', 422, "validation_failed"),
        (b'{"content": "x', 400, "invalid_json"),
        (b'{"content":"' + b"x" * 262_144 + b'"}', 413, "body_too_large"),
    ],
)
async def test_a_bad_body_is_refused_and_stores_nothing(
    chat: Chat, model: ModelServer, body: Any, status: int, code: str
) -> None:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    headers = {**chat.user, "Content-Type": "application/json"}
    response = await chat.client.post(f"{chat.path}/messages", headers=headers, **sent)
    answer = await response.json()
    assert (response.status, answer["code"]) == (status, code)
    if status == 422:
        assert all(problem.keys() == {"type", "loc", "msg"} for problem in answer["detail"])
    else:
        assert isinstance(answer["detail"], str)
    assert await chat.messages() == []
    assert model.requests == []


@pytest.mark.parametrize(
    ("path", "field", "most"),
    [
        ("/messages", "content", 8000),
        ("", "title", 500),
        ("/tool_results", "results", 65_536),
    ],
)
async def test_a_text_of_the_wrong_length_is_told_in_characters(
    chat: Chat, path: str, field: str, most: int
) -> None:
    async def problem(text: str) -> dict[str, Any]:
        body = {field: [{"tool_call_id": text, "content": ""}] if field == "results" else text}
        ask = chat.client.post if path else chat.client.put
        response = await ask(f"{chat.path}{path}", headers=chat.user, json=body)
        assert response.status == 422
        problem: dict[str, Any] = (await response.json())["detail"][0]
        return problem

    long, short = await problem("x" * (most + 1)), await problem("")
    assert (long["type"], long["msg"]) == (
        "string_too_long",
        f"String should have at most {most} characters",
    )
    assert (short["type"], short["msg"]) == ("string_too_short", "String should have at least 1 character")


async def test_a_body_that_is_not_called_json_is_refused(chat: Chat) -> None:
    response = await chat.client.post(f"{chat.path}/messages", headers=chat.user, data='{"content": "x"}')
    assert (response.status, (await response.json())["code"]) == (415, "not_json")


async def test_options_reach_the_model_and_unknown_fields_do_not(chat: Chat, model: ModelServer) -> None:
    model.say = []
    await chat.send("Hi", temperature=0, max_tokens=4096, top_k=0, role="system", conversation_id="x")
    call = await model.call()
    messages = [{"role": "user", "content": "Hi"}]
    assert call.request == {"messages": messages, "temperature": 0, "max_tokens": 4096, "top_k": 0}


async def test_null_options_mean_the_defaults(chat: Chat, model: ModelServer) -> None:
    model.say = ["x"]
    response = await chat.send("Hi", temperature=None, max_tokens=None, top_k=None, stream=None)
    assert response.content_type == "text/event-stream"
    call = await model.call()
    assert (call.request["temperature"], call.request["max_tokens"], call.request["top_k"]) == (0.8, 1024, 50)


async def test_a_second_message_waits_its_turn(chat: Chat, model: ModelServer) -> None:
    response, call, seen = await chat.begin(model)
    for refused in (await chat.send("Second"), await chat.regenerate(), await chat.send("3", stream=False)):
        assert refused.status == 409
        body = await refused.json()
        assert body.keys() == {"detail", "code", "generation_id"}
        assert body["code"] == "generation_running"
        assert body["generation_id"] == seen[0].data["generation_id"]
    call.finish("x")
    await read_events(response)
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "x", "stop")]


async def test_of_fifty_at_once_one_is_answered(chat: Chat, model: ModelServer) -> None:
    responses = await asyncio.gather(*(chat.send(f"Message {n}") for n in range(50)))
    [won] = [response for response in responses if response.status == 200]
    call = await model.call()
    [start] = await read_events(won, 1)
    for response in responses:
        if response is not won:
            assert response.status == 409
            assert (await response.json())["generation_id"] == start.data["generation_id"]
    call.finish("x")
    await read_events(won)
    assert [role for role, _, _ in await chat.messages()] == ["user", "assistant"]
    assert len(model.requests) == 1


async def test_conversations_do_not_wait_for_each_other(
    client: Client, model: ModelServer, chat: Chat
) -> None:
    other = await open_chat(client, chat.user)
    first, first_call, _ = await chat.begin(model, "a")
    await other.exchange(model, "b")
    first_call.finish("c")
    assert text_of(await read_events(first)) == "c"


@pytest.mark.parametrize("path", ["messages", "regenerate", "stop", "stream"])
@pytest.mark.parametrize("whose", ["somebody else's", "nobody's", "malformed"])
async def test_only_ones_own_conversation_is_there(
    chat: Chat, auth: AuthService, model: ModelServer, path: str, whose: str
) -> None:
    _, call, _ = await chat.begin(model, "a")
    user, conversation = chat.user, f"/api/conversations/{uuid4()}"
    if whose == "somebody else's":
        user, conversation = auth.sign_in(), chat.path
    elif whose == "malformed":
        conversation = "/api/conversations/1%27or%271"
    method = "GET" if path == "stream" else "POST"
    body = {"json": {"content": "Mine now"}} if path == "messages" else {}
    response = await chat.client.request(method, f"{conversation}/{path}", headers=user, **body)
    assert response.status == 404
    assert await response.json() == {
        "detail": "There is no such conversation.",
        "code": "conversation_not_found",
    }
    assert await chat.messages() == [("user", "Hi", None)]
    assert (await chat.get())["generation"]["status"] == "running"
    call.finish()


@pytest.mark.parametrize(
    ("content", "title"),
    [
        ("  What is\n\n a\tsamosa? ", "What is a samosa?"),
        ("x" * 81, "x" * 80),
        ("x" * 79 + "  y", "x" * 79),
        ("🥟" * 100, "🥟" * 80),
        (" \u00a0\u2003 ", "New conversation"),
    ],
    ids=["folded", "cut", "no space at the end", "characters, not bytes", "nothing to see"],
)
async def test_the_first_message_makes_the_title(
    chat: Chat, model: ModelServer, content: str, title: str
) -> None:
    model.say = ["x"]
    await (await chat.send(content)).read()
    assert (await chat.get())["title"] == title
    await (await chat.send("Another subject")).read()
    assert (await chat.get())["title"] == title


async def test_a_title_of_ones_own_stays(client: Client, chat: Chat, model: ModelServer) -> None:
    model.say = ["x"]
    named = await open_chat(client, chat.user, title="Recipes")
    await (await named.send()).read()
    assert (await named.get())["title"] == "Recipes"


@pytest.mark.parametrize("title", ["New chat", None])
async def test_placeholders_of_the_platform_give_way_too(
    chat: Chat, model: ModelServer, sql: Sql, title: str | None
) -> None:
    await sql.execute("update conversations set title = $1", title)
    await chat.exchange(model, "x")
    assert (await chat.get())["title"] == "Hi"


async def test_while_the_service_drains_nothing_begins(chat: Chat, model: ModelServer) -> None:
    await chat.client.app[GENERATIONS].drain()
    for response in (await chat.send(), await chat.send(stream=False), await chat.regenerate()):
        assert (response.status, response.headers["Retry-After"]) == (503, "5")
        assert (await response.json())["code"] == "draining"
    assert await chat.messages() == []
