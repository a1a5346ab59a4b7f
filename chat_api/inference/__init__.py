"""The model servers: one interface, two protocols."""

from chat_api.inference.base import End, Inference, Options, Prompt, Take, Turn
from chat_api.inference.nanochat import Nanochat
from chat_api.inference.openai import OpenAI

__all__ = ["End", "Inference", "Nanochat", "OpenAI", "Options", "Prompt", "Take", "Turn"]
