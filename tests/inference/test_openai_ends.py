"""How an answer ends, in the OpenAI protocol: finish reasons, errors within the stream, usage."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
import structlog

from chat_api import errors
from chat_api.inference import End, Usage
from chat_api.inference.openai.answer import Answer
from tests.support.listener import Heard


def chunk(text: str | None = None, finish_reason: Any = None, **more: Any) -> bytes:
    delta = {} if text is None else {"content": text}
    return orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **more})


def begun() -> tuple[Answer, Heard]:
    """An answer that has said "ab" in two chunks."""
    heard = Heard()
    answer = Answer(heard)
    answer.event(chunk("a"))
    answer.event(chunk("b"))
    return answer, heard


class TestFinishReasons:
    @pytest.mark.parametrize(
        ("given", "reason"),
        [
            ("stop", "stop"),
            ("STOP", "stop"),
            ("eos", "stop"),
            ("end_turn", "stop"),
            ("stop_sequence", "stop"),
            ("length", "length"),
            ("max_tokens", "length"),
            ("MAX_TOKENS", "length"),
            ("model_length", "length"),
            ("FinishReason.MAX_TOKENS", "length"),
            ("content_filter", "content_filter"),
            ("SAFETY", "content_filter"),
            ("RECITATION", "content_filter"),
            ("PROHIBITED_CONTENT", "content_filter"),
            ("BLOCKLIST", "content_filter"),
            # Relatives: of Gemini, Bedrock, Cohere, LM Studio, watsonx, SGLang and the gateways before them.
            ("IMAGE_PROHIBITED_CONTENT", "content_filter"),
            ("guardrail_intervened", "content_filter"),
            ("ERROR_TOXIC", "content_filter"),
            ("contentFilter", "content_filter"),
            ("policy_violation", "content_filter"),
            ("maxPredictedTokensReached", "length"),
            ("contextLengthReached", "length"),
            ("model_context_window_exceeded", "length"),
            ("FINISH_REASON_MAX_TOKENS", "length"),
            ("output_limit", "length"),
            ("incomplete", "length"),
            ({"type": "length", "length": 9}, "length"),
            ("eosFound", "stop"),
            ("stop_str", "stop"),
            ("COMPLETE", "stop"),
        ],
    )
    def test_each_keeps_its_meaning(self, given: Any, reason: str) -> None:
        answer, heard = begun()
        assert answer.event(chunk(finish_reason=given)) is None
        end = answer.event(b"[DONE]")
        assert end is not None
        assert (end.reason, heard.said) == (reason, "ab")

    @pytest.mark.parametrize(
        "given",
        [
            "error",
            "abort",
            "insufficient_system_resource",
            "engine_error",
            "MALFORMED_FUNCTION_CALL",
            "UNEXPECTED_TOOL_CALL",
            "malformed_model_output",
            "network_error",
            "TIMEOUT",
            "time_limit",
            "USER_CANCEL",
            "deadline_exceeded",
            "modelUnloaded",
            "server_busy",
            "service_unavailable",
            {"type": "abort", "message": "m"},
        ],
        ids=str,
    )
    def test_a_server_that_gave_up_has_broken_off(self, given: Any) -> None:
        answer, heard = begun()
        with pytest.raises(errors.InferenceInterrupted):
            answer.event(chunk("c", given))
        assert heard.said == "abc"

    @pytest.mark.parametrize("given", ["load", "brand new", 5, ["x"]])
    def test_an_unknown_one_is_a_stop_and_logged(self, given: object) -> None:
        answer, _ = begun()
        with structlog.testing.capture_logs() as lines:
            answer.event(chunk(finish_reason=given))
        assert answer.end().reason == "stop"
        assert [line["event"] for line in lines] == ["inference_finish_unknown"]
        assert lines[0]["finish_reason"] == (str(given) if given in ("load", 5) else None)

    @pytest.mark.parametrize(
        "given",
        [None, "", "null", "FINISH_REASON_UNSPECIFIED", False, 0, [], {}, "not_finished", "in_progress"],
        ids=str,
    )
    def test_these_are_none(self, given: object) -> None:
        answer, heard = begun()
        answer.event(chunk("c", given))
        with pytest.raises(errors.InferenceInterrupted):
            answer.end()
        assert heard.said == "abc"

    @pytest.mark.parametrize("given", ["tool_calls", "function_call", "tool_use"])
    def test_calls_that_never_came_are_a_stop(self, given: str) -> None:
        answer, _ = begun()
        answer.event(chunk(finish_reason=given))
        assert answer.end().reason == "stop"

    def test_a_call_that_came_is_one_though_the_reason_is_stop(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
        choice = {"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": "stop"}
        answer.event(orjson.dumps({"choices": [choice]}))
        assert answer.end().reason == "tool_calls"

    def test_a_refusal_is_told_as_text_and_filtered(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(orjson.dumps({"choices": [{"index": 0, "delta": {"refusal": "No."}}]}))
        answer.event(chunk(finish_reason="stop"))
        assert (heard.said, answer.end().reason) == ("No.", "content_filter")

    def test_an_empty_answer_that_was_filtered_says_so(self) -> None:
        heard = Heard()
        answer = Answer(heard)
        answer.event(b'{"choices":[],"prompt_filter_results":[{"prompt_index":0}]}')
        answer.event(chunk(finish_reason="content_filter"))
        assert (heard.said, answer.end().reason) == ("", "content_filter")

    def test_done_alone_is_a_stop(self) -> None:
        answer, _ = begun()
        assert answer.event(b"[DONE]") == End()


ERRORS: dict[str, Any] = {
    "vLLM": {"object": "error", "message": "m", "type": "BadRequestError", "code": 400},
    "a code and a message": {"message": "m", "code": "overloaded"},
    "a code and details": {"code": 400, "details": "m"},
    "within the choice": {
        "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error", "error": {"code": 502}}]
    },
    "beside the choices": {"choices": [{"index": 0, "delta": {"content": ""}}], "error": {"message": "m"}},
    "a text": {"error": "m"},
    "an object": {"error": {"message": "m"}},
    "FastAPI": {"detail": "m"},
    "FastAPI's problems": {"detail": [{"loc": ["body"], "msg": "m"}]},
    "Anthropic": {"type": "error", "error": {"type": "overloaded_error", "message": "m"}},
    "a list": {"errors": [{"message": "m"}]},
    "Baidu": {"error_code": 336100, "error_msg": "m"},
    "with choices of nothing": {"object": "error", "choices": None, "message": "m"},
    "with no choices": {"choices": [], "message": "m", "code": 500},
    "within the delta": {"choices": [{"index": 0, "delta": {"error": {"message": "m"}}}]},
    "MiniMax": {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "m"}},
    "Google, in a list": [{"error": {"code": 503, "message": "m", "status": "UNAVAILABLE"}}],
    "problem details": {"type": "about:blank", "title": "Internal Server Error", "status": 500},
    "a status in words": {"status": "error"},
    "a code alone": {"code": 500},
    "no success": {"success": False, "msg": "m"},
    "a flag": {"error": True, "message": "m"},
    "a kind": {"type": "server_error", "code": None},
    "Amazon": {"errorMessage": "m", "errorType": "x"},
    "an exception": {"exception": "m"},
    "a fault": {"fault": {"faultstring": "m"}},
    "the Responses API": {"type": "response.failed", "response": {"error": {"message": "m"}}},
    "a text of JSON": "error: m",
}


class TestErrorsInTheStream:
    @pytest.mark.parametrize("data", ERRORS.values(), ids=ERRORS.keys())
    def test_every_form_is_an_error_whatever_follows(self, data: Any) -> None:
        answer, heard = begun()
        with pytest.raises(errors.InferenceError) as raised:
            answer.event(orjson.dumps(data))
        assert raised.value.code == "inference_error"
        assert heard.said == "ab"

    @pytest.mark.parametrize("data", [b'{"message":"m","code":"overloaded"}', b'{"code":500}', b"m", b""])
    def test_an_event_named_error_is_one(self, data: bytes) -> None:
        answer, _ = begun()
        with pytest.raises(errors.InferenceError) as raised:
            answer.named(b"error", data)
        assert raised.value.code == "inference_error"

    @pytest.mark.parametrize("name", [b"Error", b"exception", b"server_error", b"message_failed"])
    def test_so_is_one_of_a_name_that_says_so(self, name: bytes) -> None:
        answer, _ = begun()
        for data in (b'{"choices":[{"delta":{}}]}', b"m", b"{}"):
            with pytest.raises(errors.InferenceError) as raised:
                answer.named(name, data)
            assert raised.value.code == "inference_error"

    @pytest.mark.parametrize(
        "data", [b'{"error":{"message":"m"}}', b'{"object":"error"}', b'{"errors":["m"]}']
    )
    def test_an_event_of_any_name_says_error_by_its_data(self, data: bytes) -> None:
        answer, _ = begun()
        with pytest.raises(errors.InferenceError) as raised:
            answer.named(b"chunk", data)
        assert raised.value.code == "inference_error"

    @pytest.mark.parametrize(
        "data", [b"[ERROR] no memory", b"Internal Server Error", b"upstream unavailable"]
    )
    def test_plain_words_say_it_too(self, data: bytes) -> None:
        answer, heard = begun()
        with pytest.raises(errors.InferenceError) as raised:
            answer.event(data)
        assert (raised.value.code, heard.said) == ("inference_error", "ab")

    @pytest.mark.parametrize("nothing", [None, "", {}, [], False])
    def test_an_error_that_says_nothing_is_none(self, nothing: object) -> None:
        answer, heard = begun()
        answer.event(chunk("c", "stop", error=nothing))
        assert (heard.said, answer.end().reason) == ("abc", "stop")

    @pytest.mark.parametrize(
        "data",
        [
            {"code": 0, "choices": []},
            {"id": "x"},
            {"object": "ping"},
            {"usage": {"prompt_tokens": 1}},
            {"choices": None, "base_resp": {"status_code": 0, "status_msg": ""}},
            {"status": "in_progress"},
            {"success": True, "code": 200},
        ],
        ids=str,
    )
    def test_what_is_no_error_is_a_sign_of_life(self, data: Any) -> None:
        answer, heard = begun()
        answer.event(orjson.dumps(data))
        assert heard.signs_of_life == 1

    def test_a_message_of_an_event_with_a_name_is_about_anything(self) -> None:
        answer, heard = begun()
        assert answer.named(b"tool.progress", b'{"message":"searching"}') is None
        assert heard.signs_of_life == 1

    def test_the_log_has_the_code_and_not_the_message(self) -> None:
        answer, _ = begun()
        with structlog.testing.capture_logs() as lines, pytest.raises(errors.InferenceError):
            answer.event(orjson.dumps({"error": {"message": "you wrote: secret", "code": 429}}))
        assert lines == [{"event": "inference_failed", "code": "429", "log_level": "warning"}]


class TestAfterTheEnd:
    @pytest.mark.parametrize(
        "data",
        [
            chunk("more"),
            chunk("more", "length"),
            chunk(finish_reason="error"),
            b'{"error":{"message":"m"}}',
            b'{"object":"error"}',
            b'{"choices":[],"code":500}',
            b'{"choices":[{"index":0,"delta":{"tool_calls":[{"id":"a","function":{"name":"f"}}]}}]}',
        ],
    )
    def test_nothing_changes_but_the_usage(self, data: bytes) -> None:
        answer, heard = begun()
        answer.event(chunk(finish_reason="stop"))
        answer.event(data)
        answer.named(b"error", b"{}")
        answer.event(orjson.dumps({"choices": [], "usage": {"completion_tokens": 2}}))
        assert answer.event(b"[DONE]") == End("stop", Usage(completion_tokens=2))
        assert (heard.said, heard.pieces) == ("ab", [])


class TestTheMarkAtTheEnd:
    @pytest.mark.parametrize("mark", [b"[DONE]", b" [DONE]", b"[DONE] ", b'"[DONE]"', b"[done]", b"[DONE]\n"])
    def test_may_be_written_in_many_ways(self, mark: bytes) -> None:
        answer, _ = begun()
        assert answer.event(mark) == End()
        answer, _ = begun()
        assert answer.named(b"done", mark) == End()

    @pytest.mark.parametrize("data", [b"[DONE", b"DONE", b"[DONE] [DONE]"])
    def test_other_words_are_none(self, data: bytes) -> None:
        answer, _ = begun()
        with pytest.raises(errors.InferenceBroken):
            answer.event(data)


@pytest.mark.parametrize(
    "data",
    [b"null", b'""', b"[]", b"{}", b"0", b"false", b"ping", b"[PING]", b": keep-alive", b'"heartbeat"'],
)
def test_data_that_says_nothing_is_a_sign_of_life(data: bytes) -> None:
    answer, heard = begun()
    assert answer.event(data) is None
    assert (heard.said, heard.signs_of_life) == ("ab", 1)
    first = Heard()
    assert Answer(first).event(data) is None
    assert (first.said, first.signs_of_life) == ("", 1)


class TestUsage:
    @pytest.mark.parametrize(
        ("given", "usage"),
        [
            ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}, Usage(1, 2)),
            ({"completion_tokens_details": {"reasoning_tokens": 4}}, Usage(reasoning_tokens=4)),
            ({"prompt_tokens_details": {"cached_tokens": 0}}, Usage(cached_tokens=0)),
            ({"completion_tokens": 2, "reasoning_tokens": 3, "cached_tokens": 0}, Usage(None, 2, 3, 0)),
            (
                {
                    "input_tokens": 1,
                    "output_tokens": 2,
                    "input_tokens_details": {"cached_tokens": 3},
                    "output_tokens_details": {"reasoning_tokens": 4},
                },
                Usage(1, 2, 4, 3),
            ),
            ({"prompt_cache_hit_tokens": 7, "prompt_tokens_details": None}, Usage(cached_tokens=7)),
            ({"prompt_tokens": 2**31, "completion_tokens": -1}, Usage()),
            ({"prompt_tokens": "many", "completion_tokens": 1.5, "prompt_tokens_details": 5}, Usage()),
            ({"prompt_tokens": True, "completion_tokens": None, "completion_tokens_details": []}, Usage()),
            ({}, Usage()),
        ],
        ids=str,
    )
    def test_what_was_counted(self, given: Any, usage: Usage) -> None:
        answer, _ = begun()
        answer.event(chunk(finish_reason="stop", usage=given))
        assert answer.end().usage == usage

    def test_the_last_figure_counts_and_those_before_stay(self) -> None:
        answer, heard = begun()
        answer.event(chunk("c", usage={"prompt_tokens": 9, "completion_tokens": 3}))
        answer.event(chunk("d", "stop", usage={"completion_tokens": 4}))
        answer.event(chunk(usage=None))
        assert (answer.end().usage, heard.said) == (Usage(9, 4), "abcd")

    @pytest.mark.parametrize(
        "data",
        [
            {"choices": [], "x_groq": {"id": "r", "usage": {"completion_tokens": 5}}},
            {"choices": [{"index": 0, "delta": {}, "usage": {"completion_tokens": 5}}]},
        ],
        ids=["beside the chunk's fields", "within the choice"],
    )
    def test_other_places_count_too(self, data: Any) -> None:
        answer, _ = begun()
        answer.event(orjson.dumps(data))
        answer.event(chunk(finish_reason="stop"))
        assert answer.end().usage.completion_tokens == 5
