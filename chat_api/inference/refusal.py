"""What a model server says when it refuses a request, and what callers are told of it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, NoReturn

import orjson
import structlog

from chat_api import errors
from chat_api.errors import Refusal
from chat_api.inference.event_parser import BOM

log = structlog.get_logger(__name__)

MAX_REFUSAL_BYTES = 65_536
MAX_MESSAGE_CHARACTERS = 2_048
MAX_WAIT_SECONDS = 3600
MAX_LAYERS = 4

TOO_MANY = 429
# Overloaded, starting or cut off. 520 to 530 are Cloudflare's; 529 is also Anthropic's.
BUSY = {408, TOO_MANY, 502, 503, 504, *range(520, 531)}
# The statuses of a server that doesn't take the messages: what they say, or how much. Any other 4xx is about
# the key, the model or the address, so the question may be sent again.
REFUSING = (400, 413, 422, 451)
# What a server without OpenAI's API behind it calls the messages, such as Azure's filter (`prompt`).
MESSAGES = re.compile(r"message|prompt|input|content", re.I)
# A 403 is about the key, unless it says that the content was (OpenRouter's moderation).
FLAGGED = re.compile(r"moderat|flagged|content.?(filter|policy)|inappropriate|data_inspection", re.I)
WORDS = re.compile(r"\s*[\w`'(]")  # of a body that is no JSON; not HTML
CHECK_KEY = (
    "check INFERENCE_API_KEY (openai), INTERNAL_API_KEY (nanochat), or the server's key in MODELS_FILE"
)
NAME = re.compile(r"[\w.\-\[\]]{1,64}", re.ASCII)  # of an error or a parameter, such as `messages[0].content`
NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)


def refuse(
    status: int, retry_after: str | None = None, body: bytes = b"", *, log_messages: bool = False
) -> NoReturn:
    """Raise the error for a response whose status isn't 200.

    Raises InferenceUnavailable for a server that is busy, with its `Retry-After`; InferenceError for one that
    failed; InferenceRejected for any other status, with what the body says as its reason.
    """
    refusal = read_refusal(status, body)
    log.warning(
        "inference_refused",
        status=status,
        code=refusal.code or None,
        param=refusal.param or None,
        reason=refusal.message or None if log_messages else None,
        do=CHECK_KEY if status in (401, 403) and not refuses_messages(refusal) else None,
    )
    if status in BUSY:
        raise _unavailable(status, retry_after)
    if status >= 500:
        failure = errors.InferenceError()
        failure.reason = refusal
        raise failure
    rejected = errors.InferenceRejected(
        f"The model server refused this message (HTTP {status}), most likely for what it says or for its "
        "length. It isn't sent again with the next one."
        if refuses_messages(refusal)
        else f"The model server refused the request (HTTP {status})."
    )
    rejected.reason = refusal
    raise rejected


def broken(
    reason: str, *, size_bytes: int | None = None, content_type: str | None = None
) -> errors.InferenceBroken:
    """The error for an answer that makes no sense, logged."""
    log.warning("inference_broken", reason=reason, size_bytes=size_bytes, content_type=content_type)
    return errors.InferenceBroken()


def refuses_messages(refusal: Refusal) -> bool:
    """Whether it is the messages that were refused, and no other parameter."""
    if refusal.status in REFUSING:
        return not refusal.param or MESSAGES.search(refusal.param) is not None
    return refusal.status == 403 and is_flagged(refusal)


def is_flagged(refusal: Refusal) -> bool:
    """Whether it is about what the messages say."""
    return FLAGGED.search(f"{refusal.code} {refusal.message}") is not None


def read_refusal(status: int, body: bytes) -> Refusal:
    """Read a refusal in the form of OpenAI, nested or flat, of FastAPI (`detail`), or in plain words."""
    body = body.removeprefix(BOM)
    try:
        said = orjson.loads(body)
    except orjson.JSONDecodeError:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return Refusal(status)
        said = text if WORDS.match(text) else ""
    return read_said(status, said)


def read_said(status: int, said: object) -> Refusal:
    """The same of a value that was JSON."""
    layers: list[dict[str, Any]] = []  # from the outside to the inside
    text = ""
    while len(layers) < MAX_LAYERS:
        if isinstance(said, list) and said:  # as Google sends it, or FastAPI's problems
            said = said[0]
        if not isinstance(said, dict):
            text = said if isinstance(said, str) else ""
            break
        layers.insert(0, said)
        message = said.get("message")  # Mistral's may hold problems
        said = said.get("error") or said.get("detail") or (None if isinstance(message, str) else message)
    message = text or _first(layers, _text, "message", "msg", "error_msg", "error_message", "status_msg")
    if quoted := _first(layers, _quoted, "metadata"):  # OpenRouter quotes the server behind it
        message = f"{message} {quoted}"
    return Refusal(
        status,
        code=_first(layers, _name, "code", "type", "error_type", "status"),
        message=message[:MAX_MESSAGE_CHARACTERS],
        param=_first(layers, _name, "param", "loc"),
    )


def _quoted(value: object) -> str:
    return _text(value.get("raw")) if isinstance(value, dict) else ""


def _first(layers: list[dict[str, Any]], read: Callable[[object], str], *keys: str) -> str:
    """The first of these fields that says something, in the innermost layer that has one."""
    return next((text for layer in layers for key in keys if (text := read(layer.get(key)))), "")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _name(value: object) -> str:
    """A name that may be logged. A number isn't one: it repeats the status."""
    if isinstance(value, list):  # where FastAPI found a problem
        value = ".".join(str(part) for part in value if part != "body")
    text = _text(value)
    return text if NAME.fullmatch(text) and not text.isdecimal() else ""


def _unavailable(status: int, retry_after: str | None) -> errors.InferenceUnavailable:
    seconds = read_retry_after(retry_after)
    when = "in a few seconds" if seconds is None else f"in {errors.in_words(seconds)}"
    error = errors.InferenceUnavailable(f"The model server is overloaded or starting. Try again {when}.")
    if seconds is not None:
        error.retry_after = seconds
    if seconds is not None or status == TOO_MANY:
        error.rest_seconds = error.retry_after
    return error


def read_retry_after(value: str | None) -> int | None:
    """Seconds from 1 to 3600, from a number or a date (RFC 9110 section 10.2.3); None for anything else."""
    text = (value or "").strip()
    if NUMBER.fullmatch(text):
        return max(1, math.ceil(min(float(text), MAX_WAIT_SECONDS)))
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
    seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - time.time()
    return max(1, math.ceil(min(seconds, MAX_WAIT_SECONDS)))
