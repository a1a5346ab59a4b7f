"""An answer that was cut goes on: as a version whose text begins with the old one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from chat_api.inference.base import GO_ON
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, no_answer_lives, open_chat, until
from tests.support.model_server import Call, ModelServer
from tests.support.queries import kill_workers
from tests.support.reader import Seen, read_events, reset_to, text_of
from tests.support.tab import open_tab, words

Messages = list[tuple[str, str, str | None]]
HALF: Messages = [("user", "Hi", None), ("assistant", "half", "length")]


def cut(call: Call, *tokens: str) -> None:
    """The answer reaches its maximum length."""
    call.say(*tokens)
    call.send({"done": True, "finish_reason": "length"})
    call.close()


@pytest.fixture
async def half(chat: Chat, model: ModelServer) -> str:
    """A question with an answer that was cut; its id."""
    response = await chat.send()
    cut(await model.call(), "half")
    message_id: str = (await read_events(response))[-1].data["message_id"]
    return message_id


async def going_on(
    chat: Chat, model: ModelServer, *tokens: str, key: str | None = None, **options: Any
) -> tuple[Call, list[Seen]]:
    """Go on and let the model say these tokens: the call, and the events."""
    response = await chat.go_on(key, **options)
    assert response.status == 200, await response.text()
    call = await model.call()
    call.finish(*tokens)
    return call, await read_events(response)


def said(call: Call) -> list[tuple[str, str]]:
    """The turns that the model got."""
    return [(turn["role"], turn["content"]) for turn in call.request["messages"]]


async def test_it_begins_with_the_old_text_and_stands_beside_it(
    chat: Chat, model: ModelServer, half: str
) -> None:
    call, seen = await going_on(chat, model, " and", " half")
    assert said(call) == [("user", "Hi"), ("assistant", "half"), ("user", GO_ON)]
    assert [event.data for event in seen[1:4]] == [
        {"token": "half"},
        {"token": " and", "gpu": 0},
        {"token": " half", "gpu": 0},
    ]
    assert seen[0].data["history"] == {"sent": 2, "left_out": 0}
    question, answer = (await chat.get())["messages"]
    assert seen[0].data["user_message_id"] == question["id"]
    assert (answer["content"], answer["finish_reason"]) == ("half and half", "stop")
    assert answer["id"] == seen[-1].data["message_id"]
    assert answer["siblings"] == {"index": 1, "ids": [half, answer["id"]]}
    await chat.show(half)
    assert await chat.messages() == HALF


async def test_it_goes_on_as_often_as_it_is_cut(chat: Chat, model: ModelServer, half: str) -> None:
    response = await chat.go_on()
    cut(await model.call(), " and")
    await read_events(response)
    assert (await chat.messages())[1] == ("assistant", "half and", "length")
    call, _ = await going_on(chat, model, " half")
    assert said(call)[1] == ("assistant", "half and")
    assert (await chat.messages())[1] == ("assistant", "half and half", "stop")
    assert len((await chat.get())["messages"][1]["siblings"]["ids"]) == 3


@pytest.mark.parametrize("reason", ["stopped", "interrupted"])
async def test_one_that_was_stopped_or_broke_off_goes_on(chat: Chat, model: ModelServer, reason: str) -> None:
    response, call, _ = await chat.begin(model, "half")
    if reason == "stopped":
        await chat.stop()
    else:
        call.cut()
    await read_events(response)
    assert (await chat.messages())[1] == ("assistant", "half", reason)
    await going_on(chat, model, "!")
    assert (await chat.messages())[1] == ("assistant", "half!", "stop")


async def test_the_model_is_asked_for_the_rest_of_one_in_the_middle(
    chat: Chat, model: ModelServer, half: str
) -> None:
    await chat.exchange(model, "more")
    call, _ = await going_on(chat, model, "!", message_id=half)
    assert said(call) == [("user", "Hi"), ("assistant", "half"), ("user", GO_ON)]
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "half!"]
    await chat.show(half)
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "half", "Hi", "more"]


async def test_one_that_is_not_shown_goes_on_where_it_stands(
    chat: Chat, model: ModelServer, half: str
) -> None:
    model.say = ["new"]
    await (await chat.regenerate()).read()
    await model.call()
    model.say = None
    await going_on(chat, model, "!", message_id=half)
    assert [content for _, content, _ in await chat.messages()] == ["Hi", "half!"]
    assert len((await chat.get())["messages"][1]["siblings"]["ids"]) == 3


async def test_only_an_answer_that_was_cut_goes_on(chat: Chat, model: ModelServer) -> None:
    async def refused(**options: Any) -> bool:
        response = await chat.go_on(**options)
        return (response.status, (await response.json())["code"]) == (400, "nothing_to_continue")

    assert await refused()
    seen = await chat.exchange(model, "whole")
    question, answer = seen[0].data["user_message_id"], seen[-1].data["message_id"]
    assert await refused()
    assert await refused(message_id=answer)
    assert await refused(message_id=question)
    model.refuse = (500, "")
    await (await chat.send()).read()
    assert await refused()
    assert len(model.requests) == 2


async def fail(call: Call, _: Chat) -> None:
    call.send_bytes(b"data: garbage\n\n")


async def say_nothing(call: Call, _: Chat) -> None:
    call.finish()


async def stop(_: Call, chat: Chat) -> None:
    await chat.stop()


async def break_off(call: Call, _: Chat) -> None:
    call.cut()


Ending = Callable[[Call, Chat], Awaitable[None]]


@pytest.mark.parametrize(
    ("end", "told"),
    [
        (fail, ["inference_broken"]),
        (say_nothing, ["answer_empty"]),
        (break_off, ["inference_interrupted"]),
        (stop, []),
    ],
)
async def test_if_nothing_is_added_the_old_answer_stays_alone(
    chat: Chat, model: ModelServer, half: str, end: Ending, told: list[str]
) -> None:
    response = await chat.go_on()
    await end(await model.call(), chat)
    seen = await read_events(response)
    assert [event.data for event in seen[1:2]] == [{"token": "half"}]
    assert [event.data["error"] for event in seen if "error" in event.data] == told
    assert (seen[-2].data, seen[-1].data["message_id"]) == (reset_to(""), None)
    assert await chat.messages() == HALF
    assert (await chat.get())["messages"][1]["siblings"] is None
    # The next try goes on.
    await going_on(chat, model, "!")
    assert (await chat.messages())[1] == ("assistant", "half!", "stop")


@pytest.mark.parametrize(("end", "status"), [(fail, 502), (say_nothing, 502), (stop, 200)])
async def test_without_stream_the_whole_is_returned_or_the_error(
    chat: Chat, model: ModelServer, half: str, end: Ending, status: int
) -> None:
    going = asyncio.create_task(chat.go_on(stream=False))
    await end(await model.call(), chat)
    response = await going
    assert response.status == status
    if status == 200:
        assert (await response.json())["message"] is None
    model.say = [" and", " half"]
    body = await (await chat.go_on(stream=False)).json()
    assert body["message"]["content"] == "half and half"
    assert body["message"] == (await chat.get())["messages"][1]


@pytest.mark.parametrize(("end", "reason"), [(break_off, "interrupted"), (stop, "stopped")])
async def test_what_was_added_before_it_broke_off_is_kept(
    chat: Chat, model: ModelServer, half: str, end: Ending, reason: str
) -> None:
    response = await chat.go_on()
    call = await model.call()
    call.say(" and")
    await read_events(response, 3)
    await end(call, chat)
    await read_events(response)
    assert (await chat.messages())[1:] == [("assistant", "half and", reason)]
    assert (await chat.get())["messages"][1]["siblings"]["ids"][0] == half


async def test_a_retry_goes_on_once(chat: Chat, model: ModelServer, half: str) -> None:
    model.say = ["!"]
    first = await read_events(await chat.go_on("k"))
    assert await read_events(await chat.go_on("k")) == first
    assert await read_events(await chat.go_on("k", message_id=half)) == first
    assert (await chat.messages())[1:] == [("assistant", "half!", "stop")]
    assert len(model.requests) == 2
    reused = await chat.send(key="k")
    assert (await reused.json())["detail"][0]["type"] == "idempotency_key_reused"


async def test_a_retry_of_one_that_never_reached_the_model_tries_again(
    chat: Chat, model: ModelServer, half: str
) -> None:
    model.refuse = (503, "")
    seen = await read_events(await chat.go_on("k"))
    assert [event.data.get("error") for event in seen] == [None, None, "inference_unavailable", None, None]
    model.refuse, model.say = None, ["!"]
    assert text_of(await read_events(await chat.go_on("k"))) == "half!"
    assert (await chat.messages())[1:] == [("assistant", "half!", "stop")]


async def test_a_running_answer_is_in_the_way(chat: Chat, model: ModelServer, half: str) -> None:
    response = await chat.go_on()
    call = await model.call()
    for refused in (await chat.go_on(), await chat.go_on(message_id=half)):
        assert (refused.status, (await refused.json())["code"]) == (409, "generation_running")
    call.say(" and")
    await read_events(response, 3)
    again = await chat.go_on(when_running="supersede")
    call = await model.call()
    assert said(call)[1] == ("assistant", "half and")
    call.finish(" half")
    await read_events(again)
    assert (await chat.messages())[1:] == [("assistant", "half and half", "stop")]


async def test_readers_on_another_worker_get_the_old_text_too(
    start: Start, settings: Settings, chat: Chat, model: ModelServer, half: str
) -> None:
    elsewhere = Chat(await start(settings), chat.path, chat.user)
    response = await chat.go_on()
    call = await model.call()
    call.say(" and")
    begun = await read_events(response, 3)
    attached = await elsewhere.attach()
    assert await read_events(attached, 3) == begun
    call.finish(" half")
    rest = await read_events(response)
    assert await read_events(attached) == rest
    assert text_of(begun + rest) == "half and half"


@pytest.mark.parametrize("tokens", [[], [" and"]], ids=["nothing", "a word"])
async def test_a_worker_that_dies_leaves_what_it_added_beside_the_old(
    start: Start, settings: Settings, chat: Chat, model: ModelServer, half: str, sql: Sql, tokens: list[str]
) -> None:
    response = await chat.go_on()
    call = await model.call()
    call.say(*tokens)
    await read_events(response, 2 + len(tokens))
    journalled = (
        "select exists (select from journal as j inner join generations as g on j.generation_id = g.id"
        " where g.status = 'running' and j.next_seq = $1)"
    )
    await until(lambda: sql.fetchval(journalled, 2 + len(tokens)))
    await kill_workers(sql)
    hasty = settings.model_copy(update={"worker_lease": 1.5})  # looks for dead workers every 0.3 s
    other = Chat(await start(hasty), chat.path, chat.user)

    async def is_over() -> bool:
        return (await other.get())["generation"] is None

    await until(is_over)
    assert await other.messages() == HALF
    siblings = (await other.get())["messages"][1]["siblings"]
    if tokens:
        await other.show(siblings["ids"][1])
        assert (await other.messages())[1:] == [("assistant", "half and", "interrupted")]
    else:
        assert siblings is None
    call.finish()
    await no_answer_lives()


async def test_a_socket_goes_on(client: Client, chat: Chat, model: ModelServer, half: str) -> None:
    async with open_tab(client, chat.user) as tab:
        for fields in ({}, {"message_id": half}):
            ack = await tab.ask("continue", chat.path, **fields)
            assert ack["type"] == "ack", ack
            call = await model.call()
            assert said(call)[1] == ("assistant", "half")
            cut(call, "!") if fields else await fail(call, chat)
            frames = await tab.events()
            ended = ["token", "done"] if fields else ["error", "reset", "done"]
            assert [frame["type"] for frame in frames] == ["start", "token", *ended]
        assert words(frames) == "half!"
        assert (await chat.messages())[1:] == [("assistant", "half!", "length")]


class TestWithOpenAI:
    """What the model server is sent, by INFERENCE_CONTINUE."""

    @staticmethod
    async def chat(
        start: Start, settings: Settings, user: dict[str, str], model: ModelServer, how: str
    ) -> Chat:
        openai = {
            "inference_protocol": "openai",
            "inference_service_url": f"{model.url}/v1",
            "inference_continue": how,
            "system_prompt": "Be kind.",
        }
        return await open_chat(await start(settings.model_copy(update=openai)), user)

    @staticmethod
    def say(call: Call, reason: str, **delta: str) -> None:
        call.send({"choices": [{"index": 0, "delta": delta, "finish_reason": reason}]})
        call.send_bytes(b"data: [DONE]\n\n")
        call.close()

    @pytest.mark.parametrize(
        ("how", "last", "added"),
        [
            ("ask", [{"role": "user", "content": GO_ON}], {}),
            ("prefill", [], {}),
            ("vllm", [], {"continue_final_message": True, "add_generation_prompt": False}),
        ],
    )
    async def test_an_answer_goes_on_as_the_setting_says(
        self,
        start: Start,
        settings: Settings,
        user: dict[str, str],
        model: ModelServer,
        how: str,
        last: list[dict[str, str]],
        added: dict[str, bool],
    ) -> None:
        chat = await self.chat(start, settings, user, model, how)
        response = await chat.send()
        call = await model.call()
        asked = dict(call.request)
        self.say(call, "length", content="half")
        await read_events(response)
        response = await chat.go_on()
        call = await model.call()
        partial = {"role": "assistant", "content": "half"}
        assert call.request == asked | added | {"messages": [*asked["messages"], partial, *last]}
        self.say(call, "stop", content=" and half")
        assert text_of(await read_events(response)) == "half and half"
        # A regeneration of it is a plain one.
        response = await chat.regenerate()
        call = await model.call()
        assert call.request == asked
        self.say(call, "stop", content="whole")
        await read_events(response)
        assert (await chat.messages())[1:] == [("assistant", "whole", "stop")]

    async def test_thinking_goes_on_too(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
    ) -> None:
        """Thinking isn't sent back: the model thinks again, and all of it is kept."""
        chat = await self.chat(start, settings, user, model, "prefill")
        response = await chat.send()
        call = await model.call()
        call.send({"choices": [{"index": 0, "delta": {"reasoning_content": "Hm."}}]})
        self.say(call, "length", content="half")
        await read_events(response)
        response = await chat.go_on()
        call = await model.call()
        assert call.request["messages"][-1] == {"role": "assistant", "content": "half"}
        call.send({"choices": [{"index": 0, "delta": {"reasoning_content": " Oh."}}]})
        self.say(call, "stop", content="!")
        seen = await read_events(response)
        pieces = [{"reasoning": "Hm."}, {"token": "half"}, {"reasoning": " Oh."}, {"token": "!"}]
        assert [event.data for event in seen[1:-1]] == pieces
        answer = (await chat.get())["messages"][1]
        assert (answer["content"], answer["reasoning"]) == ("half!", "Hm. Oh.")

    @pytest.mark.parametrize("how", ["ask", "prefill", "vllm"])
    async def test_what_was_cut_while_it_only_thought_is_asked_anew(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer, how: str
    ) -> None:
        chat = await self.chat(start, settings, user, model, how)
        response = await chat.send()
        call = await model.call()
        asked = dict(call.request)
        self.say(call, "length", reasoning_content="Hm.")
        assert (await read_events(response))[-2].data["error"] == "answer_cut_before_text"
        response = await chat.go_on()
        call = await model.call()
        assert call.request == asked
        self.say(call, "stop", content="Hello.")
        await read_events(response)
        answer = (await chat.get())["messages"][1]
        assert (answer["content"], answer["reasoning"]) == ("Hello.", "Hm.")

    async def test_calls_that_were_cut_are_not_made(
        self, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
    ) -> None:
        chat = await self.chat(start, settings, user, model, "prefill")
        response = await chat.send()
        call = await model.call()
        call.send({"choices": [{"index": 0, "delta": {"content": "half"}}]})
        piece = {"index": 0, "id": "c1", "function": {"name": "weather", "arguments": '{"ci'}}
        call.send({"choices": [{"index": 0, "delta": {"tool_calls": [piece]}, "finish_reason": "length"}]})
        call.send_bytes(b"data: [DONE]\n\n")
        call.close()
        await read_events(response)
        response = await chat.go_on()
        call = await model.call()
        assert call.request["messages"][1:] == [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "half"},
        ]
        self.say(call, "stop", content="!")
        await read_events(response)
        answer = (await chat.get())["messages"][1]
        assert (answer["content"], answer["tool_calls"]) == ("half!", None)


async def test_the_longest_answer_takes_one_more_token_at_a_time(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    """MAX_ANSWER_CHARACTERS counts the whole."""
    chat = await open_chat(await start(settings.model_copy(update={"max_answer_characters": 1000})), user)
    response = await chat.send()
    (await model.call()).say("x" * 1000)
    await read_events(response)
    response = await chat.go_on()
    call = await model.call()
    call.say("y", "z")
    await read_events(response)
    role, content, reason = (await chat.messages())[1]
    assert (role, content[998:], reason) == ("assistant", "xxy", "length")


@pytest.mark.parametrize("where", ["here", "\0", 5, {}], ids=repr)
async def test_what_can_be_no_id_is_refused(chat: Chat, model: ModelServer, half: str, where: object) -> None:
    response = await chat.go_on(message_id=where)
    assert response.status == 422
    assert (await response.json())["detail"][0]["loc"] == ["body", "message_id"]
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "text", ["🦜" * 3000, 'e\u0301\u202e\u05e9 \\ "', "a\n\n"], ids=["emoji", "rtl", "lines"]
)
async def test_any_text_goes_on_unchanged(chat: Chat, model: ModelServer, text: str) -> None:
    response = await chat.send()
    cut(await model.call(), text)
    await read_events(response)
    call, seen = await going_on(chat, model, text)
    assert said(call)[1] == ("assistant", text)
    assert text_of(seen) == text * 2
    assert (await chat.messages())[1] == ("assistant", text * 2, "stop")
