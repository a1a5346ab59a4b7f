"""AsyncAPI 3 for the WebSocket, from the models of commands and frames: docs/contract.md section 3."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel

from chat_api import __version__
from chat_api.description import event_schemas, problems, texts
from chat_api.description.schemas import Mode, Schema, example, refer, schemas

CHANNEL = "#/channels/socket"
# What commands are answered with, beside a refusal, if it isn't an acknowledgement alone.
REPLIES: dict[str, tuple[type[BaseModel], ...]] = {
    "auth": (event_schemas.ReadyFrame,),
    "send": (event_schemas.AckFrame, event_schemas.QueuedFrame),
}
FRAMES: tuple[type[BaseModel], ...] = (
    *event_schemas.EVENT_FRAMES,
    event_schemas.ChangedFrame,
    event_schemas.ReadyFrame,
    event_schemas.AckFrame,
    event_schemas.QueuedFrame,
    event_schemas.RefusalFrame,
)


def asyncapi(commands: Mapping[str, type[BaseModel]]) -> Schema:
    """The document; `commands` are the models of what a client sends, by its `type`."""
    known = schemas(
        [
            *_each(commands.values(), "validation"),
            *_each(FRAMES, "serialization"),
        ]
    )
    known["Command"] = {"oneOf": [refer(model.__name__) for model in commands.values()]}
    for kind, model in commands.items():
        _name_type(known[model.__name__], kind)
    known["RefusalFrame"]["properties"]["code"]["enum"] = sorted(kind.code for kind in problems.all_errors())
    messages = {kind: _message(model, known) for kind, model in commands.items()}
    messages |= {model.__name__.removesuffix("Frame").lower(): _message(model, known) for model in FRAMES}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "samosaChaat chat API: the WebSocket",
            "version": __version__,
            "description": texts.SOCKET,
            "license": {"name": "Apache 2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "service": {
                "host": "{host}",
                "protocol": "wss",
                "description": "The service; `ws` where there is no TLS. A base path precedes /api.",
                "security": [{"$ref": "#/components/securitySchemes/bearer"}],
                "variables": {"host": {"default": "localhost:8002", "description": "its host and port"}},
            }
        },
        "channels": {
            "socket": {
                "address": "/api/ws",
                "title": "The socket",
                "description": texts.SOCKET_CHANNEL,
                "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
                "bindings": {"ws": {"method": "GET", "bindingVersion": "0.1.0"}},
            }
        },
        "operations": {
            **{kind: _operation(kind, model) for kind, model in commands.items()},
            "events": {
                "action": "send",
                "channel": {"$ref": CHANNEL},
                "summary": "The events of each answer in a conversation that is followed, in order.",
                "messages": [_refer(model) for model in event_schemas.EVENT_FRAMES],
            },
            "changes": {
                "action": "send",
                "channel": {"$ref": CHANNEL},
                "summary": "Each change of a conversation that is followed, in between its events.",
                "messages": [_refer(event_schemas.ChangedFrame)],
            },
        },
        "components": {
            "messages": messages,
            "schemas": dict(sorted(known.items())),
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "description": texts.BEARER},
            },
        },
    }


def readable(document: Schema) -> str:
    """The frames in Markdown, for people who read the rest of the API."""
    messages = document["components"]["messages"]
    operations = document["operations"]
    commands = [name for name, operation in operations.items() if operation["action"] == "receive"]
    return "\n\n".join(
        [
            texts.SOCKET,
            texts.SOCKET_CHANNEL,
            "### What the client sends",
            *(_readable(messages[name]) for name in commands),
            "### What the service sends",
            *(_readable(message) for name, message in messages.items() if name not in commands),
        ]
    )


def _readable(message: Schema) -> str:
    (sample,) = message["examples"]
    text = json.dumps(sample["payload"], ensure_ascii=False)
    return f"{message['summary']}\n\n```json\n{text}\n```"


def _each(models: Iterable[type[BaseModel]], mode: Mode) -> Iterator[tuple[type[BaseModel], Mode]]:
    return ((model, mode) for model in models)


def _name_type(schema: Schema, kind: str) -> None:
    """A command's `type` picks its model, and is no part of it; a socket's answers stream in any case."""
    fields: dict[str, Any] = schema["properties"]
    fields.pop("stream", None)
    schema["properties"] = {"type": {"const": kind}, **fields}
    schema["required"] = ["type", *schema.get("required", ())]


def _message(model: type[BaseModel], known: dict[str, Schema]) -> Schema:
    payload = refer(model.__name__)
    return {
        "name": model.__name__,
        "summary": model.__doc__,
        "payload": payload,
        "examples": [{"payload": example(payload, known)}],
    }


def _operation(kind: str, model: type[BaseModel]) -> Schema:
    return {
        "action": "receive",
        "channel": {"$ref": CHANNEL},
        "summary": model.__doc__,
        "messages": [{"$ref": f"{CHANNEL}/messages/{kind}"}],
        "reply": {
            "channel": {"$ref": CHANNEL},
            "messages": [
                *map(_refer, REPLIES.get(kind, (event_schemas.AckFrame,))),
                _refer(event_schemas.RefusalFrame),
            ],
        },
    }


def _refer(frame: type[BaseModel]) -> Schema:
    return {"$ref": f"{CHANNEL}/messages/{frame.__name__.removesuffix('Frame').lower()}"}
