"""The event parser: the HTML standard's examples, what lies beyond it, and cuts at every byte."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable

import pytest

from chat_api.inference.event_parser import BOM, MAX_EVENT_BYTES, Event, EventParser, EventTooLarge, Named


def read(chunks: Iterable[bytes]) -> list[Event]:
    parser = EventParser()
    found = [event for chunk in chunks for event in parser.feed(chunk)]
    return found + parser.end()


# Section 9.2.6 of the standard: each stream and its events. The last block of some has no blank line.
EXAMPLES: dict[str, tuple[bytes, list[Event]]] = {
    "three lines are one event": (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
    "a comment, an id, and a cut event": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        [b"first event", b"second event"],
    ),
    # The standard has two events here, "" and a line break. No model server means anything by them.
    "data without a colon": (b"data\n\ndata\ndata\n\ndata:", []),
    "a space after the colon": (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
    "names": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\nevent: add\ndata: 113411\n\n",
        [Named(b"add", b"73857293"), Named(b"remove", b"2153"), Named(b"add", b"113411")],
    ),
}


@pytest.mark.parametrize(("stream", "events"), EXAMPLES.values(), ids=EXAMPLES.keys())
def test_the_standards_examples(stream: bytes, events: list[Event]) -> None:
    for line_break in (b"\n", b"\r\n", b"\r"):
        for begin in (b"", BOM):
            assert read([begin + stream.replace(b"\n", line_break)]) == events


KINDS: dict[str, tuple[bytes, list[Event]]] = {
    "one leading space only": (b"data:  a \n\ndata:\tb\n\n", [b" a ", b"\tb"]),
    "nothing": (b"", []),
    "only line breaks": (b"\n\r\r\n\n\r", []),
    "mixed line breaks": (b"data: a\r\rdata: b\r\n\r\ndata: c\n\r\ndata: d\r\n\n", [b"a", b"b", b"c", b"d"]),
    "a byte order mark later on": (b"\n\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"b"]),
    "two byte order marks": (b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n", [b"b"]),
    "half a byte order mark": (b"\xef\xbbdata: a\n\ndata: b\n\n", [b"b"]),
    "fields that nobody knows": (b"id: 1\nretry: 5\nDATA: a\n data: b\ndata : c\nx\n:\ndata: d\n\n", [b"d"]),
    "a name without data": (b"event: ping\n\ndata: a\n\n", [b"a"]),
    "an empty name": (b"event: x\nevent\ndata: a\n\nevent:\ndata: b\n\n", [b"a", b"b"]),
    "the name of all": (b"event: message\ndata: a\n\n", [b"a"]),
    "a name after the data": (b"data: a\nevent: x\n\n", [Named(b"x", b"a")]),
    "a name is for one event": (b"event: x\ndata: a\n\ndata: b\n\n", [Named(b"x", b"a"), b"b"]),
    "NUL and bytes that are no UTF-8": (b"data: a\0\xff\n\n", [b"a\0\xff"]),
    # Events without data.
    "empty data": (b"data: a\n\ndata: \n\ndata: b\n\n", [b"a", b"b"]),
    "empty data without a space": (b"data:\n\ndata: b\n\n", [b"b"]),
    "empty data without a colon": (b"data\n\ndata: b\n\n", [b"b"]),
    "several empty lines": (b"data:\ndata\ndata: \n\ndata:  \t\n\ndata: b\n\n", [b"b"]),
    "a name and empty data": (b"event: keepalive\ndata: \n\ndata: b\n\n", [b"b"]),
    "a comment alone": (b": keep-alive\n\n:\n\n:\n", []),
    # The last event without its blank line.
    "the end after a line": (b'data: {"a":1}\n', [b'{"a":1}']),
    "the end within a line": (b'data: {"a":1}', [b'{"a":1}']),
    "the end after CR": (b'data: {"a":1}\r', [b'{"a":1}']),
    "done, and the end after a line": (b'data: {"a":1}\n\ndata: [DONE]\n', [b'{"a":1}', b"[DONE]"]),
    "done, and the end within a line": (b'data: {"a":1}\n\ndata: [DONE]', [b'{"a":1}', b"[DONE]"]),
    "the end of lines that belong together": (b'data: {"a":\ndata: 1}', [b'{"a":\n1}']),
    "the end within a name": (b'data: {"a":1}\nev', [b'{"a":1}']),
    "half an object": (b'data: {"a":{"b":1}', []),
    "half a string": (b'data: {"a":"}', []),
    "half of done": (b"data: [DONE", []),
    "half a number": (b"data: 1", []),
    "half a field": (b"dat", []),
    "too deep": (b"data: " + b'{"a":' * 40_000 + b"1" + b"}" * 19_000, []),
    "half a surrogate pair is an object": (rb'data: {"a":"\ud83d"}', [rb'{"a":"\ud83d"}']),
    # One line break between events.
    "one line break": (b'data: {"a":1}\ndata: {"b":2}\ndata: [DONE]\n', [b'{"a":1}', b'{"b":2}', b"[DONE]"]),
    "one line break, and the end within a line": (b'data: {"a":1}\ndata: [DONE]', [b'{"a":1}', b"[DONE]"]),
    "one line break, and spaces": (b'data: {"a":1} \ndata:  {"b":2}\n', [b'{"a":1} ', b' {"b":2}']),
    "one line break, then half an object": (b'data: {"a":1}\ndata: {"b"', [b'{"a":1}']),
    "one line break, objects in lines": (
        b'data: {"a":\ndata: 1}\ndata: {"b":\ndata: 2}\n\n',
        [b'{"a":\n1}', b'{"b":\n2}'],
    ),
    "one line break, an object and an error": (
        b'data: {"a":1}\nerror: {"code":5}\ndata: [DONE]\n',
        [b'{"a":1}', Named(b"error", b'{"code":5}'), b"[DONE]"],
    ),
    "an object in pieces": (
        b'data: {"a":[{}\ndata: ,{}],\ndata: "b":{\ndata: }\ndata: }\n\n',
        [b'{"a":[{}\n,{}],\n"b":{\n}\n}'],
    ),
    # Errors.
    "an error by its name": (b'event: error\ndata: {"code":5}\n\n', [Named(b"error", b'{"code":5}')]),
    "an error by its field": (b'error: {"code":5}\n\ndata: a\n\n', [Named(b"error", b'{"code":5}'), b"a"]),
    "an error in plain words at the end": (b"error: no memory", [Named(b"error", b"no memory")]),
    "a named error at the end": (b"event: error\ndata: no memory\n", [Named(b"error", b"no memory")]),
    "an error that says nothing": (b"event: error\n\ndata: a\n\n", [Named(b"error", b""), b"a"]),
    "an error without a colon": (b"error\n\n", [Named(b"error", b"")]),
    "an error in capitals": (
        b"Error: no memory\n\nERROR: x",
        [Named(b"error", b"no memory"), Named(b"error", b"x")],
    ),
    "an error whose data: is forgotten": (
        b'data: {"a":1}\n\n{"error":{"code":5}}\ndata: [DONE]\n',
        [b'{"a":1}', Named(b"error", b'{"error":{"code":5}}'), b"[DONE]"],
    ),
    "and the end within its line": (
        b'data: {"a":1}\n { "error": "m"}',
        [b'{"a":1}', Named(b"error", b' { "error": "m"}')],
    ),
    "no error": (b"errors: x\nerror_code: y\ndata: a\n\n", [b"a"]),
}


@pytest.mark.parametrize(("stream", "events"), KINDS.values(), ids=KINDS.keys())
def test_what_a_stream_holds(stream: bytes, events: list[Event]) -> None:
    assert read([stream]) == events


# Streams of both protocols, each with the events that it holds whatever its line breaks and cuts.
TOKEN = '{"token":"a🥟","gpu":0}'.encode()
CHUNK = '{"choices":[{"index":0,"delta":{"content":"é\\n"},"finish_reason":null}]}'.encode()
STOP = b'{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}'
STREAMS: dict[str, tuple[bytes, list[Event]]] = {
    "nanochat": (
        b"data: %b\n\n: ping\n\ndata:%b\n\n" % (TOKEN, TOKEN) + b'data: {"done":true}\n\n',
        [TOKEN, TOKEN, b'{"done":true}'],
    ),
    "nanochat, status events and a cut end": (
        b'\xef\xbb\xbfdata: {"status":"searching"}\n\nid: 7\ndata: %b\n\nevent: x\ndata: {}\n\ndata: {"do'
        % TOKEN,
        [b'{"status":"searching"}', TOKEN, Named(b"x", b"{}")],
    ),
    "openai": (
        b": OPENROUTER PROCESSING\n\ndata: %b\n\ndata: %b\n\ndata: [DONE]\n\n" % (CHUNK, STOP),
        [CHUNK, STOP, b"[DONE]"],
    ),
    "openai, without the last blank line": (
        b"data\n\ndata: %b\n\ndata: \n\ndata: %b" % (CHUNK, STOP),
        [CHUNK, STOP],
    ),
    "openai, one line break": (
        b"data: %b\ndata: %b\nevent: error\ndata: {}\ndata: [DONE]\n" % (CHUNK, CHUNK),
        [CHUNK, Named(b"error", CHUNK), b"{}", b"[DONE]"],
    ),
    "openai, an error as a field": (
        b'\n\ndata: %b\n\nerror: {"code":500}\n\ndata: [DONE]' % CHUNK,
        [CHUNK, Named(b"error", b'{"code":500}'), b"[DONE]"],
    ),
}
LINE_BREAKS = {"LF": b"\n", "CR LF": b"\r\n", "CR": b"\r"}


@pytest.mark.parametrize("line_break", LINE_BREAKS.values(), ids=LINE_BREAKS.keys())
@pytest.mark.parametrize(("stream", "events"), STREAMS.values(), ids=STREAMS.keys())
def test_every_cut_gives_the_same_events(stream: bytes, events: list[Event], line_break: bytes) -> None:
    text = stream.replace(b"\n", line_break)
    places = range(len(text) + 1)
    assert read([text]) == events
    assert read(bytes([byte]) for byte in text) == events
    for place in places:
        assert read([text[:place], text[place:]]) == events
        assert read([text[:place], b"", text[place:]]) == events
    chosen = random.Random(7)
    for first, second in (sorted(chosen.choices(places, k=2)) for _ in range(500)):
        assert read([text[:first], text[first:second], text[second:]]) == events


def test_any_cut_of_any_bytes_gives_the_same_events() -> None:
    chosen = random.Random(11)
    pieces = [b"data", b"event", b"error", b":", b" ", b"\r", b"\n", b"\r\n", b"{}", b"[DONE]", BOM]
    for _ in range(5000):
        text = b"".join(chosen.choices(pieces, k=chosen.randrange(1, 16)))
        expected = read([text])
        assert read(bytes([byte]) for byte in text) == expected, text
        place = chosen.randrange(len(text) + 1)
        assert read([text[:place], text[place:]]) == expected, text


def test_between_events_nothing_is_incomplete() -> None:
    for stream in (b"data: a\n\n", b"data: a\r\n\r\n", b": comment\n", b"event: x\ndata: a\n\n"):
        parser = EventParser()
        parser.feed(b"\n")
        parser.feed(stream)
        assert parser.empty
        for place in itertools.chain(range(1, len(stream) - 1)):
            parser = EventParser()
            parser.feed(b"\n")
            parser.feed(stream[:place])
            assert not parser.empty or stream[:place] in (b"\n", b": comment\n")


def test_after_cr_the_line_break_may_go_on() -> None:
    parser = EventParser()
    assert parser.feed(b"data: a\r\r") == [b"a"]
    assert not parser.empty
    assert parser.feed(b"\ndata: b\n\n") == [b"b"]
    assert parser.empty


def test_what_comes_before_an_event_that_is_too_large_is_kept() -> None:
    large = b"data: " + b"x" * MAX_EVENT_BYTES
    with pytest.raises(EventTooLarge) as caught:
        EventParser().feed(b"data: a\n\nevent: x\ndata: b\n\n" + large + b"\n\n")
    assert caught.value.before == [b"a", Named(b"x", b"b")]


def test_events_with_one_line_break_have_the_limit_of_one_event_each() -> None:
    parser = EventParser()
    found = [event for _ in range(5000) for event in parser.feed(b'data: {"a":"%b"}\n' % (b"x" * 100))]
    assert len(found + parser.end()) == 5000
