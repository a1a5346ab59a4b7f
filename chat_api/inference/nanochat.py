"""samosaChaat's inference service (docs/contract.md section 4)."""

from __future__ import annotations

from typing import Any, ClassVar
from urllib.parse import urlsplit

import aiohttp
import orjson

from chat_api import errors
from chat_api.inference.base import (
    End,
    Inference,
    Listener,
    Prompt,
    Room,
    Turn,
    asked_to_go_on,
    read_object,
)
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.extras import AnswerExtras, Extras
from chat_api.inference.nanochat_answer import NanochatAnswer
from chat_api.settings.types import NANOCHAT_TOKENS

MAX_MESSAGES = 500
MAX_MESSAGE_CHARACTERS = 8_000
MAX_CHARACTERS = 32_000


class Nanochat(Inference):
    """Accepts only the roles user and assistant, and only prompts within the limits above; others are cut."""

    protocol = "nanochat"
    searches: ClassVar[bool] = True  # the web, if it is told to

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        super().__init__(endpoint, session)
        self._extras = Extras()
        self._upstream = self._connect_to(self._answers_at())

    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        """Stream an answer."""
        extras = AnswerExtras(self._extras)
        answer = NanochatAnswer(listener, extras, prompt.options.max_tokens)
        try:
            return await self._upstream.post(orjson.dumps(self._body(prompt)), answer)
        except errors.InferenceRejected as error:
            await self._explain(error.reason and error.reason.status)
            raise
        finally:
            extras.release()
            answer.report()

    def room(self, model_tag: str | None, max_tokens: int, beside: int) -> Room:
        """MAX_TOKEN_BUDGET, within what the service takes; see `fit`."""
        characters = super().room(model_tag, max_tokens, beside).characters
        return Room(min(characters, MAX_CHARACTERS - min(beside, MAX_MESSAGE_CHARACTERS)))

    async def models(self) -> bytes:
        """The models, as the service lists them."""
        body = await self._list_models()
        read_object(body)
        return body

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model. Returns the service's status and JSON body."""
        status, body = await self._call("POST", self._endpoint.url("/models/swap"), {"model_tag": model_tag})
        read_object(body)
        return status, body

    def _answers_at(self) -> str:
        # A Modal web endpoint is one function with a host of its own, so the POST goes to the URL itself.
        url = self._endpoint.server.url
        return (
            url if (urlsplit(url).hostname or "").endswith(".modal.run") else self._endpoint.url("/generate")
        )

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        options = prompt.options
        searching = {"force_web_search": True} if prompt.force_web_search and self.searches else {}
        return {
            "messages": [{"role": turn.role, "content": turn.content} for turn in fit(prompt)],
            "temperature": options.temperature,
            "max_tokens": min(options.max_tokens, NANOCHAT_TOKENS),
            "top_k": self._settings.default_top_k if options.top_k is None else options.top_k,
            **searching,
        }


def fit(prompt: Prompt) -> list[Turn]:
    """The turns that fit the service's limits, with the instructions put before the first of them.

    The oldest turns are dropped first, and the newest always stays. A turn that is too long loses its
    beginning. It may hold several questions, and the last of them is the current one (prompt.build).
    """
    given = asked_to_go_on(prompt)
    turns = [
        Turn(turn.role, turn.content[-MAX_MESSAGE_CHARACTERS:])
        for turn in given
        if turn.content or turn is given[-1]  # the service refuses empty ones
    ]
    system = f"{prompt.system}\n\n" if prompt.system else ""
    room = MAX_CHARACTERS - min(len(system), MAX_MESSAGE_CHARACTERS)
    kept: list[Turn] = []
    for turn in reversed(turns[-MAX_MESSAGES:]):
        room -= len(turn.content)
        if kept and room < 0:
            break
        kept.insert(0, turn)
    if kept[0].role != "user":  # cut in the middle of an exchange; the newest is the user's, so one stays
        del kept[0]
    first = kept[0]
    # The instructions are shortened, not what the user wrote.
    system = system[: MAX_MESSAGE_CHARACTERS - len(first.content)]
    return [Turn("user", system + first.content), *kept[1:]]
