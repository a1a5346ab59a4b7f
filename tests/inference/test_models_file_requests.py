"""MODELS_FILE, as model servers see it: what each model is sent, and what it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, Client, Sql, open_chat, until
from tests.support.models_file import ModelsFile, Table
from tests.support.reader import read_events, text_of
from tests.support.unsteady_server import FINE, HEAD, UnsteadyServer

Begin = Callable[..., Awaitable[Client]]
THOUGHT = b'data: {"choices":[{"delta":{"reasoning_content":"%s"}}]}\n\n'
SAID = b'data: {"choices":[{"delta":{"content":"%s"},"finish_reason":"%s"}]}\n\ndata: [DONE]\n\n'


@pytest.fixture
async def one() -> AsyncIterator[UnsteadyServer]:
    async with UnsteadyServer("one", lambda _: (FINE, 1)) as server:
        yield server


@pytest.fixture
async def two() -> AsyncIterator[UnsteadyServer]:
    async with UnsteadyServer("two", lambda _: (FINE, 1)) as server:
        yield server


@pytest.fixture
def begin(
    start: Start, settings: Settings, tmp_path: Path, one: UnsteadyServer, two: UnsteadyServer
) -> Begin:
    """Start the service with these models, which both servers have unless they say otherwise."""

    async def run(models: dict[str, Table], **update: Any) -> Client:
        servers = {"one": {"url": one.url}, "two": {"url": two.url}}
        given = {tag: {"servers": ["one", "two"], **keys} for tag, keys in models.items()}
        file = ModelsFile(tmp_path / "models.toml", servers, given)
        started: Client = await start(file.settings(settings, **update))
        return started

    return run


async def ask(chat: Chat, server: UnsteadyServer, content: str = "Hi", **options: Any) -> dict[str, Any]:
    """Send a message, and return what the server was sent for it."""
    before = len(server.requests)
    await read_events(await chat.send(content, **options))
    (request,) = server.requests[before:]
    return request


def told(request: dict[str, Any]) -> str | None:
    """The instructions in a request; None if there are none."""
    first = request["messages"][0]
    return first["content"] if first["role"] == "system" else None


async def test_each_server_is_asked_for_what_it_calls_the_model(
    begin: Begin, user: dict[str, str], one: UnsteadyServer, two: UnsteadyServer
) -> None:
    client = await begin(
        {
            "by-server": {"served_as": {"one": "org/model-8B", "two": "model:8b"}},
            "half": {"served_as": {"two": "model:8b"}},
            "same": {"served_as": "model"},
            "none": {},
        }
    )
    one.script = lambda _: ("closed", 0)
    for tag, names in {
        "by-server": ("org/model-8B", "model:8b"),
        "half": ("half", "model:8b"),
        "same": ("model", "model"),
        "none": ("none", "none"),
    }.items():
        chat = await open_chat(client, user, model_tag=tag)
        await read_events(await chat.send())
        assert (one.requests[-1]["model"], two.requests[-1]["model"]) == names


async def test_the_table_default_without_a_name_is_whatever_the_server_has(
    begin: Begin, user: dict[str, str], one: UnsteadyServer
) -> None:
    chat = await open_chat(await begin({"default": {}}), user)
    assert (await ask(chat, one))["model"] == "the model"


async def test_parameters_are_renamed_added_and_left_out(
    begin: Begin, user: dict[str, str], one: UnsteadyServer
) -> None:
    client = await begin(
        {
            "changed": {
                "omit": ["temperature", "stream_options"],
                "rename": {"top_k": "k", "max_completion_tokens": "limit"},
                "add": {"seed": 7, "extra": {"min_p": 0.1}},
                "max_tokens_field": "max_completion_tokens",
                "thinking": {"on": {"reasoning_effort": "high"}, "off": {"reasoning_effort": "none"}},
            },
            "plain": {},
        }
    )
    chat = await open_chat(client, user, model_tag="changed")
    sent = await ask(chat, one, top_k=9, temperature=0.3, max_tokens=50)
    assert sent == {
        "model": "changed",
        "messages": [{"role": "user", "content": "Hi"}],
        "k": 9,
        "limit": 50,
        "stream": True,
        "seed": 7,
        "extra": {"min_p": 0.1},
    }
    assert (await ask(chat, one, thinking_mode=True))["reasoning_effort"] == "high"
    assert (await ask(chat, one, thinking_mode=False))["reasoning_effort"] == "none"
    await chat.change(model_tag="plain")
    sent = await ask(chat, one, top_k=9, temperature=0.3, max_tokens=50)
    names = {"model", "messages", "stream", "stream_options", "temperature", "top_k", "max_tokens"}
    assert set(sent) == names


async def test_whose_instructions_a_model_is_told(
    begin: Begin, user: dict[str, str], one: UnsteadyServer
) -> None:
    thinking = {"instructions": "Think, model."}
    client = await begin(
        {
            "both": {"instructions": "I am the model.", "thinking": thinking},
            "usual": {"instructions": "I am the model."},
            "thinking": {"thinking": thinking},
            "neither": {},
        },
        system_prompt="I am the service.",
        system_prompt_thinking="Think, service.",
    )
    for tag, usual, with_thinking in (
        ("both", "I am the model.", "Think, model."),
        # The service's instructions for thinking are about the service's own usual ones.
        ("usual", "I am the model.", "I am the model."),
        ("thinking", "I am the service.", "Think, model."),
        ("neither", "I am the service.", "Think, service."),
    ):
        chat = await open_chat(client, user, model_tag=tag)
        assert told(await ask(chat, one)) == usual
        assert told(await ask(chat, one, thinking_mode=True)) == with_thinking
        await chat.change(instructions="I am the conversation.")
        for mode in (None, True, False):
            assert told(await ask(chat, one, thinking_mode=mode)) == "I am the conversation."


def thinks(server: UnsteadyServer, thought: bytes, said: bytes, reason: bytes = b"stop") -> None:
    server.answer_with(HEAD + THOUGHT % thought + SAID % (said, reason))


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
async def test_a_model_gets_its_thinking_back_in_the_field_that_it_knows_and_others_get_none(
    begin: Begin, user: dict[str, str], one: UnsteadyServer, field: str
) -> None:
    client = await begin({"gets": {"thinking": {"send_back": field}}, "not": {}})
    chat = await open_chat(client, user, model_tag="gets")
    thinks(one, b"They greet me.", b"Hello.")
    await read_events(await chat.send())
    sent = (await ask(chat, one, "And now?"))["messages"]
    assert sent == [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello.", field: "They greet me."},
        {"role": "user", "content": "And now?"},
    ]
    await chat.change(model_tag="not")
    assert all(set(each) == {"role", "content"} for each in (await ask(chat, one))["messages"])


async def test_an_answer_that_goes_on_has_its_thinking_with_it(
    begin: Begin, user: dict[str, str], one: UnsteadyServer
) -> None:
    client = await begin({"gets": {"thinking": {"send_back": "reasoning"}, "continue": "prefill"}})
    chat = await open_chat(client, user)
    thinks(one, b"Long.", b"One, two", b"length")
    await read_events(await chat.send("Count"))
    await read_events(await chat.go_on())
    assert one.requests[-1]["messages"] == [
        {"role": "user", "content": "Count"},
        {"role": "assistant", "content": "One, two", "reasoning": "Long."},
    ]


async def test_thinking_takes_of_the_budget_of_the_model_that_gets_it_back_alone(
    begin: Begin, user: dict[str, str], one: UnsteadyServer, sql: Sql
) -> None:
    client = await begin(
        {
            # A hundred tokens, of which the answer may take 40: about 150 characters at first.
            "gets": {"context_tokens": 100, "thinking": {"send_back": "reasoning"}},
            "not": {"context_tokens": 100},
        },
        default_max_tokens=40,
    )
    chat = await open_chat(client, user, model_tag="gets")
    thinks(one, b"t" * 200, b"Hello.")
    await read_events(await chat.send())
    assert [each["content"] for each in (await ask(chat, one, "And now?"))["messages"]] == ["And now?"]
    await chat.change(model_tag="not")
    sent = [each["content"] for each in (await ask(chat, one, "Well?"))["messages"]]
    assert sent == ["Hi", "Hello.", "And now?", "Hello.", "Well?"]


async def test_a_model_of_the_file_makes_the_titles(
    begin: Begin, user: dict[str, str], one: UnsteadyServer, two: UnsteadyServer
) -> None:
    client = await begin(
        {
            "kitchen": {"servers": ["one"]},
            "small": {"servers": ["two"], "served_as": "small-1B", "who": "admins", "omit": ["temperature"]},
        },
        title_model="small",
    )
    two.answer_with(HEAD + SAID % (b"A greeting", b"stop"))
    chat = await open_chat(client, user)
    await read_events(await chat.send())

    async def titled() -> bool:
        return bool((await chat.get())["title"] == "A greeting")

    await until(titled)
    (asked,) = two.requests
    assert asked["model"] == "small-1B"
    assert "temperature" not in asked
    assert len(one.requests) == 1


async def test_an_answer_goes_on_with_the_model_that_it_began_with_though_the_file_changes(
    start: Start, settings: Settings, tmp_path: Path, user: dict[str, str], one: UnsteadyServer
) -> None:
    file = ModelsFile(tmp_path / "m.toml", {"one": {"url": one.url}}, {"old": {"servers": ["one"]}})
    file.client = client = await start(file.settings(settings))
    one.script = lambda _: (FINE, 400)
    chat = await open_chat(client, user, model_tag="old")
    response = await chat.send()
    await read_events(response, 3)
    file.models = {"new": {"servers": ["one"]}}
    file.write()
    seen = await read_events(response)
    assert seen[-1].data["finish_reason"] == "stop"
    assert text_of(seen).endswith(" one400 ")
