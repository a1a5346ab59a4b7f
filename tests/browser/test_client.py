"""The client's answers, over either transport: sent, regenerated, stopped, left."""

import json

import pytest

from tests.browser.conftest import Served
from tests.browser.embedded import Embedded, Event, Seen
from tests.browser.wire import Wire
from tests.model_server import Call

pytestmark = pytest.mark.parametrize("transport", ["sse", "ws"])


def is_whole(events: list[Event]) -> bool:
    """From the start to the end, each event once and in order."""
    return [event["seq"] for event in events] == list(range(len(events))) and events[-1]["type"] == "done"


async def begin(embedded: Embedded, service: Served, transport: str, *tokens: str) -> tuple[str, Seen, Call]:
    """A conversation whose answer has begun, and has come as far as these tokens."""
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation)
    call = await service.model.call()
    call.say(*tokens)
    await answer.events(1 + len(tokens))
    return conversation, answer, call


async def test_tokens_come_one_by_one(embedded: Embedded, service: Served, transport: str) -> None:
    conversation, answer, call = await begin(embedded, service, transport)
    for number, token in enumerate(["Hel", "lo ", "wörld 🌍"], 1):
        call.say(token)
        events = await answer.events(1 + number)
        assert events[-1]["token"] == token
        assert events[-1]["gpu"] == 0
    call.finish("!")
    events = await answer.events()
    assert [event["type"] for event in events] == ["start", *["token"] * 4, "done"]
    assert is_whole(events)
    assert {event["conversation_id"] for event in events} == {conversation}
    assert len({event["generation_id"] for event in events}) == 1
    assert await answer.text() == "Hello wörld 🌍!"
    assert await answer.error() is None
    assert await embedded.messages(conversation) == [("user", "Hi"), ("assistant", "Hello wörld 🌍!")]


async def test_huge_text_in_many_scripts_arrives_wherever_chunks_end(
    embedded: Embedded, service: Served, wire: Wire, transport: str
) -> None:
    wire.piece = 7
    tokens = [
        "नमस्ते ",
        "👩‍👩‍👧‍👦",
        "\r\n\r\n",
        "data: x\n\n",
        "\u2028\u0085",
        "𝒳é" * 50,
        json.dumps("é\n"),
    ] * 5
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation, "é" * 8000)
    (await service.model.call()).finish(*tokens)
    assert is_whole(await answer.events())
    assert await answer.text() == "".join(tokens)
