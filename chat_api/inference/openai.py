"""Any server with OpenAI's chat completions: llama.cpp, vLLM, Ollama, a hosted API."""

from __future__ import annotations

from typing import Annotated, Any

import aiohttp
import orjson
import structlog
from pydantic import BaseModel, Field, ValidationError

from chat_api import errors, events
from chat_api.inference.base import End, Inference, Prompt, Take, Turn, read_object
from chat_api.inference.upstream import Upstream
from chat_api.settings import Settings

log = structlog.get_logger(__name__)


class _Delta(BaseModel):
    content: str | None = None


class _Choice(BaseModel):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(BaseModel):
    completion_tokens: Annotated[int, Field(ge=0, lt=2**31)] | None = None  # as the database holds it


class _Chunk(BaseModel):
    choices: list[_Choice] = []
    usage: _Usage | None = None
    model: str | None = None
    error: object = None


class OpenAI(Inference):
    """Streams `POST {base}/chat/completions`; the base URL usually ends in /v1."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        super().__init__(settings, session)
        key = settings.inference_api_key.get_secret_value()
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._default_model = settings.inference_model
        self._upstream = Upstream(
            f"{self._url}/chat/completions", self._headers, settings.inference_connect_timeout
        )

    async def stream(self, prompt: Prompt, take: Take) -> End:
        """See Inference."""
        model = await self._model(prompt.model_tag)
        return await self._upstream.post(_body(model, prompt), _Answer(take))

    async def models(self) -> bytes:
        """See Inference; the current one is INFERENCE_MODEL, else the first that the server lists."""
        names = await self._list()
        current = self._default_model or (names[0] if names else None)
        return orjson.dumps({"current_model": current, "models": names})

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """See Inference; this protocol has no such call."""
        raise errors.NotSupported(
            "This model server can't swap its model; choose one by a conversation's model_tag."
        )

    async def _model(self, tag: str) -> str:
        if tag not in ("", "default"):
            return tag
        if not self._default_model:
            names = await self._list()
            if not names:
                raise errors.InferenceRejected("The model server offers no model; load one.")
            self._default_model = names[0]
        return self._default_model

    async def _list(self) -> list[str]:
        status, body = await self._call("GET", f"{self._url}/models", self._headers)
        if status != 200:
            raise errors.InferenceRejected(f"The model server refused the request (HTTP {status}).")
        models = read_object(body).get("data")
        if not isinstance(models, list):
            raise errors.InferenceBroken
        return [
            model["id"] for model in models if isinstance(model, dict) and isinstance(model.get("id"), str)
        ]


def _body(model: str, prompt: Prompt) -> bytes:
    options = prompt.options
    system = [Turn("system", prompt.system)] if prompt.system else []
    payload: dict[str, Any] = {
        "model": model,
        "messages": [{"role": turn.role, "content": turn.content} for turn in [*system, *prompt.turns]],
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if options.top_k is not None:  # no part of OpenAI's own API, which refuses what it doesn't know
        payload["top_k"] = options.top_k
    return orjson.dumps(payload)


class _Answer:
    """The events of one answer; see EventReader."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._reason: str | None = None
        self._token_count: int | None = None
        self._model: str | None = None

    def event(self, data: bytes) -> End | None:
        """A chunk, in the end `[DONE]`."""
        if data == b"[DONE]":
            self._reason = self._reason or "stop"
            return self.end()
        raw = read_object(data)
        if (text := _only_text(raw)) is not None:
            self._model = raw.get("model") or self._model
            self._take(text, events.token(text, {}))
            return None
        chunk = _validate(raw, len(data))
        if chunk.error:
            raise errors.InferenceError
        if chunk.usage and chunk.usage.completion_tokens is not None:
            self._token_count = chunk.usage.completion_tokens
        self._model = chunk.model or self._model
        for choice in chunk.choices[:1]:
            if choice.delta and choice.delta.content:
                self._take(choice.delta.content, events.token(choice.delta.content, {}))
            self._reason = choice.finish_reason or self._reason
        return None

    def end(self) -> End:
        """In order if the model said why it stopped; some servers leave `[DONE]` out."""
        if self._reason is None:
            raise errors.InferenceInterrupted
        return End("length" if self._reason == "length" else "stop", self._token_count, self._model)


def _only_text(chunk: dict[str, Any]) -> str | None:
    """The text of a chunk that says nothing else, as nearly all do; None for any other, valid or not.

    Pydantic takes several times as long to find out the same.
    """
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("usage") is not None or chunk.get("error"):
        return None
    if not isinstance(chunk.get("model"), str | None):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") is not None:
        return None
    delta = choice.get("delta")
    text = delta.get("content") if type(delta) is dict else None
    return text if type(text) is str and text else None


def _validate(chunk: dict[str, Any], size: int) -> _Chunk:
    try:
        return _Chunk.model_validate(chunk)
    except ValidationError as error:
        log.warning(
            "inference_broken",
            problems=error.errors(include_input=False, include_url=False),
            size_bytes=size,
        )
        raise errors.InferenceBroken from None
