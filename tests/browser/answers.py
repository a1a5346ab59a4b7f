"""Helpers for tests of answers."""

from tests.browser.conftest import Served
from tests.browser.embedded import Embedded, Event, Seen
from tests.support.model_server import Call


def is_whole(events: list[Event]) -> bool:
    """Check that an answer has each event from start to end, once and in order."""
    return [event["seq"] for event in events] == list(range(len(events))) and events[-1]["type"] == "done"


def tokens_of(events: list[Event]) -> list[str]:
    """The texts of the token events."""
    return [event["token"] for event in events if event["type"] == "token"]


async def begin(embedded: Embedded, service: Served, transport: str, *tokens: str) -> tuple[str, Seen, Call]:
    """Start an answer in a new conversation, and wait until these tokens have arrived."""
    await embedded.begin(transport)
    conversation = await embedded.conversation()
    answer = await embedded.send(conversation)
    call = await service.model.call()
    call.say(*tokens)
    await answer.events(1 + len(tokens))
    return conversation, answer, call
