"""The model servers: one interface, two protocols."""

from chat_api.inference.base import Delta, End, Inference, Options, Prompt, Turn
from chat_api.inference.nanochat import Nanochat
from chat_api.inference.openai import OpenAI

__all__ = ["Delta", "End", "Inference", "Nanochat", "OpenAI", "Options", "Prompt", "Turn"]
