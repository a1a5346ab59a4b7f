"""Any server with OpenAI's chat completions API: llama.cpp, vLLM, Ollama, a hosted service."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import aiohttp
import orjson
import structlog

from chat_api import errors
from chat_api.bodies import MAX_CONTENT_CHARACTERS
from chat_api.inference.base import End, Inference, Listener, Prompt, Room, read_object
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.openai.answer import Answer
from chat_api.inference.openai.contexts import MOST, Contexts, remember
from chat_api.inference.openai.models import Models, is_missing
from chat_api.inference.openai.overflow import is_overflow, length_in, shorter, size_of
from chat_api.inference.openai.request import Profile, adapt, payload

log = structlog.get_logger(__name__)

MAX_TRIES = 6  # of one answer, each without a parameter that the one before was refused for
LIST_SECONDS, LIST_TIMEOUT = 600, 2  # how often the list is asked for, and how long a message waits for it
# Where nothing tells a model's context, there is room for the longest message with its answer, and another.
AFTER_END_SECONDS = 5  # for the usage, which comes after the finish reason


class OpenAI(Inference):
    """Streams `POST {base}/chat/completions`; the base URL usually ends in /v1."""

    protocol = "openai"

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        super().__init__(endpoint, session)
        self._models = Models(self._list, endpoint.served_as)
        self._profile = Profile.of(endpoint.model)
        self._contexts = Contexts(
            self._profile.context_tokens,
            2 * MAX_CONTENT_CHARACTERS + round(MOST * self._settings.default_max_tokens),
        )
        self._list_due = 0.0
        self._learned: dict[str, Profile] = {}  # by the model's name
        self._upstream = self._connect_to(endpoint.url("/chat/completions"))

    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        """Stream an answer from `/chat/completions`."""
        try:
            return await self._found(prompt, listener)
        except errors.InferenceRejected as error:
            await self._explain(error.reason and error.reason.status)
            raise

    async def _found(self, prompt: Prompt, listener: Listener) -> End:
        """Ask. A model that is gone is replaced by the default of now, if the default was asked."""
        model = await self._models.choose(prompt.model_tag)
        try:
            return await self._fitting(model, prompt, listener)
        except errors.InferenceError as error:
            if not is_missing(error.reason):
                raise
            model = await self._models.instead_of(model, prompt.model_tag, error)
        return await self._fitting(model, prompt, listener)

    @property
    def is_unprepared(self) -> bool:
        """Whether the list is to be asked for, since nothing else tells the context's length."""
        return self._profile.context_tokens is None and asyncio.get_running_loop().time() >= self._list_due

    async def prepare(self) -> None:
        """Ask for the list that tells how long the models' contexts are: at first, and every ten minutes.

        Messages that arrive meanwhile don't wait for it.
        """
        self._list_due = asyncio.get_running_loop().time() + LIST_SECONDS
        with suppress(errors.InferenceError, TimeoutError):
            async with asyncio.timeout(LIST_TIMEOUT):
                await self._models.listed()

    def room(self, model_tag: str | None, max_tokens: int, beside: int) -> Room:
        """The room in the model's context, but at most MAX_TOKEN_BUDGET characters where that is set."""
        model = None if model_tag is None else self._models.known(model_tag)
        characters = self._contexts.room(model, max_tokens, beside)
        if "max_token_budget" in self._settings.model_fields_set:
            characters = min(characters, self._settings.max_token_budget)
        return Room(characters, in_steps=True)

    async def models(self) -> bytes:
        """The server's models. The current one is the operator's choice, else the first that chats."""
        current, names = await self._models.listed()
        return orjson.dumps({"current_model": current, "models": names})

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Raises NotSupported: this protocol has no such call."""
        raise errors.NotSupported(
            "This model server can't swap its model; choose one by a conversation's model_tag."
        )

    async def _fitting(self, model: str, prompt: Prompt, listener: Listener) -> End:
        """Ask, and once more with less if the conversation is too long. Remembers what the model takes."""
        try:
            return await self._adapting(model, prompt, listener)
        except errors.InferenceError as error:
            less = self._less(model, prompt, error)
        try:
            return await self._adapting(model, less, listener)
        except errors.InferenceError as error:
            self._less(model, less, error)
            raise _too_long(error) from None

    def _less(self, model: str, prompt: Prompt, error: errors.InferenceError) -> Prompt:
        """The prompt to try after a refusal. Raises `error` if it is no overflow, or ConversationTooLong."""
        if error.reason is None or not is_overflow(error.reason):
            raise error
        length = length_in(error.reason)
        log.info("inference_overflow", model=model, characters=size_of(prompt), context_tokens=length)
        self._contexts.overflowed(model, size_of(prompt), prompt.options.max_tokens, length)
        less = shorter(prompt, length)
        if less is None:
            raise _too_long(error)
        return less

    async def _adapting(self, model: str, prompt: Prompt, listener: Listener) -> End:
        """Ask, and ask again without a parameter that was refused. Remembers what the model then took."""
        profile = known = self._learned.get(model, self._profile)
        lasts = True
        for tries_left in reversed(range(MAX_TRIES)):
            sent = payload(model, prompt, profile)
            try:
                end = await self._ask(orjson.dumps(sent), profile, listener)
            except errors.InferenceError as error:
                adapted = None if error.reason is None else adapt(profile, sent, error.reason)
                if adapted is None or not tries_left:
                    raise
                log.info("inference_adapted", model=model, parameter=adapted.parameter)
                profile = adapted.profile
                lasts = lasts and adapted.lasts
            else:
                if lasts and profile is not known:
                    remember(self._learned, model, profile)
                self._contexts.answered(model, size_of(prompt))
                if end.usage.prompt_tokens is not None:
                    self._contexts.learn(model, size_of(prompt), end.usage.prompt_tokens)
                return end
        raise AssertionError("the last try returns or raises")

    async def _ask(self, body: bytes, profile: Profile, listener: Listener) -> End:
        """Stream an answer. Once the finish reason has come, nothing makes the answer fail.

        An error has a `reason` only as long as nothing was said: then another try may help.
        """
        loop = asyncio.get_running_loop()
        limit = asyncio.timeout(None)
        answer = Answer(
            listener,
            think_tags=profile.think_tags,
            on_end=lambda: limit.reschedule(loop.time() + AFTER_END_SECONDS),
        )
        try:
            async with limit:
                return await self._upstream.post(body, answer)
        except (TimeoutError, errors.InferenceError) as error:
            if answer.ended:
                return answer.end()
            answer.settle()
            if isinstance(error, errors.InferenceError) and answer.has_spoken:
                error.reason = None
            raise

    async def _list(self) -> list[dict[str, Any]]:
        """The models that have a name. Raises InferenceErrors."""
        models = read_object(await self._list_models()).get("data")
        if not isinstance(models, list):
            raise errors.InferenceBroken
        named = [model for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)]
        self._contexts.tell(named)
        return named


def _too_long(error: errors.InferenceError) -> errors.ConversationTooLong:
    too_long = errors.ConversationTooLong()
    too_long.reason = error.reason
    return too_long
