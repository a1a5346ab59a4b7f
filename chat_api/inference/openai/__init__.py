"""OpenAI's chat completions API, as its many servers speak it."""

from chat_api.inference.openai.request import Profile
from chat_api.inference.openai.server import OpenAI

__all__ = ["OpenAI", "Profile"]
