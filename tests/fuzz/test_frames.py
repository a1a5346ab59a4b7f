"""Hundreds of WebSocket sessions made from the description: every frame that comes back is described."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import jsonschema
from aiohttp import ClientWebSocketResponse, WSMsgType
from hypothesis import HealthCheck, given, settings, strategies
from hypothesis.strategies import SearchStrategy

from tests.fuzz.values import ANY_JSON, values
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.tab import token_of

Document = dict[str, Any]
Frame = str | bytes
COMMANDS = ("auth", "send", "regenerate", "continue", "tool_results", "subscribe", "unsubscribe", "stop")
LAST = "the last command of this conversation"


def validator(document: Document, schema: Document) -> jsonschema.Draft7Validator:
    """A validator for a schema in the document."""
    return jsonschema.Draft7Validator(
        {"components": document["components"], "allOf": [schema]},
        format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER,
    )


class Described:
    """The document's contents: the frames that a client may send, and those that may come back."""

    def __init__(self, document: Document, conversations: list[str], token: str) -> None:
        messages = document["components"]["messages"]
        self._sent = {
            name: validator(document, message["payload"])
            for name, message in messages.items()
            if name not in COMMANDS
        }
        self._command = validator(document, {"$ref": "#/components/schemas/Command"})
        formats = {
            "uuid": strategies.sampled_from(conversations) | strategies.uuids().map(str),
            "password": strategies.just(token) | strategies.text(),
        }
        commands = values({"$ref": "Command"}, document["components"]["schemas"], formats)
        names = ["type", "ref", "conversation_id", "content", "after", "token", "top_k", "x"]
        spoilt = strategies.builds(
            lambda command, name, value: {**command, name: value},
            commands,
            strategies.sampled_from(names),
            ANY_JSON,
        )
        self.frames: SearchStrategy[Frame] = (
            (commands | spoilt | ANY_JSON).map(json.dumps)
            | strategies.text(max_size=50)
            | strategies.binary(max_size=50)
        )
        # 4401 and the others, from the table for people.
        table = re.findall(r"^\| (\d{4}) \|", document["channels"]["socket"]["description"], re.MULTILINE)
        self.close_codes = {int(code) for code in table}

    def is_command(self, frame: Frame) -> bool:
        """Whether a frame is a command as described."""
        try:
            return self._command.is_valid(json.loads(frame))
        except ValueError:
            return False

    def kind(self, frame: Document) -> str:
        """The message as which a frame of the service is described; there must be exactly one."""
        fitting = [name for name, each in self._sent.items() if each.is_valid(frame)]
        assert len(fitting) == 1, (fitting, frame)
        return fitting[0]


async def test_frames_get_what_the_description_says(
    client: Client, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["Boil ", "milk ", "🫖."]
    conversations = []
    for _ in range(3):
        response = await client.post("/api/conversations", headers=user)
        conversations.append((await response.json())["id"])
    document = await (await client.get("/api/asyncapi.json")).json()
    described = Described(document, conversations, token_of(user))
    seen: Counter[str] = Counter()

    async def talk(frames: list[Frame]) -> None:
        async with client.ws_connect("/api/ws", headers=user) as socket:
            for frame in frames:
                await (socket.send_bytes(frame) if isinstance(frame, bytes) else socket.send_str(frame))
            last = {"type": "unsubscribe", "ref": LAST, "conversation_id": conversations[0]}
            await socket.send_str(json.dumps(last))
            seen.update(await listen(socket, described, all(map(described.is_command, frames))))

    loop = asyncio.get_running_loop()
    await asyncio.to_thread(explore, described.frames, lambda frames: wait_for(talk(frames), loop))
    sys.stdout.write(f"\n{seen}\n")
    assert {"start", "token", "done", "ready", "ack", "refusal", "4401"} <= set(seen)
    assert sum(seen.values()) > 2000


def explore(frames: SearchStrategy[Frame], talk: Callable[[list[Frame]], None]) -> None:
    """Send the generated frames, the same in every run."""

    @settings(
        max_examples=600,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategies.lists(frames, min_size=1, max_size=12))
    def each(frames: list[Frame]) -> None:
        talk(frames)

    each()


# A key belongs to one content; the protocol says how many tokens are allowed; tools have a size in all, and
# no NUL anywhere. Results are for calls that wait, each once, and have a size in all.
RULES = {
    ("idempotency_key_reused", "Idempotency-Key"),
    ("less_than_equal", "max_tokens"),
    ("value_error", "tools"),
    ("value_error", "results"),
    ("tool_call_unknown", "results"),
    ("tool_calls_answered", "results"),
}


def wait_for(talk: Any, loop: asyncio.AbstractEventLoop) -> None:
    """Wait for a coroutine in hypothesis's thread, because hypothesis doesn't support coroutines."""
    asyncio.run_coroutine_threadsafe(talk, loop).result(20)


async def listen(socket: ClientWebSocketResponse, described: Described, valid: bool) -> list[str]:
    """The kinds of the received frames, up to the last command's answer, or the close code."""
    kinds = []
    while (message := await socket.receive(timeout=10)).type is WSMsgType.TEXT:
        frame = json.loads(message.data)
        kinds.append(described.kind(frame))
        if kinds[-1] == "refusal":
            assert frame["code"] != "internal_error", frame
            assert not valid or frame["code"] != "invalid_json", frame
            if valid and frame["code"] == "validation_failed":  # for rules that a schema can't express
                assert {(each["type"], each["loc"][-1]) for each in frame["detail"]} <= RULES, frame
        if frame.get("ref") == LAST:
            return kinds
    assert socket.close_code in described.close_codes, (socket.close_code, message)
    return [*kinds, str(socket.close_code)]
