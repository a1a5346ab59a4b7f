"""The model servers: one interface, three protocols."""

from chat_api.inference.base import (
    CallPiece,
    End,
    Inference,
    Listener,
    Options,
    Prompt,
    Room,
    ToolCall,
    Try,
    Turn,
    Usage,
)
from chat_api.inference.chat_web import ChatWeb
from chat_api.inference.nanochat import Nanochat
from chat_api.inference.openai import OpenAI

__all__ = [
    "CallPiece",
    "ChatWeb",
    "End",
    "Inference",
    "Listener",
    "Nanochat",
    "OpenAI",
    "Options",
    "Prompt",
    "Room",
    "ToolCall",
    "Try",
    "Turn",
    "Usage",
]
