"""The nanochat protocol, exactly as in docs/contract.md section 4, and within the service's limits."""

from __future__ import annotations

import json

import pytest

from chat_api.inference import Options, Prompt, Turn
from chat_api.inference.base import GO_ON
from chat_api.inference.nanochat import fit
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.auth_service import AuthService
from tests.support.chat import Chat, open_chat
from tests.support.endpoints import only_endpoint
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import open_tab


def prompt(*contents: str, system: str = "") -> Prompt:
    """A prompt with these contents, alternately the user's and the assistant's, the last one the user's."""
    turns = [Turn("assistant" if place % 2 else "user", content) for place, content in enumerate(contents)]
    assert turns[-1].role == "user"
    return Prompt(system, turns, "default", Options(0.8, 1024, None))


async def test_the_request_is_the_contracts(chat: Chat, model: ModelServer, auth: AuthService) -> None:
    await chat.exchange(model, "Hello")
    await chat.send("Second")
    call = await model.call()
    assert call.path == "/generate"
    assert call.headers["X-Internal-API-Key"] == auth.internal_key
    assert call.headers["Content-Type"] == "application/json"
    assert "Authorization" not in call.headers
    assert call.request == {
        "messages": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello"},
            {"role": "user", "content": "Second"},
        ],
        "temperature": 0.8,
        "max_tokens": 1024,
        "top_k": 50,
    }


async def test_other_fields_of_an_event_pass_through(chat: Chat, model: ModelServer) -> None:
    response, call, _ = await chat.begin(model)
    fields = {"gpu": 3, "logprob": -0.5, "top": ["é", {"x": None}], "error": None, "done": False}
    call.send({"token": "a", **fields}, {"queue": 2}, {"token": "b", "done": True, "stats": {"n": 1}})
    first, own, second, done = await read_events(response)
    del fields["done"]
    assert first.data == {"token": "a", **fields}
    assert own.data == {"queue": 2}
    assert second.data == {"token": "b", "stats": {"n": 1}}
    assert (done.seq, done.data["token_count"]) == (4, 2)


@pytest.mark.parametrize(("given", "reason"), [("length", "length"), ("stop", "stop"), (7, "stop")])
async def test_a_finish_reason_is_kept(chat: Chat, model: ModelServer, given: object, reason: str) -> None:
    response, call, _ = await chat.begin(model, "a")
    call.send({"done": True, "finish_reason": given})
    assert (await read_events(response))[-1].data["finish_reason"] == reason
    assert (await chat.messages())[1] == ("assistant", "a", reason)


@pytest.mark.parametrize(
    ("host", "path"), [("me--chat.modal.run", ""), ("me--chat.modal.run.example.com", "/generate")]
)
async def test_only_at_a_modal_host_the_url_itself_takes_the_request(
    settings: Settings, host: str, path: str
) -> None:
    from chat_api.inference import Nanochat

    given = settings.model_copy(update={"inference_service_url": f"https://{host}"})
    nanochat = Nanochat(only_endpoint(given), None)  # type: ignore[arg-type]
    assert str(nanochat._upstream._url) == f"https://{host}{path}"


async def test_the_system_prompt_joins_the_first_user_message(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    given = settings.model_copy(update={"system_prompt": "Be kind."})
    chat = await open_chat(await start(given), user)
    await chat.exchange(model, "Hello")
    assert model.requests[0].request["messages"] == [{"role": "user", "content": "Be kind.\n\nHi"}]
    await chat.send("Second")
    call = await model.call()
    assert [message["content"] for message in call.request["messages"]] == [
        "Be kind.\n\nHi",
        "Hello",
        "Second",
    ]
    assert (await chat.messages())[0] == ("user", "Hi", None)


class TestFittingTheLimits:
    def test_a_short_prompt_stays_as_it_is(self) -> None:
        given = prompt("a", "b", "c")
        assert fit(given) == given.turns

    def test_the_oldest_turns_go_first_and_the_user_begins(self) -> None:
        turns = fit(prompt(*(str(digit) * 7000 for digit in range(7))))
        assert [turn.content[0] for turn in turns] == ["4", "5", "6"]
        assert turns[0].role == "user"

    def test_the_sum_is_exact(self) -> None:
        exact = ["a" * 6400] * 4 + ["b" * 6400]
        assert fit(prompt(*exact)) == prompt(*exact).turns
        assert len(fit(prompt(*exact[:-1], "b" * 6401))) == 3

    def test_no_more_than_500_messages(self) -> None:
        turns = fit(prompt(*map(str, range(601))))
        assert len(turns) == 499  # the 500th was the assistant's
        assert (turns[0], turns[-1]) == (Turn("user", "102"), Turn("user", "600"))

    def test_of_a_turn_that_is_too_long_the_newest_part_stays(self) -> None:
        """Questions that were never answered form one turn, and the last of them is the current one."""
        turns = fit(prompt("x" * 8000 + "\n\nthe question"))
        assert len(turns[0].content) == 8000
        assert turns[0].content.endswith("x\n\nthe question")

    @pytest.mark.parametrize("content", ["x" * 8000, "x" * 7999, "x"])
    def test_the_instructions_give_way_to_the_user(self, content: str) -> None:
        [turn] = fit(prompt(content, system="s" * 9000))
        assert len(turn.content) <= 8000
        assert turn.content.endswith(content)

    def test_an_empty_turn_is_left_out(self) -> None:
        """An answer of thinking alone has no text, and the service refuses an empty message."""
        assert [turn.content for turn in fit(prompt("a", "", "b"))] == ["a", "b"]
        assert [turn.content for turn in fit(prompt("a", "b", ""))] == ["a", "b", ""]  # a question stays

    def test_the_instructions_count(self) -> None:
        turns = fit(prompt(*["a" * 6400] * 5, system="s" * 1000))
        assert len(turns) == 3
        assert sum(len(turn.content) for turn in turns) <= 32_000

    def test_an_answer_that_goes_on_keeps_its_question_and_its_end(self) -> None:
        given = prompt(*["a" * 8000] * 6, "b" * 7999 + "?", system="s" * 9000)
        answer = Turn("assistant", "c" * 9000 + "the end")
        turns = fit(Prompt(given.system, [*given.turns, answer], "m", given.options, goes_on=True))
        question, partial, asking = turns[-3:]
        assert question.content[-1] == "?"
        assert partial.content == answer.content[-8000:]
        assert asking == Turn("user", GO_ON)
        assert sum(len(turn.content) for turn in turns) <= 32_000


async def test_a_long_conversation_stays_within_the_limits(
    start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    given = settings.model_copy(update={"max_token_budget": 1_000_000, "system_prompt": "s" * 500})
    chat = await open_chat(await start(given), user)
    for _ in range(3):
        sending = await chat.send("u" * 8000)
        (await model.call()).finish("a" * 9000)
        await sending.read()
    response = await chat.send("now")
    call = await model.call()
    sizes = [len(message["content"]) for message in call.request["messages"]]
    assert max(sizes) <= 8000
    assert sum(sizes) <= 32_000
    assert call.request["messages"][0]["role"] == "user"
    assert json.dumps(call.request["messages"][-1]) == '{"role": "user", "content": "now"}'
    call.finish("x")
    assert text_of(await read_events(response)) == "x"


@pytest.mark.parametrize("ending", [b" ", b"\t", b" \t "])
async def test_white_space_after_an_event_reaches_no_frame(
    client: Client, user: dict[str, str], chat: Chat, model: ModelServer, ending: bytes
) -> None:
    response, call, _ = await chat.begin(model)
    async with open_tab(client, user) as tab:
        await tab.ask("subscribe", chat.path)
        call.send_bytes(b'data: {"token":"a","gpu":0}%b\n\n' % ending)
        call.finish("b")
        frames = await tab.events()
    assert [frame.get("token") for frame in frames] == [None, "a", "b", None]
    assert text_of(await read_events(response)) == "ab"


async def test_an_event_that_is_nested_deeply_holds_up_no_reader_at_another_worker(
    chat: Chat, model: ModelServer, start: Start, settings: Settings
) -> None:
    other = await start(settings)
    response, call, _ = await chat.begin(model, "a")
    attached = await other.get(f"{chat.path}/stream", headers=chat.user)
    call.send_bytes(b'data: {"token":"b","x":%b%b}\n\n' % (b"[" * 300, b"]" * 300))
    call.finish("c")
    here = await read_events(response)
    assert [event.data for event in await read_events(attached)][2:] == [event.data for event in here]
    assert (text_of(here), here[-1].data["finish_reason"]) == ("c", "stop")
