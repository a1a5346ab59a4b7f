"""From what was said to what the model is sent."""

from __future__ import annotations

import orjson

from chat_api.bodies import Regenerate
from chat_api.inference import Options, Prompt, Turn
from chat_api.settings import Settings


def build(history: str, model_tag: str, asked: Regenerate, settings: Settings) -> Prompt:
    """The prompt for `history`: a JSON list of [role, content], newest first, the question leading.

    Model servers want the user to begin and roles to alternate. What an answer that failed or was cut off by
    the budget leaves behind is mended: neighbours of one role become one turn, leading answers go. System
    messages, which an adopted database may hold, join the instructions.
    """
    system = [settings.system_prompt] if settings.system_prompt else []
    turns: list[Turn] = []
    for role, content in reversed(orjson.loads(history)):
        if role == "system":
            system.append(content)
        elif turns and turns[-1].role == role:
            turns[-1] = Turn(role, f"{turns[-1].content}\n\n{content}")
        elif turns or role == "user":
            turns.append(Turn(role, content))
    options = Options(
        temperature=settings.default_temperature if asked.temperature is None else asked.temperature,
        max_tokens=asked.max_tokens or settings.default_max_tokens,
        top_k=asked.top_k,
    )
    return Prompt("\n\n".join(system), turns, model_tag, options)


def title(content: str) -> str:
    """A title from the first message: at most 80 characters in one line, "" where there is nothing to see."""
    return " ".join(content.split())[:80].rstrip()
