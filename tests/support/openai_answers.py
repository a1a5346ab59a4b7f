"""Answers of an OpenAI-compatible model server."""

from __future__ import annotations

from typing import Any

from tests.support.model_server import Call


def says(
    call: Call, *deltas: dict[str, Any], reason: str = "stop", usage: dict[str, Any] | None = None
) -> None:
    """The whole answer, in these pieces."""
    for delta in deltas:
        call.send({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    call.send({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}], "usage": usage})
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()
