"""What an answer's chunks say, in the OpenAI protocol: text, thinking and tool calls, however they come."""

from __future__ import annotations

import itertools
import json
from typing import Any

import orjson
import pytest

from chat_api import errors
from chat_api.inference import CallPiece, End
from chat_api.inference.openai.answer import Answer
from chat_api.inference.openai.calls import MAX_CALLS
from tests.support.listener import Heard


def chunk(delta: Any = None, finish_reason: Any = None, **more: Any) -> bytes:
    """A chunk, with every character beyond ASCII escaped."""
    choice = {"index": 0, "delta": {} if delta is None else delta, "finish_reason": finish_reason}
    return json.dumps({"choices": [choice], **more}).encode()


def read(*deltas: Any, think_tags: bool = True, finish_reason: str = "stop") -> tuple[Heard, End]:
    """What is heard of these deltas, and the end."""
    heard = Heard()
    answer = Answer(heard, think_tags=think_tags)
    for delta in deltas:
        assert answer.event(chunk(delta)) is None
    answer.event(chunk(finish_reason=finish_reason))
    return heard, answer.end()


def said(*pieces: str, **options: Any) -> tuple[str, str]:
    """The thinking and the text of an answer whose content comes in these pieces."""
    heard, _ = read(*({"content": piece} for piece in pieces), **options)
    return heard.thought, heard.said


class TestContentInParts:
    def test_thinking_parts_are_thinking_and_text_parts_text(self) -> None:
        thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
        heard, _ = read({"content": [thinking]}, {"content": [{"type": "text", "text": "Answer"}]})
        assert (heard.thought, heard.said) == ("hm", "Answer")
        assert heard.data == [b'{"reasoning":"hm"}', b'{"token":"Answer"}']

    def test_text_parts_alone(self) -> None:
        heard, _ = read({"content": [{"type": "text", "text": "An"}, {"type": "text", "text": "swer"}]})
        assert heard.said == "Answer"

    @pytest.mark.parametrize(
        "parts",
        [
            [],
            [{"type": "image_url", "image_url": {"url": "x"}}],
            [{"type": "text", "text": None}],
            [{"type": "thinking", "thinking": 5}],
            [{"type": ["text"]}],
            [{}],
            {},
            False,
            0,
            [None],
            [{"type": "redacted_thinking", "data": "x"}],
        ],
        ids=str,
    )
    def test_parts_that_say_nothing_are_signs_of_life(self, parts: Any) -> None:
        heard, _ = read({"content": parts}, {"content": "Answer"})
        assert (heard.said, heard.thought) == ("Answer", "")
        assert heard.signs_of_life == 2  # and the end

    @pytest.mark.parametrize(
        "content",
        [
            ["An", "swer"],
            [None, {"type": "text", "text": "Answer"}, 5],
            [{"text": "Answer"}],
            [{"type": "output_text", "text": "Answer"}],
            [{"type": "text_delta", "text": "Answer"}],
            [{"type": "text", "text": {"value": "Answer", "annotations": []}}],
            {"type": "text", "text": "Answer"},
        ],
        ids=str,
    )
    def test_parts_of_text_in_other_forms(self, content: Any) -> None:
        heard, _ = read({"content": content})
        assert (heard.said, heard.thought) == ("Answer", "")

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "reasoning", "reasoning": "hm"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
            {"type": "reasoning_text", "text": "hm"},
            {"type": "reasoning_content", "reasoning_content": {"text": "hm", "signature": "x"}},
            {"type": "thinking", "thinking": [{"type": "text", "text": "h"}, "m"]},
            {"type": "thought", "text": "hm"},
        ],
        ids=str,
    )
    def test_parts_of_thinking_in_other_forms(self, part: Any) -> None:
        heard, _ = read({"content": [part]})
        assert (heard.thought, heard.said) == ("hm", "")

    def test_a_part_may_be_a_refusal(self) -> None:
        heard, end = read({"content": [{"type": "refusal", "refusal": "No."}]})
        assert (heard.said, end.reason) == ("No.", "content_filter")

    def test_parts_within_parts_have_an_end(self) -> None:
        heard = Heard()
        deep = b'[{"text":' * 400 + b'"x"' + b"}]" * 400
        Answer(heard).event(b'{"choices":[{"delta":{"content":%b,"thinking":%b}}]}' % (deep, deep))
        assert (heard.said, heard.thought) == ("", "")

    @pytest.mark.parametrize("content", [5, True, 1.5], ids=str)
    def test_what_cannot_be_text_is_not_lost_silently(self, content: Any) -> None:
        with pytest.raises(errors.InferenceBroken):
            read({"content": content})

    def test_thinking_may_be_a_text(self) -> None:
        heard, _ = read({"content": [{"type": "thinking", "thinking": "hm"}]})
        assert heard.thought == "hm"


class TestThinkingBesideTheText:
    @pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
    def test_either_name_is_understood(self, name: str) -> None:
        heard, end = read({name: "hm"}, {name: "…"}, {"content": "Blue"})
        assert (heard.thought, heard.said, end.reason) == ("hm…", "Blue", "stop")

    @pytest.mark.parametrize(
        "delta",
        [
            {"reasoning_text": "hm"},
            {"thinking": "hm"},
            {"thought": "hm"},
            {"reasoning_summary": "hm"},
            {"reasoning": {"content": "hm"}},
            {"reasoning": {"text": "hm"}},
            {"reasoning_content": [{"type": "text", "text": "h"}, {"type": "text", "text": "m"}]},
            {"reasoning_details": [{"type": "reasoning.text", "content": "hm"}]},
            {"thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "x"}]},
        ],
        ids=str,
    )
    def test_other_names_and_forms_are_understood(self, delta: dict[str, Any]) -> None:
        for before in ((), ({"content": "a"},)):
            heard, _ = read(*before, {**delta, "content": "b"})
            assert (heard.thought, heard.said[-1]) == ("hm", "b")

    def test_both_names_say_it_once(self) -> None:
        heard, _ = read({"reasoning": "hm", "reasoning_content": "hm", "content": "a"})
        assert (heard.thought, heard.said) == ("hm", "a")

    def test_details_count_where_nothing_else_does(self) -> None:
        details = [{"type": "reasoning.text", "text": "h"}, {"type": "reasoning.summary", "summary": "m"}]
        heard, _ = read({"reasoning_details": [*details, {"type": "reasoning.encrypted", "data": "x"}, 5]})
        assert heard.thought == "hm"

    @pytest.mark.parametrize("odd", [5, [5], {"a": 1}, True, [], {"text": 5}])
    def test_thinking_that_is_no_text_is_a_sign_of_life(self, odd: object) -> None:
        heard, _ = read({"reasoning": odd, "reasoning_details": odd})
        assert (heard.thought, heard.signs_of_life) == ("", 2)

    def test_white_space_between_thinking_and_answer_is_dropped(self) -> None:
        heard, _ = read({"content": ""}, {"reasoning_content": "hm"}, {"content": "\n\n"}, {"content": "a\n"})
        assert heard.said == "a\n"

    def test_tags_after_it_are_text(self) -> None:
        heard, _ = read({"reasoning_content": "hm"}, {"content": "<think>"})
        assert (heard.thought, heard.said) == ("hm", "<think>")

    def test_twenty_chunks_of_thinking_and_no_text(self) -> None:
        heard, end = read(*[{"reasoning_content": "hm "}] * 20, finish_reason="length")
        assert (heard.thought, heard.said, end.reason) == ("hm " * 20, "", "length")
        assert len(heard.data) == 20


class TestThinkingInTheText:
    def test_tags_over_the_ends_of_chunks(self) -> None:
        assert said("<thi", "nk>", "It is", " the sky.", "</think>", "Blue.") == ("It is the sky.", "Blue.")

    @pytest.mark.parametrize(("tag", "other"), [("think", "thinking"), ("thinking", "think")])
    def test_the_same_however_it_is_cut(self, tag: str, other: str) -> None:
        text = f"\n <{tag}>\na < b </ c </{other[:3]} </{tag}>\n\nBlue </think>."
        expected = said(text)
        assert expected == (f"a < b </ c </{other[:3]} ", "Blue </think>.")
        for first, second in itertools.combinations(range(len(text) + 1), 2):
            assert said(text[:first], text[first:second], text[second:]) == expected
        assert said(*text) == expected

    @pytest.mark.parametrize(
        ("opening", "closing"),
        [
            ("<thought>", "</thought>"),
            ("<reasoning>", "</reasoning>"),
            ("[THINK]", "[/THINK]"),
            ("<seed:think>", "</seed:think>"),
            ("◁think▷", "◁/think▷"),
            ("<|channel|>analysis<|message|>", "<|end|><|start|>assistant<|channel|>final<|message|>"),
        ],
    )
    def test_other_models_have_other_tags(self, opening: str, closing: str) -> None:
        text = f"{opening}a < [b] <|end|> c{closing}\n\nBlue {closing}"
        for pieces in ([text], list(text), [text[:9], text[9:30], text[30:]]):
            assert said(*pieces) == ("a < [b] <|end|> c", f"Blue {closing}")

    def test_a_tag_is_closed_by_its_own(self) -> None:
        assert said("[THINK]", "a</think>b", "[/THINK]", "c") == ("a</think>b", "c")

    def test_what_is_never_closed_is_thinking(self) -> None:
        assert said("<think>", "a </thin") == ("a </thin", "")

    def test_thinking_of_nothing_is_none(self) -> None:
        assert said("<think>\n\n</think>\n\nBlue.") == ("", "Blue.")

    @pytest.mark.parametrize(
        "text",
        ["Use <think> here </think>.", "<thin", "<b>x</b>", " \n x", "<", "< think>a</think>", " " * 300],
    )
    def test_other_text_stays_as_it_is(self, text: str) -> None:
        assert said(*text) == ("", text)
        assert said(text) == ("", text)

    def test_a_profile_can_switch_it_off(self) -> None:
        text = "<think>a</think>b"
        assert said(*text, think_tags=False) == ("", text)

    def test_long_thinking_leaves_the_text_alone(self) -> None:
        assert said("<think>", *["x" * 70] * 100, "</think>", "Ada.") == ("x" * 7000, "Ada.")

    def test_a_call_comes_after_the_text_before_it(self) -> None:
        call = {"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}]}
        heard, _ = read({"content": "<thi"}, call)
        assert heard.data[0] == b'{"token":"<thi"}'
        assert len(heard.pieces) == 1

    def test_an_interrupted_answer_keeps_what_was_held_back(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(chunk({"content": "<think>a</thi"}))
        answer.settle()
        assert heard.thought == "a</thi"


def pieces(*calls: Any) -> tuple[list[CallPiece], End]:
    heard, end = read(*({"tool_calls": call} for call in calls))
    return heard.pieces, end


def function(name: Any = None, arguments: Any = None) -> dict[str, Any]:
    return {"function": {"name": name, "arguments": arguments}}


class TestToolCalls:
    def test_pieces_of_two_calls(self) -> None:
        found, end = pieces(
            [{"index": 0, "id": "a", **function("f", "")}],
            [{"index": 0, **function(arguments='{"x"')}],
            [{"index": 0, **function(arguments=":1}")}, {"index": 1, "id": "b", **function("g", "{}")}],
        )
        assert found == [
            CallPiece(0, "a", "f", ""),
            CallPiece(0, None, None, '{"x"'),
            CallPiece(0, None, None, ":1}"),
            CallPiece(1, "b", "g", "{}"),
        ]
        assert end.reason == "tool_calls"

    def test_readers_get_them_as_events(self) -> None:
        call = {"index": 0, "id": "a", **function("f", "{")}
        heard, _ = read({"tool_calls": [call]}, {"tool_calls": [{"index": 0, **function(arguments="}")}]})
        assert [orjson.loads(data) for data in heard.data] == [
            {"tool_call": {"index": 0, "id": "a", "name": "f", "arguments": "{"}},
            {"tool_call": {"index": 0, "arguments": "}"}},
        ]

    def test_without_index_the_id_tells_the_call(self) -> None:
        found, _ = pieces(
            [{"id": "a", **function("f", "1")}],
            [{"id": "b", **function("g", "2")}],
            [{"id": "a", **function("f", "3")}],
            [function(arguments="4")],
        )
        assert [(piece.index, piece.arguments) for piece in found] == [(0, "1"), (1, "2"), (0, "3"), (1, "4")]

    def test_without_index_and_id_a_name_begins_a_call(self) -> None:
        found, _ = pieces([function("f", "{}"), function("g", "{}")])
        assert [(piece.index, piece.name) for piece in found] == [(0, "f"), (1, "g")]
        assert len({piece.call_id for piece in found}) == 2
        assert all(piece.call_id for piece in found)

    def test_index_0_for_every_call_is_understood(self) -> None:
        found, _ = pieces(
            [{"index": 0, "id": "a", **function("f", "{}")}], [{"index": 0, "id": "b", **function("f", "{}")}]
        )
        assert [(piece.index, piece.call_id) for piece in found] == [(0, "a"), (1, "b")]

    def test_an_id_that_changes_without_a_name_goes_on_with_the_call(self) -> None:
        found, _ = pieces(
            [{"index": 0, "id": "a", **function("f", "{")}], [{"index": 0, "id": "b", **function(None, "}")}]
        )
        assert [(piece.index, piece.call_id, piece.arguments) for piece in found] == [
            (0, "a", "{"),
            (0, None, "}"),
        ]

    def test_id_and_name_that_are_repeated_are_told_once(self) -> None:
        piece = {"index": 3, "id": "a", **function("f", "1")}
        found, _ = pieces([piece], [piece])
        assert found == [CallPiece(0, "a", "f", "1"), CallPiece(0, None, None, "1")]

    def test_a_name_that_comes_later_is_told_then(self) -> None:
        found, _ = pieces([{"index": 0, "id": "a", **function()}], [{"index": 0, **function("f", "{}")}])
        assert found == [CallPiece(0, "a", None, ""), CallPiece(0, None, "f", "{}")]

    def test_one_id_for_two_calls_is_not_given_to_both(self) -> None:
        found, _ = pieces(
            [{"index": 0, "id": "a", **function("f")}, {"index": 1, "id": "a", **function("g")}]
        )
        assert len({piece.call_id for piece in found}) == 2

    @pytest.mark.parametrize(("given", "text"), [({"x": "é"}, '{"x":"é"}'), ([], "[]"), (None, ""), (5, "5")])
    def test_arguments_may_be_the_object_itself(self, given: Any, text: str) -> None:
        found, _ = pieces([{"index": 0, "id": "a", **function("f", given)}])
        assert [piece.arguments for piece in found] == [text]

    def test_halves_in_arguments_are_joined(self) -> None:
        found, _ = pieces(
            [{"index": 0, "id": "a", **function("f", '"\ud83d')}], [{"index": 0, **function(None, '\ude00"')}]
        )
        assert "".join(piece.arguments for piece in found) == '"😀"'

    @pytest.mark.parametrize(
        "calls",
        [
            {"index": 0, "id": "a", **function("f", "{}")},
            [{"index": 0, "id": "a", "type": "function", "name": "f", "arguments": "{}"}],
            [None, {"id": "a", **function("f", {})}],
        ],
        ids=str,
    )
    def test_calls_in_other_forms(self, calls: Any) -> None:
        found, end = pieces(calls)
        assert (found, end.reason) == ([CallPiece(0, "a", "f", "{}")], "tool_calls")

    def test_the_form_before_tool_calls(self) -> None:
        heard, end = read(
            {"function_call": {"name": "f", "arguments": ""}},
            {"function_call": {"arguments": "{}"}},
            finish_reason="function_call",
        )
        assert [(piece.index, piece.name, piece.arguments) for piece in heard.pieces] == [
            (0, "f", ""),
            (0, None, "{}"),
        ]
        assert heard.pieces[0].call_id
        assert end.reason == "tool_calls"

    @pytest.mark.parametrize("odd", [5, "x", [5], [{}], [{"function": 5}], {"a": 1}, [None]], ids=str)
    def test_what_is_no_call_is_a_sign_of_life(self, odd: object) -> None:
        heard, end = read({"tool_calls": odd, "function_call": odd if isinstance(odd, str) else None})
        assert (heard.pieces, heard.signs_of_life, end.reason) == ([], 2, "stop")

    def test_too_many_calls_end_the_answer(self) -> None:
        with pytest.raises(errors.InferenceBroken, match="too many tool calls"):
            pieces([{"index": n, **function("f")} for n in range(MAX_CALLS + 1)])


class TestHalfCharacters:
    @pytest.mark.parametrize("think_tags", [True, False])
    def test_a_pair_over_two_chunks_is_one_character(self, think_tags: bool) -> None:
        assert said("a", "b\ud83d", "\ude00c", "d", think_tags=think_tags) == ("", "ab😀cd")

    def test_a_pair_in_one_chunk_is_one_character(self) -> None:
        assert said("\ud83d\ude00", "a") == ("", "😀a")

    @pytest.mark.parametrize(
        ("given", "text"),
        [
            (["a\ud83d", "b"], "a\ufffdb"),
            (["a", "\ude00b"], "a\ufffdb"),
            (["a\ud83d"], "a\ufffd"),
            (["\ud83d", "\ud83d", "\ude00"], "\ufffd😀"),
            (["a\ude00\ud83d", "b"], "a\ufffd\ufffdb"),
        ],
        ids=ascii,
    )
    def test_a_lone_half_becomes_the_replacement_character(self, given: list[str], text: str) -> None:
        assert said(*given) == ("", text)

    def test_thinking_has_halves_of_its_own(self) -> None:
        heard, _ = read(
            {"reasoning": "\ud83d", "content": "\ud83d"}, {"reasoning": "\ude00", "content": "\ude00"}
        )
        assert (heard.thought, heard.said) == ("😀", "😀")

    def test_the_text_u_d83d_is_text(self) -> None:
        assert said("\\ud83d", "x") == ("", "\\ud83dx")

    def test_other_strings_are_mended(self) -> None:
        answer = Answer(Heard())
        answer.event(chunk({"content": "a"}, "stop", model="m\ud83d"))
        assert answer.end().model == "m\ufffd"

    @pytest.mark.parametrize("data", [b'"\\ud83d"', b'{"a":"\\ud83d"', b'{"a":' * 5000 + b'"\\ud83d"'])
    def test_what_is_no_object_is_still_broken(self, data: bytes) -> None:
        with pytest.raises(errors.InferenceBroken):
            Answer(Heard()).event(data)


class TestUnknownFields:
    ODD: tuple[Any, ...] = (None, 0, "x", 1.5, True, [], {}, ["x"], {"a": {"b": []}})

    @pytest.mark.parametrize("odd", ODD, ids=str)
    def test_unknown_fields_of_any_type_change_nothing(self, odd: object) -> None:
        heard = Heard()
        answer = Answer(heard)
        choice = {"index": 0, "delta": {"content": "a", "new": odd, "role": odd}, "new": odd, "logprobs": odd}
        answer.event(json.dumps({"choices": [choice], "new": odd, "id": odd, "created": odd}).encode())
        answer.event(chunk({"content": "b", "annotations": odd}, new=odd, model=odd))
        answer.event(chunk(finish_reason="stop"))
        assert (heard.said, answer.end().reason) == ("ab", "stop")

    @pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999", "9" * 40])
    def test_numbers_that_python_writes_change_nothing(self, number: str) -> None:
        heard = Heard()
        answer = Answer(heard)
        for text in "ab":
            answer.event(
                b'{"choices":[{"delta":{"content":"%b"},"p":%b}]}' % (text.encode(), number.encode())
            )
        assert heard.said == "ab"

    @pytest.mark.parametrize("p", ["1", "NaN"])
    def test_a_byte_order_mark_before_a_chunk_is_passed_over(self, p: str) -> None:
        heard = Heard()
        Answer(heard).event('\ufeff{"choices":[{"delta":{"content":"a"}}],"p":P}'.replace("P", p).encode())
        assert heard.said == "a"

    def test_control_characters_in_strings_are_taken(self) -> None:
        heard = Heard()
        Answer(heard).event(b'{"choices":[{"delta":{"content":"a\tb"}}]}')
        assert heard.said == "a\tb"

    @pytest.mark.parametrize("choices", [{}, "", 0, [None], [{"delta": ""}], [{"delta": []}]], ids=str)
    def test_empty_values_of_other_types_say_nothing(self, choices: Any) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(chunk({"content": "a"}))
        answer.event(json.dumps({"choices": choices}).encode())
        answer.event(chunk({"content": "b"}))
        assert heard.said == "ab"

    @pytest.mark.parametrize("choice", [{"message": {"content": "a"}}, {"text": "a"}], ids=str)
    def test_a_chunk_may_have_a_message_or_a_text(self, choice: dict[str, Any]) -> None:
        heard = Heard()
        answer = Answer(heard)
        for _ in range(2):
            answer.event(json.dumps({"choices": [choice]}).encode())
        assert heard.said == "aa"

    def test_a_message_after_deltas_is_what_was_said(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(chunk({"content": "a"}))
        message = {"message": {"content": "a"}, "finish_reason": "stop"}
        answer.event(json.dumps({"choices": [message]}).encode())
        assert (heard.said, answer.end()) == ("a", End())

    def test_only_the_first_choice_counts(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(chunk({"content": "a"}))
        other = {"index": 1, "delta": {"content": "X"}, "finish_reason": "length"}
        answer.event(json.dumps({"choices": [other]}).encode())
        first = {"index": 0, "delta": {"content": "b"}, "finish_reason": "stop"}
        answer.event(json.dumps({"choices": [other, first]}).encode())
        assert (heard.said, answer.end().reason) == ("ab", "stop")

    @pytest.mark.parametrize("choices", [None, []])
    def test_a_chunk_without_choices_is_a_sign_of_life(self, choices: object) -> None:
        heard = Heard()
        Answer(heard).event(json.dumps({"choices": choices, "prompt_filter_results": []}).encode())
        assert heard.signs_of_life == 1

    @pytest.mark.parametrize("name", [b"ping", b"x"])
    def test_an_event_of_another_name_is_a_sign_of_life(self, name: bytes) -> None:
        heard = Heard()
        assert Answer(heard).named(name, b"not JSON") is None
        assert heard.signs_of_life == 1

    def test_a_chunk_counts_under_any_name(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.named(b"chunk", chunk({"content": "a"}, "stop"))
        end = answer.named(b"done", b"[DONE]")
        assert (heard.said, end) == ("a", End())


def test_a_whole_answer_is_one_answer() -> None:
    heard = Heard()
    message = {"role": "assistant", "content": "<think>hm</think>Blue.", "tool_calls": None}
    end = Answer(heard).whole(
        orjson.dumps(
            {
                "object": "chat.completion",
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "length"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 2},
            }
        )
    )
    assert (heard.thought, heard.said) == ("hm", "Blue.")
    assert (end.reason, end.model, end.usage.completion_tokens) == ("length", "m", 2)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b'{"error":{"message":"m"}}', errors.InferenceError),
        (b'{"detail":"m"}', errors.InferenceError),
        (b"{}", errors.InferenceBroken),
        (b'{"choices":[{"delta":{}}]}', errors.InferenceBroken),
        (b"[]", errors.InferenceBroken),
        (b'[{"error":{"message":"m"}}]', errors.InferenceError),
    ],
)
def test_a_whole_answer_that_is_none(body: bytes, error: type[errors.ChatError]) -> None:
    with pytest.raises(error) as raised:
        Answer(Heard()).whole(body)
    assert type(raised.value) is error
