"""What a model server sends beside the text is kept up to a measure."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from chat_api.inference import extras
from chat_api.inference.nanochat_answer import NanochatAnswer
from tests.conftest import Client
from tests.support.chat import Chat, open_chat
from tests.support.listener import Heard
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of

PADDED: dict[str, Any] = {"token": "a", "padding": "x" * 200_000}


@pytest.mark.parametrize(
    "event",
    [
        PADDED,
        {"token": "", "padding": "x" * 200_000},
        {"token": "é", "padding": ["\u20ac" * 40_000]},
    ],
    ids=["text", "no text", "other text"],
)
async def test_an_answer_with_too_much_beside_its_text_ends_with_its_text(
    chat: Chat, model: ModelServer, event: dict[str, Any]
) -> None:
    response, call, _ = await chat.begin(model)
    call.send(*[event] * 60)
    seen = await read_events(response)
    async with asyncio.timeout(5):
        await call.closed.wait()
    text = text_of(seen)
    assert len(text) < 60
    assert seen[-1].data["finish_reason"] == "length"
    assert (await chat.messages())[1:] == ([("assistant", text, "length")] if text else [])


@pytest.mark.parametrize(
    ("event", "count", "fits"),
    [
        (b'{"token":"a","gpu":0}', 200_000, True),
        (b'{"token":"\\u0001","gpu":0}', 200_000, True),
        (b'{"token":"a","padding":"%b"}' % (b"x" * 400), 12_000, False),
        (b'{"token":""}', 400_000, False),
    ],
    ids=["ordinary", "escaped", "padded", "empty"],
)
def test_an_answer_of_ordinary_events_may_be_long(event: bytes, count: int, fits: bool) -> None:
    answer = NanochatAnswer(Heard(), extras.AnswerExtras(extras.Extras()), 1_000_000)
    ended = next((end for _ in range(count) if (end := answer.event(event)) is not None), None)
    assert (ended is None) == fits
    assert ended is None or ended.reason == "length"


async def test_the_answers_of_a_worker_share_a_measure(
    client: Client, user: dict[str, str], model: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "MAX_WORKER_BYTES", 1_000_000)
    first, second, third = [await open_chat(client, user) for _ in range(3)]
    one, call, _ = await first.begin(model)
    two, other, _ = await second.begin(model)
    call.send(*[PADDED] * 3)
    await read_events(one, 3)
    other.send(*[PADDED] * 3)
    seen = await read_events(two)
    assert (text_of(seen), seen[-1].data["finish_reason"]) == ("aaa", "length")
    call.finish("b")
    assert (await read_events(one))[-1].data["finish_reason"] == "stop"
    # What the two had is free again.
    three, call, _ = await third.begin(model)
    call.send(*[PADDED] * 4)
    call.finish("b")
    assert (await read_events(three))[-1].data["finish_reason"] == "stop"
