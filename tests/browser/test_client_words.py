"""What the client makes of an answer's events, one by one."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.async_api import Page

from tests.browser.site import Site

PLAY = """async (events) => {
    const { Answer } = await import("/web/client.js");
    const answer = new Answer("c");
    const ids = { conversation_id: "c", generation_id: "g" };
    try {
        events.forEach((event) => answer.take({ ...ids, ...event }));
    } catch ({ code }) {
        return code;
    }
    const { text, reasoning, toolCalls, history, lastEventId, ended } = answer;
    return { text, reasoning, toolCalls, history, lastEventId, ended };
}"""
START = {"type": "start", "seq": 0, "user_message_id": "u"}
SAID = [
    {"type": "reasoning", "seq": 1, "reasoning": "hm"},
    {"type": "token", "seq": 2, "token": "Hi"},
    {"type": "tool_call", "seq": 3, "tool_call": {"index": 0, "id": "c1", "name": "f", "arguments": "{}"}},
]
CALL = {"id": "c1", "name": "f", "arguments": "{}"}


@pytest.fixture
async def page(page: Page, site: Site) -> Page:
    await page.goto(site.url)
    return page


async def play(page: Page, *events: dict[str, Any]) -> Any:
    """What an answer has after these events, or the code of its error."""
    return await page.evaluate(PLAY, list(events))


async def test_each_kind_is_kept_apart(page: Page) -> None:
    got = await play(page, START, *SAID)
    assert (got["text"], got["reasoning"], got["toolCalls"]) == ("Hi", "hm", [CALL])
    assert got["history"] is None


async def test_history_comes_with_the_start(page: Page) -> None:
    history = {"sent": 5, "left_out": 3}
    assert (await play(page, {**START, "history": history}))["history"] == history


async def test_a_reset_replaces_all(page: Page) -> None:
    new = {"id": "c2", "name": "g", "arguments": ""}
    reset = {"type": "reset", "seq": 9, "content": "new", "reasoning": "thought", "tool_calls": [new]}
    got = await play(page, START, *SAID, reset)
    assert (got["text"], got["reasoning"], got["toolCalls"]) == ("new", "thought", [new])
    assert got["lastEventId"] == "g:9"


@pytest.mark.parametrize("more", [{"reasoning": None, "tool_calls": None}, {}], ids=["null", "missing"])
async def test_a_reset_without_thinking_and_calls_removes_them(page: Page, more: dict[str, None]) -> None:
    got = await play(page, START, *SAID, {"type": "reset", "seq": 4, "content": "", **more})
    assert (got["text"], got["reasoning"], got["toolCalls"]) == ("", "", [])


async def test_another_generation_begins_anew(page: Page) -> None:
    got = await play(page, START, *SAID, {**START, "generation_id": "h"})
    assert (got["text"], got["reasoning"], got["toolCalls"]) == ("", "", [])


async def test_pieces_of_calls_join_by_index_and_the_first_name_counts(page: Page) -> None:
    pieces = [
        {"index": 1, "id": "b", "name": "two", "arguments": "{"},
        {"index": 0, "id": "a", "name": "one", "arguments": ""},
        {"index": 1, "name": "other", "arguments": "}"},
        {"index": 0},
    ]
    events = [{"type": "tool_call", "seq": seq, "tool_call": piece} for seq, piece in enumerate(pieces, 1)]
    assert (await play(page, START, *events))["toolCalls"] == [
        {"id": "b", "name": "two", "arguments": "{}"},
        {"id": "a", "name": "one", "arguments": ""},
    ]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "token", "token": "x"},
        {"type": "reasoning", "reasoning": "x"},
        {"type": "tool_call", "tool_call": {"index": 0, "arguments": "x"}},
        {"type": "status", "status": "searching"},
    ],
    ids=lambda event: event["type"],
)
async def test_a_gap_is_noticed_whatever_comes_after_it(page: Page, event: dict[str, Any]) -> None:
    assert await play(page, START, {**event, "seq": 2}) == "network_error"


@pytest.mark.parametrize("kind", ["status", "of_a_later_release", "toString", "__proto__"])
async def test_an_event_of_an_unknown_kind_says_nothing(page: Page, kind: str) -> None:
    got = await play(
        page, START, *SAID, {"type": kind, "seq": 4, "content": "x", "token": "x", "reasoning": "x"}
    )
    assert (got["text"], got["reasoning"], got["toolCalls"], got["ended"]) == ("Hi", "hm", [CALL], False)
    assert got["lastEventId"] == "g:4"
