"""The translation of a log: a pure function, whatever the log holds."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import orjson
import pytest

from chat_api import events
from chat_api.errors import InferenceInterrupted, WorkerLost
from chat_api.responses.translation import Translation

OF, CONVERSATION, QUESTION, MESSAGE = (UUID(int=number) for number in range(1, 5))
START = events.start(OF, CONVERSATION, QUESTION)
RESPONSE: dict[str, Any] = {"id": "resp_1", "status": "in_progress", "output": []}
CALL = {"id": "c1", "name": "weather", "arguments": '{"city":"Pune"}'}


def token(text: str) -> bytes:
    return events.token(text, {"gpu": 0})


def thought(text: str) -> bytes:
    return events.reasoning(text, {})


def done(reason: str = "stop") -> bytes:
    return events.done(MESSAGE, reason, 2, 7)


def translated(*log: bytes, after: int = -1, at_once: bool = True) -> list[dict[str, Any]]:
    """The events, with the numbers above `after`; each frame names its type twice."""
    translate = Translation(OF, RESPONSE, after)
    portions = [translate(log)] if at_once else [translate([each]) for each in log]
    told = []
    for frame in b"".join(portions).decode().split("\n\n")[:-1]:
        name, data = frame.split("\n")
        told.append(orjson.loads(data.removeprefix("data: ")))
        assert name == f"event: {told[-1]['type']}"
    return told


def said(told: list[dict[str, Any]]) -> str:
    return "".join(each["delta"] for each in told if each["type"] == "response.output_text.delta")


LOGS: dict[str, list[bytes]] = {
    "text": [START, token("so "), token("far"), done()],
    "nothing": [START, events.error(InferenceInterrupted()), done("error")],
    "thinking": [START, thought("H"), thought("m"), token("so"), thought("?"), token(" far"), done()],
    "calls": [
        START,
        token("so"),
        events.tool_call(0, "c1", "weather", '{"ci'),
        events.tool_call(1, "c2", "time", ""),
        events.tool_call(0, None, None, 'ty":"Pune"}'),
        done("tool_calls"),
    ],
    "unknown": [START, b'{"status":"searching"}', token("so"), b'{"later":1}', done()],
}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("at_once", [True, False])
def test_what_comes_after_a_number_is_the_rest_of_the_whole(name: str, at_once: bool) -> None:
    whole = translated(*LOGS[name])
    assert [each["sequence_number"] for each in whole] == list(range(len(whole)))
    for after in range(-1, len(whole) + 3):
        assert translated(*LOGS[name], after=after, at_once=at_once) == whole[after + 1 :]


@pytest.mark.parametrize("name", LOGS)
def test_each_item_begins_and_ends_and_the_response_holds_what_the_events_said(name: str) -> None:
    whole = translated(*LOGS[name])
    added = [each["item"]["id"] for each in whole if each["type"] == "response.output_item.added"]
    ended = {
        each["item"]["id"]: each["item"] for each in whole if each["type"] == "response.output_item.done"
    }
    output = whole[-1]["response"]["output"]
    assert len(set(added)) == len(added)
    assert [each["id"] for each in output] == added
    assert [ended[each] for each in added] == output
    for each in output:
        if each["type"] == "message":
            assert each["content"][0]["text"] == said(whole)


def test_calls_that_are_mixed_are_told_apart() -> None:
    whole = translated(*LOGS["calls"])
    _, first, second = whole[-1]["response"]["output"]
    assert (first["call_id"], first["arguments"]) == ("c1", '{"city":"Pune"}')
    assert (second["call_id"], second["name"], second["arguments"]) == ("c2", "time", "")


def test_a_reset_that_has_more_is_told_as_the_rest() -> None:
    whole = translated(START, token("so"), events.reset("so far", "Hm.", [CALL]), done("tool_calls"))
    assert said(whole) == "so far"
    kinds = [each["type"] for each in whole[-1]["response"]["output"]]
    assert kinds == ["message", "reasoning", "function_call"]
    assert whole[-1]["response"]["output"][2]["arguments"] == CALL["arguments"]


def test_a_reset_that_says_something_else_is_told_by_the_end() -> None:
    log = [
        START,
        token("so far and lost"),
        events.reset("so far"),
        events.error(WorkerLost()),
        done("interrupted"),
    ]
    whole = translated(*log)
    [text] = [each["text"] for each in whole if each["type"] == "response.output_text.done"]
    assert text == "so far"
    assert whole[-1]["response"]["output"][0]["content"][0]["text"] == "so far"
    assert whole[-1]["type"] == "response.failed"


def test_a_reset_takes_back_what_isnt_kept() -> None:
    log = [
        START,
        thought("Hm."),
        token("so"),
        events.tool_call(0, "c1", "weather", "{"),
        events.reset(""),
        done(),
    ]
    assert translated(*log)[-1]["response"]["output"] == []


@pytest.mark.parametrize("after", [4, 5, 50])
def test_who_may_have_seen_what_is_lost_gets_the_end_under_new_numbers(after: int) -> None:
    log = [START, token("so far"), events.error(WorkerLost()), done("interrupted")]
    rest = translated(*log, after=after)
    assert [each["sequence_number"] for each in rest] == list(range(after + 1, after + 1 + len(rest)))
    assert rest[-1]["type"] == "response.failed"
    assert rest[0]["text"] == "so far"


def test_nul_is_told_as_it_is_stored() -> None:
    whole = translated(START, token("a\0b"), done())
    assert said(whole) == whole[-1]["response"]["output"][0]["content"][0]["text"] == "a\ufffdb"
