"""What an OpenAI-compatible model server says, for tests of what nanochat can't say."""

from __future__ import annotations

from typing import Any

from chat_api.settings import Settings
from tests.support.model_server import Call, ModelServer


def speaking_openai(settings: Settings, model: ModelServer) -> Settings:
    """Settings that call the model server by OpenAI's protocol."""
    changes = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    return settings.model_copy(update=changes)


def send(call: Call, delta: dict[str, Any], finish_reason: str | None = None) -> None:
    """Send one chunk."""
    call.send({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]})


def think(call: Call, *pieces: str) -> None:
    """Send pieces of thinking."""
    for piece in pieces:
        send(call, {"reasoning_content": piece})


def say(call: Call, *pieces: str) -> None:
    """Send pieces of text."""
    for piece in pieces:
        send(call, {"content": piece})


def begin_call(call: Call, index: int, call_id: str, name: str, arguments: str = "") -> None:
    """Send the first piece of a tool call."""
    function = {"name": name, "arguments": arguments}
    send(call, {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]})


def go_on(call: Call, index: int, arguments: str) -> None:
    """Send another piece of a tool call's arguments."""
    send(call, {"tool_calls": [{"index": index, "function": {"arguments": arguments}}]})


def end(call: Call, finish_reason: str = "stop") -> None:
    """End the answer."""
    send(call, {}, finish_reason)
    call.send_bytes(b"data: [DONE]\n\n")
    call.close()
