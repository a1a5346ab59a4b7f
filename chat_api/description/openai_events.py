"""The events of OpenAI's API, as its libraries read them."""

from __future__ import annotations

from chat_api.description import texts
from chat_api.description.schemas import Schema

OPENAI_EVENT: Schema = {
    "type": "object",
    "description": texts.OPENAI_EVENTS,
    "required": ["event", "data"],
    "properties": {
        "event": {"type": "string", "pattern": "^response\\.[a-z_.]+$"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {
                "type": "object",
                "required": ["type", "sequence_number"],
                "properties": {"type": {"type": "string"}, "sequence_number": {"type": "integer"}},
            },
        },
    },
}
