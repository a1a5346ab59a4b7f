"""What the events of nanochat's servers mean, and what becomes of those that mean nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from chat_api import errors
from chat_api.inference import End, Usage, extras
from chat_api.inference.nanochat_answer import NanochatAnswer
from chat_api.settings import Settings
from tests.conftest import Client, Start
from tests.support.chat import Chat
from tests.support.listener import Heard
from tests.support.model_server import ModelServer
from tests.support.reader import read_events, text_of
from tests.support.tab import as_sse, open_tab

SEARCHING = b'{"status":"searching"}'
BROKEN = {
    "garbage": b"<garbage>",
    "half an object": b'{"token": ',
    "a list": b"[1]",
    "a text": b'"x"',
    "no JSON at all": b"NaN",
    "OpenAI's end": b"[DONE]",
    "too deep to read": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "too deep to write": b'{"token":"x","a":%b%b}' % (b"[" * 300, b"]" * 300),
    "too deep for an event of its own": b'{"a":%b%b}' % (b"[" * 300, b"]" * 300),
    "half a surrogate pair beside the token": b'{"token":"x","a":"\\ud83d"}',
    "a number for a token": b'{"token":5}',
    "null for a token": b'{"token":null}',
    "a token that is no text, in the last event": b'{"token":[],"done":true}',
}
OWN = [
    {"done": 1},
    {"done": "true", "status": "x"},
    {"status": "x", "done": None},
    {"error": None},
    {"status": "x", "error": ""},
    {"reset": True, "content": ""},
    {"status": "x", "reset": True},
    {"generation_id": "g", "conversation_id": "c", "user_message_id": "u"},
    {"reasoning": "hm"},
    {"tool_call": {"index": 0}},
    {"start": 1},
    {"ready": True},
    {"ack": True, "status": "x"},
    {},
]


class Reading:
    """One answer, read without a server."""

    def __init__(self, max_tokens: int = 1024) -> None:
        self.heard = Heard()
        self.answer = NanochatAnswer(self.heard, extras.AnswerExtras(extras.Extras()), max_tokens)

    def read(self, *events: bytes) -> End | None:
        """Read events up to the end."""
        return next((end for data in events if (end := self.answer.event(data)) is not None), None)


def token(text: str) -> bytes:
    return json.dumps({"token": text, "gpu": 0}, ensure_ascii=False).encode()


class TestEventsOfTheServersOwn:
    @pytest.mark.parametrize(
        "data",
        [
            SEARCHING,
            b'{"status":"searching","query":"chai","results":[{"url":"x"}]}',
            b'{"type":"ping"}',
            b'{"tokens":3}',
            b'{"errors":[],"reason":"x","generated":1}',
            b'{"status":{"done":false,"error":"x"}}',
            b'{"object":"status","started":true}',
        ],
    )
    def test_they_reach_readers_as_they_came(self, data: bytes) -> None:
        reading = Reading()
        assert reading.read(data, token("a"), data) is None
        assert reading.heard.data == [data, token("a").replace(b": ", b":").replace(b", ", b","), data]
        assert reading.heard.said == "a"

    @pytest.mark.parametrize(
        ("data", "written"),
        [
            (b'{ "status": "x" }', b'{"status":"x"}'),
            (b'{"status":"x"} \t', b'{"status":"x"}'),
            (b'{"status":\n"x"}', b'{"status":"x"}'),
            (b'{"status":"a\\u0000b"}', '{"status":"a\ufffdb"}'.encode()),
            (b'{"st\\u0000":1}', '{"st\ufffd":1}'.encode()),
            (b'{"status":"\xff"}', '{"status":"\ufffd"}'.encode()),
            ('{"größe":"🥟"}'.encode(), '{"größe":"🥟"}'.encode()),
            (b'{"status":"%b"}' % (b"x" * 1000), b'{"status":"%b"}' % (b"x" * 1000)),
        ],
    )
    def test_they_are_made_harmless(self, data: bytes, written: bytes) -> None:
        reading = Reading()
        assert reading.read(data) is None
        assert reading.heard.data == [written]

    @pytest.mark.parametrize("event", OWN)
    def test_none_passes_for_one_of_the_services(self, event: dict[str, Any]) -> None:
        reading = Reading()
        assert (
            reading.read(json.dumps(event).encode(), json.dumps(event, separators=(",", ":")).encode())
            is None
        )
        assert (reading.heard.data, reading.heard.signs_of_life) == ([], 2)

    def test_an_escaped_name_is_that_name(self) -> None:
        reading = Reading()
        assert reading.read(b'{"\\u0064one":1,"status":"x"}') is None
        assert reading.heard.data == []
        with pytest.raises(errors.InferenceError):
            reading.read(b'{"\\u0065rror":"x"}')

    @pytest.mark.parametrize("name", [b"status", b"reset"], ids=["shown", "not shown"])
    def test_too_many_end_the_answer(self, name: bytes) -> None:
        reading = Reading()
        data = b'{"%b":"%b"}' % (name, b"x" * 200_000)
        end = reading.read(*[data] * (extras.MAX_ANSWER_BYTES // len(data) + 1))
        assert end is not None
        assert end.reason == "length"


async def test_they_reach_every_kind_of_reader(
    client: Client,
    user: dict[str, str],
    chat: Chat,
    model: ModelServer,
    start: Start,
    settings: Settings,
) -> None:
    other = await start(settings)
    response, call, began = await chat.begin(model)
    attached = await other.get(f"{chat.path}/stream", headers=chat.user)
    async with open_tab(client, user) as tab:
        await tab.ask("subscribe", chat.path)
        own = [{"status": "searching"}, {"type": "ping"}, {"seq": 99, "generation_id": "x"}, {"seq": 99}]
        call.send(*own)
        call.finish("a")
        frames = await tab.events()
    seen = began + await read_events(response)
    shown = [own[0], own[1], own[3]]  # the third would pass for a start
    assert [event.data for event in seen[1:-2]] == shown
    assert [event.seq for event in seen] == [0, 1, 2, 3, 4, 5]
    assert (text_of(seen), seen[-1].data["token_count"]) == ("a", 1)
    assert await read_events(attached) == seen
    assert [frame["type"] for frame in frames] == ["start", "status", "type", "seq", "token", "done"]
    assert [frame["seq"] for frame in frames] == [0, 1, 2, 3, 4, 5]
    assert as_sse(frames[1]) == (seen[1].id, own[0])


class TestEventsThatAreBroken:
    @pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
    def test_the_first_is_the_end(self, data: bytes) -> None:
        reading = Reading()
        with capture_logs() as lines, pytest.raises(errors.InferenceBroken):
            reading.read(data)
        assert [line["event"] for line in lines] == ["inference_broken"]
        assert reading.heard.data == []

    @pytest.mark.parametrize("good", [token("a"), token(""), SEARCHING, b'{"reset":true}'])
    @pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
    def test_a_later_one_is_skipped(self, data: bytes, good: bytes) -> None:
        reading = Reading()
        with capture_logs() as lines:
            end = reading.read(good, data, data, token("b"), data, b'{"done":true}')
            reading.answer.report()
        assert end == End("stop")
        assert reading.heard.said.endswith("b")
        assert reading.heard.signs_of_life >= 3
        ((event, count),) = [(line["event"], line["events"]) for line in lines]
        assert (event, count) == ("inference_event_skipped", 3)

    @pytest.mark.parametrize(
        "data",
        [
            b'{"error":"out of memory"}',
            b'{"status":"x","error":{"code":500}}',
            b'{"token":"x","error":"y"}',
            b'{"done":true,"error":"y"}',
            b'{"error":"half a pair: \\ud83d"}',
            b' { "error" : "cut off',
            b'{"object":"error","message":"m","code":400}',
            b'{"type":"error","message":"m"}',
            b'{"status":"error","message":"m"}',
        ],
    )
    def test_what_says_error_is_one(self, data: bytes) -> None:
        for before in ([], [token("a")]):
            reading = Reading()
            with pytest.raises(errors.InferenceError) as raised:
                reading.read(*before, data)
            assert type(raised.value) is errors.InferenceError

    @pytest.mark.parametrize("name", [b"error", b"Error", b"exception", b"generation_failed"])
    def test_the_name_of_an_event_may_say_error(self, name: bytes) -> None:
        reading = Reading()
        assert reading.answer.named(b"token", token("a")) is None
        assert reading.answer.named(b"status", SEARCHING) is None
        assert reading.heard.said == "a"
        assert reading.heard.data[-1] == SEARCHING
        with pytest.raises(errors.InferenceError):
            reading.answer.named(name, b'{"message":"m"}')

    def test_too_many_end_the_answer(self) -> None:
        reading = Reading()
        end = reading.read(token("a"), *[b"x" * 200_000] * 30)
        assert end is not None
        assert end.reason == "length"

    def test_a_whole_document_is_none_of_nanochats_answers(self) -> None:
        with pytest.raises(errors.InferenceBroken):
            Reading().answer.whole(b'{"token":"a"}')

    def test_the_events_of_openai_name_the_right_setting(self) -> None:
        with capture_logs() as lines, pytest.raises(errors.InferenceBroken):
            Reading().read(b'{"object":"chat.completion.chunk","choices":[{"delta":{"content":"a"}}]}')
        assert "INFERENCE_PROTOCOL=openai" in lines[0]["reason"]


class TestHalfCharacters:
    """Half a surrogate pair in one event, the other half in the next."""

    @staticmethod
    def half(text: str, **more: Any) -> bytes:
        return json.dumps({"token": text, **more}).encode()

    def test_a_pair_over_two_events_is_one_character(self) -> None:
        reading = Reading()
        end = reading.read(
            token("a"), self.half("b\ud83d", gpu=0), self.half("\ude00c", gpu=1), token("d"), b'{"done":true}'
        )
        assert (reading.heard.said, end) == ("ab😀cd", End())
        assert [json.loads(data) for data in reading.heard.data] == [
            {"token": "a", "gpu": 0},
            {"token": "b", "gpu": 0},
            {"token": "😀c", "gpu": 1},
            {"token": "d", "gpu": 0},
        ]

    def test_an_event_of_one_half_says_nothing_yet(self) -> None:
        reading = Reading()
        reading.read(self.half("\ud83d"), SEARCHING, self.half("\ude00"))
        assert reading.heard.data == [SEARCHING, '{"token":"😀"}'.encode()]
        assert reading.heard.signs_of_life == 1

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (["a\ud83d", "b"], "a\ufffdb"),
            (["a", "\ude00b"], "a\ufffdb"),
            (["a\ud83d"], "a\ufffd"),
            (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
            (["\ud83d\ude00"], "😀"),
        ],
        ids=ascii,
    )
    def test_a_lone_half_becomes_the_replacement_character(self, given: list[str], text: str) -> None:
        reading = Reading()
        assert reading.read(*map(self.half, given), b'{"done":true}') == End()
        assert reading.heard.said == text
        last = Reading()
        assert last.read(*map(self.half, given[:-1]), self.half(given[-1], done=True)) == End()
        assert last.heard.said == text

    def test_numbers_that_python_writes_cost_no_token(self) -> None:
        reading = Reading()
        reading.read(token("a"), b'{"token":"b","logprob":-Infinity,"p":NaN}')
        assert reading.heard.data[1] == b'{"token":"b","logprob":null,"p":null}'


PIECES = (
    b'data: {"token":"a"}',
    b'data: {"status":"searching"}',
    b'data: {"token":"b"}',
    b'data: {"done":true}',
)
FRAMINGS = {
    "the last blank line is missing": b"\n\n".join(PIECES) + b"\n",
    "the last line has no end": b"\n\n".join(PIECES),
    "one line end after each event": b"\n".join(PIECES) + b"\n",
    "empty data": b"\n\ndata: \n\ndata:\n\ndata\n\nevent: keepalive\ndata: \n\n".join(PIECES) + b"\n\n",
    "names, which say nothing": b"".join(b"event: x\n%b\n\n" % piece for piece in PIECES),
    "CR": b"\r\r".join(PIECES) + b"\r\r",
}


@pytest.mark.parametrize("stream", FRAMINGS.values(), ids=FRAMINGS)
async def test_an_answer_is_read_however_its_events_are_framed(
    chat: Chat, model: ModelServer, stream: bytes
) -> None:
    response, call, began = await chat.begin(model)
    call.send_bytes(stream)
    call.close()
    seen = began + await read_events(response)
    assert [event.data for event in seen[1:-1]] == [{"token": "a"}, {"status": "searching"}, {"token": "b"}]
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "stop")]


async def test_an_answer_goes_on_after_broken_events(chat: Chat, model: ModelServer) -> None:
    response, call, began = await chat.begin(model, "a")
    for data in BROKEN.values():
        call.send_bytes(b"data: %b\n\n" % data)
    call.finish("b")
    seen = began + await read_events(response)
    assert [event.data.get("token") for event in seen] == [None, "a", "b", None]
    assert [event.seq for event in seen] == [0, 1, 2, 3]
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "stop")]


class TestTheEnd:
    @pytest.mark.parametrize(
        ("last", "end"),
        [
            ({}, End("stop")),
            ({"finish_reason": "length"}, End("length")),
            ({"finish_reason": "content_filter"}, End("content_filter")),
            ({"finish_reason": ["length"]}, End("stop")),
            ({"token_count": 7}, End("stop", Usage(completion_tokens=7))),
            (
                {
                    "usage": {
                        "prompt_tokens": 3,
                        "completion_tokens": 0,
                        "cached_tokens": 1,
                        "reasoning_tokens": 2,
                    }
                },
                End("stop", Usage(3, 0, 2, 1)),
            ),
            ({"usage": {"completion_tokens": -1, "prompt_tokens": 2**31}}, End("stop")),
            ({"usage": {"completion_tokens": True, "prompt_tokens": "9"}}, End("stop")),
            ({"usage": None, "completion_tokens": 2}, End("stop", Usage(completion_tokens=2))),
        ],
    )
    def test_it_says_what_the_server_says(self, last: dict[str, Any], end: End) -> None:
        assert Reading().read(token("a"), json.dumps({"done": True, **last}).encode()) == end

    @pytest.mark.parametrize(
        ("said", "last", "reason"),
        [
            (["a", "b", "c"], {}, "length"),
            (["a", "b"], {}, "stop"),
            (["a", "", "b", ""], {}, "stop"),
            (["a", "b", "c"], {"finish_reason": "stop"}, "stop"),
            (["a", "b", "c"], {"finish_reason": "unheard of"}, "length"),
            (["🥟"], {"token_count": 3}, "length"),
            (["a", "b", "c"], {"usage": {"completion_tokens": 2}}, "stop"),
            (["a", "b"], {"token": "c"}, "length"),
        ],
    )
    def test_an_answer_of_as_many_tokens_as_allowed_was_cut(
        self, said: list[str], last: dict[str, Any], reason: str
    ) -> None:
        end = Reading(max_tokens=3).read(*map(token, said), json.dumps({"done": True, **last}).encode())
        assert end is not None
        assert end.reason == reason

    @pytest.mark.parametrize("done", [False, None, 1, "true"])
    def test_only_true_is_the_end(self, done: object) -> None:
        reading = Reading()
        assert reading.read(token("a"), json.dumps({"done": done}).encode()) is None
        with pytest.raises(errors.InferenceInterrupted):
            reading.answer.end()


async def test_a_cut_answer_is_stored_as_such(chat: Chat, model: ModelServer) -> None:
    response = await chat.send(max_tokens=2)
    call = await model.call()
    call.say("a", "b")
    call.send({"done": True, "usage": {"completion_tokens": 2}})
    call.send_bytes(b'data: {"error":"too late"}\n\ndata: {"token":"c"}\n\ndata: <\n\n')
    call.close()
    seen = await read_events(response)
    assert (seen[-1].data["finish_reason"], seen[-1].data["token_count"]) == ("length", 2)
    assert await chat.messages() == [("user", "Hi", None), ("assistant", "ab", "length")]
