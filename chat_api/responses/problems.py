"""Errors in OpenAI's form, by which its libraries choose their exceptions, and whether to try again."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from chat_api import errors

PATHS = "/v1/"  # of OpenAI's API
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
# What the caller has to mend is 400, whichever status it has elsewhere.
MENDED_BY_THE_CALLER = (errors.Invalid, errors.NotSupported, errors.NoOpenCalls, errors.ModelGone)
# OpenAI's libraries try again after 409 and 5xx, unless they are told not to.
IN_VAIN = (
    errors.LegalHold,
    errors.Followed,
    errors.InferenceRejected,
    errors.AuthBroken,
    errors.DatabaseNotMigrated,
)
PARAMETERS: Mapping[type[errors.ChatError], str] = {
    errors.NotSupported: "tools",
    errors.NoOpenCalls: "input",
    errors.ModelGone: "model",
}
# What OpenAI calls a field of the requests that the service makes of its own.
RENAMED = {"content": "input", "results": "input", "model_tag": "model", "max_tokens": "max_output_tokens"}
NAME = re.compile("[a-z_]+", re.ASCII)


def status(error: errors.ChatError) -> int:
    """The status of the response."""
    return 400 if isinstance(error, MENDED_BY_THE_CALLER) else error.status


def headers(error: errors.ChatError) -> Mapping[str, str]:
    """Its headers."""
    return {**error.headers, **({"x-should-retry": "false"} if isinstance(error, IN_VAIN) else {})}


def body(error: errors.ChatError) -> dict[str, Any]:
    """Its JSON: the message, the kind, the parameter (null: none in particular) and the code."""
    told = {"message": str(error.detail), "param": PARAMETERS.get(type(error)), "code": error.code}
    if isinstance(error, errors.Invalid):
        told = _invalid(error.detail[0])
    usual = "server_error" if status(error) >= 500 else "invalid_request_error"
    return {"error": {**told, "type": KINDS.get(status(error), usual)}}


def _invalid(problem: Mapping[str, Any]) -> dict[str, str | None]:
    parameter = name(problem["loc"])
    match problem["type"]:
        case "extra_forbidden":  # pydantic's word for a field that the model doesn't have
            message = f"{parameter} isn't supported by this service: leave it out."
            code = "unsupported_parameter"
        case "missing":
            message, code = f"{parameter} is missing.", "missing_required_parameter"
        case _:
            says = str(problem["msg"]).removeprefix("Value error, ")  # pydantic begins a sentence so
            message = f"{parameter}: {says}." if parameter else f"{says}."
            code = "invalid_value"
    return {"message": message, "param": parameter, "code": code}


def name(loc: Sequence[str | int]) -> str | None:
    """A parameter as OpenAI names it: `input[0].content`. Names of a union's branches are left out."""
    told = ""
    for each in loc[1:2] if loc[1:2] == ["metadata"] else loc[1:]:  # its keys are the caller's own
        if isinstance(each, int):
            told += f"[{each}]"
        elif NAME.fullmatch(each):
            told += f".{each}" if told else RENAMED.get(each, each)
    return told or None
