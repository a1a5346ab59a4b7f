"""What a model server's refusal says, and what it becomes."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, formatdate
from typing import Any

import pytest
from structlog.testing import capture_logs

from chat_api import errors
from chat_api.errors import Refusal
from chat_api.inference.refusal import read_refusal, read_retry_after, refuse, refuses_messages

MESSAGE = "Unsupported parameter: 'max_tokens'"
BODIES: dict[str, tuple[Any, Refusal]] = {
    "OpenAI": (
        {
            "error": {
                "message": MESSAGE,
                "type": "invalid_request_error",
                "param": "max_tokens",
                "code": "unsupported_parameter",
            }
        },
        Refusal(400, "unsupported_parameter", MESSAGE, "max_tokens"),
    ),
    "OpenAI, without a code": (
        {"error": {"message": MESSAGE, "type": "invalid_request_error", "param": None, "code": None}},
        Refusal(400, "invalid_request_error", MESSAGE),
    ),
    "flat, its code is the status": (
        {"object": "error", "message": MESSAGE, "type": "BadRequestError", "param": None, "code": 400},
        Refusal(400, "BadRequestError", MESSAGE),
    ),
    "llama.cpp": (
        {"error": {"code": 400, "message": MESSAGE, "type": "exceed_context_size_error", "n_ctx": 2048}},
        Refusal(400, "exceed_context_size_error", MESSAGE),
    ),
    "Ollama": ({"error": MESSAGE}, Refusal(400, "", MESSAGE)),
    "a kind beside the text": (
        {"error": MESSAGE, "error_type": "validation"},
        Refusal(400, "validation", MESSAGE),
    ),
    "a list": (
        [{"error": {"code": 400, "message": MESSAGE, "status": "INVALID_ARGUMENT"}}],
        Refusal(400, "INVALID_ARGUMENT", MESSAGE),
    ),
    "FastAPI": ({"detail": MESSAGE}, Refusal(400, "", MESSAGE)),
    "FastAPI's problems": (
        {"detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"], "msg": MESSAGE}]},
        Refusal(400, "extra_forbidden", MESSAGE, "stream_options"),
    ),
    "FastAPI around OpenAI": (
        {"detail": {"error": {"message": MESSAGE, "code": "c"}}},
        Refusal(400, "c", MESSAGE),
    ),
    "Mistral": (
        {
            "object": "error",
            "message": {"detail": [{"type": "extra_forbidden", "loc": ["body", "top_k"], "msg": MESSAGE}]},
            "type": "invalid_request_error",
        },
        Refusal(400, "extra_forbidden", MESSAGE, "top_k"),
    ),
    "OpenRouter, around another server": (
        {
            "error": {
                "message": "Provider returned error",
                "code": 400,
                "metadata": {"raw": '{"error":"prompt is too long"}', "provider_name": "x"},
            }
        },
        Refusal(400, "", 'Provider returned error {"error":"prompt is too long"}'),
    ),
    "names that are none": (
        {"error": {"message": MESSAGE, "code": "what the user wrote", "param": "x" * 65, "type": True}},
        Refusal(400, "", MESSAGE),
    ),
    "a long text": ({"error": {"message": "é" * 9000}}, Refusal(400, "", "é" * 2048)),
    "fields of other types": ({"error": {"message": [5], "code": {}, "param": 5}}, Refusal(400)),
    "no object": ("text", Refusal(400, "", "text")),
    "nothing": ({}, Refusal(400)),
    "an empty list": ([], Refusal(400)),
    "null": (None, Refusal(400)),
    "nested for ever": (
        {"error": {"error": {"error": {"error": {"error": {"message": "a"}}}}}},
        Refusal(400),
    ),
}


@pytest.mark.parametrize(("body", "refusal"), BODIES.values(), ids=BODIES.keys())
def test_a_refusal_is_read_in_every_form(body: Any, refusal: Refusal) -> None:
    assert read_refusal(400, json.dumps(body).encode()) == refusal


def test_a_byte_order_mark_is_passed_over() -> None:
    assert read_refusal(400, b'\xef\xbb\xbf{"error":"no"}') == Refusal(400, "", "no")
    assert read_refusal(400, b"\xef\xbb\xbfno") == Refusal(400, "", "no")


def test_plain_words_are_read() -> None:
    text = "Failed to deserialize the JSON body: unknown field `stream_options`"
    assert read_refusal(422, text.encode()) == Refusal(422, "", text)
    assert read_refusal(400, b"`inputs` must have") == Refusal(400, "", "`inputs` must have")


@pytest.mark.parametrize(
    ("refusal", "is_about_them"),
    [
        (Refusal(400), True),
        (Refusal(422, param="messages.0.content"), True),
        (Refusal(400, "content_filter", "The response was filtered", "prompt"), True),  # Azure
        (
            Refusal(400, "data_inspection_failed", "Input data may contain inappropriate content"),
            True,
        ),  # Qwen
        (Refusal(400, param="input"), True),
        (
            Refusal(403, "", "Your chosen model requires moderation and your input was flagged"),
            True,
        ),  # OpenRouter
        (Refusal(403, "content_policy_violation"), True),
        (Refusal(403, "forbidden", "The key may not use this model"), False),
        (Refusal(401, "", "content policy"), False),
        (Refusal(400, param="temperature"), False),
        (Refusal(400, param="tools"), False),
        (Refusal(404, "model_not_found"), False),
        (Refusal(429), False),
        (Refusal(0, "context_length_exceeded"), False),
    ],
    ids=str,
)
def test_which_refusals_are_about_the_messages(refusal: Refusal, is_about_them: bool) -> None:
    assert refuses_messages(refusal) == is_about_them


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b'{"error":', b"\xff\xfe", b"[" * 5000, b'{"error":{"message":"\0"}}']
)
def test_a_refusal_that_cannot_be_read_says_nothing(body: bytes) -> None:
    assert read_refusal(422, body) == Refusal(422)


SECONDS: dict[str | None, int | None] = {
    "42": 42,
    " 7 ": 7,
    "0": 1,
    "1.5": 2,
    "86400": 3600,
    "9" * 5000: 3600,
    "-1": None,
    "1e3": None,
    "٣": None,
    "soon": None,
    "": None,
    None: None,
    "Wed, 21 Oct 2015 07:28:00 GMT": 1,
    "Wed, 21 Oct 2099 07:28:00 GMT": 3600,
    "Wed, 21 Oct 99999 07:28:00 GMT": None,
}


@pytest.mark.parametrize(("value", "seconds"), SECONDS.items(), ids=[str(key)[:30] for key in SECONDS])
def test_the_time_to_wait_is_bounded(value: str | None, seconds: int | None) -> None:
    assert read_retry_after(value) == seconds


def test_the_time_to_wait_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=100)
    for text in (format_datetime(soon, usegmt=True), format_datetime(soon.replace(tzinfo=None))):
        assert 98 <= (read_retry_after(text) or 0) <= 101, text
    assert 98 <= (read_retry_after(formatdate(time.time() + 100, usegmt=True)) or 0) <= 101


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        *((status, errors.InferenceUnavailable) for status in (408, 429, 502, 503, 504, 520, 524, 529, 530)),
        *((status, errors.InferenceError) for status in (500, 501, 505, 507, 531, 599)),
        *((status, errors.InferenceRejected) for status in (204, 301, 400, 401, 403, 404, 413, 422, 451)),
    ],
)
def test_a_status_says_whether_trying_again_helps(status: int, kind: type[errors.ChatError]) -> None:
    with pytest.raises(errors.ChatError) as caught:
        refuse(status)
    assert type(caught.value) is kind
    assert ("ry again" in caught.value.detail) == (kind is not errors.InferenceRejected)


def test_a_server_that_is_busy_names_the_time() -> None:
    for value, seconds, words in (
        ("42", 42, "42 seconds"),
        ("600", 600, "10 minutes"),
        ("x", 5, "a few seconds"),
    ):
        with pytest.raises(errors.InferenceUnavailable) as caught:
            refuse(429, value)
        assert caught.value.retry_after == seconds
        assert caught.value.headers == {"Retry-After": str(seconds)}
        assert caught.value.detail.endswith(f"Try again in {words}.")
    assert errors.InferenceUnavailable().retry_after == 5


def test_what_a_refusal_says_is_kept_for_the_service_alone() -> None:
    with pytest.raises(errors.InferenceRejected) as caught:
        refuse(400, None, b'{"error":{"message":"secret","param":"top_k"}}')
    assert caught.value.reason == Refusal(400, "", "secret", "top_k")
    assert "secret" not in str(caught.value) + str(caught.value.body)


@pytest.mark.parametrize("log_messages", [True, False])
def test_the_servers_own_words_are_logged_only_if_the_operator_wants_them(log_messages: bool) -> None:
    body = b'{"error":{"message":"the word FORBIDDEN","code":"policy","param":"messages[0].content"}}'
    with capture_logs() as lines, pytest.raises(errors.InferenceRejected):
        refuse(400, None, body, log_messages=log_messages)
    (line,) = lines
    assert (line["event"], line["status"], line["code"]) == ("inference_refused", 400, "policy")
    assert line["param"] == "messages[0].content"
    assert line["reason"] == ("the word FORBIDDEN" if log_messages else None)
    assert line["do"] is None


@pytest.mark.parametrize("status", [401, 403])
def test_the_log_says_which_settings_have_the_key(status: int) -> None:
    with capture_logs() as lines, pytest.raises(errors.InferenceRejected):
        refuse(status)
    (line,) = lines
    assert "INFERENCE_API_KEY" in line["do"]
    assert "INTERNAL_API_KEY" in line["do"]
