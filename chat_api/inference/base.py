"""What every model server can do, and how it is called."""

from __future__ import annotations

import abc
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import aiohttp
import orjson
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.inference.response import refuse
from chat_api.settings import Settings

log = structlog.get_logger(__name__)

# A NUL in JSON's source: behind an even number of backslashes, else the `u0000` is text.
BACKSLASH = 92
NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")
MAX_BODY_BYTES = 1_048_576  # of an answer that is no stream


class Turn(NamedTuple):
    """One message of a prompt; `role` is user, assistant or system."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. `top_k` is None where the caller gave none: not every server knows it."""

    temperature: float
    max_tokens: int
    top_k: int | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is sent: instructions ("" for none) and turns, the user's first, then alternating."""

    system: str
    turns: list[Turn]
    model_tag: str
    options: Options


# Called with each chunk of an answer as it comes: its text, and the data of the event that readers get, which
# holds what else came with it. It runs where the bytes are received, so it must return at once.
Take = Callable[[str, bytes], None]


@dataclass(frozen=True, slots=True)
class End:
    """The model is done: `reason` is stop or length; the others are None where the server doesn't tell."""

    reason: str = "stop"
    token_count: int | None = None
    model: str | None = field(default=None)


class Inference(abc.ABC):
    """A model server.

    Errors are InferenceErrors: Unavailable (not reached, overloaded), Rejected (4xx), Broken (not
    understood), Interrupted (ended too early).
    """

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        self._settings = settings
        self._session = session
        self._url = settings.inference_service_url

    @abc.abstractmethod
    async def stream(self, prompt: Prompt, take: Take) -> End:
        """Hand the answer to `take`, chunk by chunk. Cancelling this closes the request at once.

        Time is watched by the caller, but for the time to connect.
        """

    @abc.abstractmethod
    async def models(self) -> bytes:
        """The models as JSON: `{"current_model":…,"models":[…]}`."""

    @abc.abstractmethod
    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model; the server's status and JSON body."""

    async def _call(
        self, method: str, url: str, headers: Mapping[str, str], payload: object = None
    ) -> tuple[int, bytes]:
        """A call whose answer is one JSON body: its status and body."""
        try:
            async with self._session.request(
                method,
                url,
                json=payload,
                headers=headers,
                timeout=aiohttp.ClientTimeout(
                    total=self._settings.inference_first_token_timeout,
                    sock_connect=self._settings.inference_connect_timeout,
                ),
                allow_redirects=False,
            ) as response:
                body = b""
                async for chunk in response.content.iter_any():
                    body += chunk
                    if len(body) > MAX_BODY_BYTES:
                        log.warning("inference_broken", reason="the answer is too large")
                        raise errors.InferenceBroken
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("inference_unavailable", reason=describe(error))
            raise errors.InferenceUnavailable from error
        if status >= 500 or status in (401, 403, 429):
            refuse(status)
        return status, body


def read_object(data: bytes) -> dict[str, Any]:
    """A JSON object; bytes that are no UTF-8, and NUL, which PostgreSQL can't hold, become U+FFFD.

    Raises InferenceBroken.
    """
    if BACKSLASH in data:
        data = NUL.sub(rb"\1\\ufffd", data)
    try:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = orjson.loads(data.decode(errors="replace"))
    except orjson.JSONDecodeError as error:
        log.warning("inference_broken", reason=describe(error), size_bytes=len(data))
        raise errors.InferenceBroken from error
    if not isinstance(value, dict):
        log.warning("inference_broken", reason="the event is not a JSON object", size_bytes=len(data))
        raise errors.InferenceBroken
    return value


def read_text(value: object) -> str:
    """A token's text. Raises InferenceBroken."""
    if not isinstance(value, str):
        raise errors.InferenceBroken
    return value
