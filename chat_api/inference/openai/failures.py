"""Errors within a stream, in any of the forms that servers use."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import structlog

from chat_api import errors
from chat_api.inference.base import Unreadable
from chat_api.inference.halves import parse_leniently
from chat_api.inference.openai.finish import loggable
from chat_api.inference.refusal import read_said

log = structlog.get_logger(__name__)

_FAILING_TEXT = re.compile(
    rb"(?!\s*\{).{0,200}\b(error|exception|failed|unavailable|overloaded)\b", re.I | re.S
)
_SURROUNDING = ("error", "errors", "Error", "err", "exception", "fault")
# What a chunk with choices may have beside them that says so.
_TELLING = frozenset({*_SURROUNDING, "status", "event", "type", "base_resp"})
_MESSAGES = ("message", "error_msg", "error_message", "errorMessage", "status_msg")


def raise_error_in(chunk: dict[str, Any], *, named: bool = False) -> None:
    """Raise InferenceError if a chunk says that the server failed.

    `named`: it is an event that has a name of its own. There a message alone may be about anything.
    """
    if chunk.get("choices") and _TELLING.isdisjoint(chunk) and chunk.get("object") != "error":
        return
    error = next((chunk[name] for name in _SURROUNDING if chunk.get(name)), None)
    if error is not None:
        # What `error: true` is about is said beside it.
        fail(error if isinstance(error, dict | list | str) else chunk)
    if "error" in (chunk.get("object"), chunk.get("status"), chunk.get("event")) or _says_error(chunk):
        fail(chunk)
    base = chunk.get("base_resp")  # MiniMax's; 0 is success
    if isinstance(base, dict) and base.get("status_code"):
        fail(base)
    if not (chunk.get("choices") or named) and _is_bare(chunk):
        fail(chunk)


def raise_error_of(data: bytes) -> NoReturn:
    """Raise InferenceError for an event that is called an error, whatever its data is."""
    try:
        said = parse_leniently(data)
    except Unreadable:
        fail(data.decode(errors="replace"))
    raise_error_in(said)
    fail(said)


def is_error_text(data: bytes) -> bool:
    """Whether an event that is no JSON says so: `[ERROR] no memory`."""
    return _FAILING_TEXT.match(data) is not None


def fail(error: object) -> NoReturn:
    """Raise InferenceError, with what was said as its reason.

    Only the error's code is logged: its message may repeat what the user wrote.
    """
    code = (
        error.get("code") or error.get("error_code") or error.get("status_code") or error.get("type")
        if isinstance(error, dict)
        else None
    )
    log.warning("inference_failed", code=loggable(code))
    failure = errors.InferenceError()
    status = code if type(code) is int and 400 <= code < 600 else 0
    failure.reason = read_said(status, error)
    raise failure


def _says_error(chunk: dict[str, Any]) -> bool:
    kind = chunk.get("type")
    return isinstance(kind, str) and (kind.endswith("error") or kind == "response.failed")


def _is_bare(chunk: dict[str, Any]) -> bool:
    """Whether a chunk without choices is an error that nothing surrounds."""
    code = chunk.get("code") or chunk.get("status") or chunk.get("statusCode")
    return (
        any(isinstance(chunk.get(name), str) and chunk[name] for name in _MESSAGES)
        or any(chunk.get(name) for name in ("detail", "error_code"))
        or ("code" in chunk and ("details" in chunk or "msg" in chunk))
        or (type(code) is int and code >= 400)
        or chunk.get("success") is False
    )
