"""Errors as callers see them (docs/contract.md section 1, Errors)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from chat_api import errors
from chat_api.description.schemas import Schema, refer
from chat_api.responses import problems

SCHEMAS: dict[str, Schema] = {
    "Error": {
        "type": "object",
        "description": "What went wrong: a sentence for people, and for programs a code that never changes.",
        "required": ["detail", "code"],
        "properties": {
            "detail": {"type": "string"},
            "code": {"type": "string", "pattern": "^[a-z]+(_[a-z]+)*$"},
            "generation_id": {
                "type": "string",
                "format": "uuid",
                "description": "with `generation_running`: the answer being written",
            },
            "default_model": {
                "type": "string",
                "description": "with `model_gone`: the tag of the model that answers by default",
            },
            "scope": {
                "type": "string",
                "description": "with `scope_missing`: the scope that an API key needs for this",
            },
            "begins_anew": {
                "type": "string",
                "format": "date-time",
                "description": "with `budget_exhausted`: when the budget's next period begins",
            },
        },
    },
    "OpenAIError": {
        "type": "object",
        "description": "What went wrong, in OpenAI's form.",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {
                        "enum": [*problems.KINDS.values(), "invalid_request_error", "server_error"],
                    },
                    "param": {"type": ["string", "null"], "description": "the parameter that is meant"},
                    "code": {"type": "string", "pattern": "^[a-z]+(_[a-z]+)*$"},
                },
            }
        },
    },
    "ValidationError": {
        "type": "object",
        "description": "The fields that are not valid, each with its place, the kind of problem, a sentence.",
        "required": ["detail", "code"],
        "properties": {
            "detail": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["type", "loc", "msg"],
                    "properties": {
                        "type": {"type": "string"},
                        "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
                        "msg": {"type": "string"},
                    },
                },
            },
            "code": {"const": "validation_failed"},
        },
    },
}
_HEADERS = {
    "x-should-retry": "`false`: trying again doesn't help. OpenAI's libraries read it.",
    "Retry-After": "Seconds to wait before trying again.",
    "WWW-Authenticate": "The authentication scheme to use.",
    "Upgrade": "The protocol to upgrade to.",
    "Sec-WebSocket-Version": "The WebSocket version to use.",
}


def all_errors() -> list[type[errors.ChatError]]:
    """Every kind of error that has a code of its own."""
    return [kind for kind in errors.kinds() if "code" in vars(kind)]


def sample(kind: type[errors.ChatError]) -> errors.ChatError:
    """An error of this kind, as a caller might get it."""
    if issubclass(kind, errors.Invalid):
        return kind.of("string_too_short", ("body", "title"), "String should have at least 1 character")
    if issubclass(kind, errors.MethodNotAllowed):
        return kind({"GET", "POST"})
    if issubclass(kind, errors.GenerationRunning):
        return kind(generation_id="01a2f3c4-9aab-7bcd-8ef0-112233445566")
    if issubclass(kind, errors.ModelGone):
        return kind(default_model="d20")
    return kind()


def response(kinds: Iterable[type[errors.ChatError]], headers: Schema, *, for_openai: bool = False) -> Schema:
    """The response for a status with these errors; `headers` are those of every response."""
    samples = {kind.code: sample(kind) for kind in kinds}
    described: dict[str, Any] = dict(headers)
    for each in samples.values():
        for name in problems.headers(each) if for_openai else each.headers:
            if name in _HEADERS:
                described[name] = {"description": _HEADERS[name], "schema": {"type": "string"}}
    return {
        "description": " ".join(f"`{code}`: {each.sentence}" for code, each in samples.items()),
        "headers": described,
        "content": {
            "application/json": {
                "schema": refer("OpenAIError") if for_openai else _schema(samples),
                "examples": {
                    code: {"value": problems.body(each) if for_openai else each.body}
                    for code, each in samples.items()
                },
            }
        },
    }


def _schema(samples: dict[str, errors.ChatError]) -> Schema:
    if list(samples) == [errors.Invalid.code]:
        return refer("ValidationError")
    return {"allOf": [refer("Error"), {"properties": {"code": {"enum": list(samples)}}}]}
