"""What every model server can do, and how it is called."""

from __future__ import annotations

import abc
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, NamedTuple, NoReturn

import aiohttp
import orjson
import structlog

from chat_api import errors
from chat_api.errors import describe
from chat_api.inference.events import EventTooLarge, events
from chat_api.settings import Settings

log = structlog.get_logger(__name__)

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


class Delta(NamedTuple):
    """One chunk of the answer; `fields` is what else came with it and goes through to the readers."""

    text: str
    fields: Mapping[str, Any] = {}


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
    def stream(self, prompt: Prompt) -> AsyncGenerator[Delta | End, None]:
        """The answer, chunk by chunk, then one End. Closing the iterator closes the request."""

    @abc.abstractmethod
    async def models(self) -> bytes:
        """The models as JSON: `{"current_model":…,"models":[…]}`."""

    @abc.abstractmethod
    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model; the server's status and JSON body."""

    async def _events(
        self, url: str, payload: object, headers: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        """POST and yield the data of each server-sent event."""
        try:
            async with self._session.post(
                url,
                data=orjson.dumps(payload),
                headers={"Content-Type": "application/json", "Accept": "text/event-stream", **headers},
                # Time to the first and between tokens is watched where they are read: see generation.py.
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._settings.inference_connect_timeout
                ),
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    refuse(response.status)
                async with aclosing(events(response.content.iter_any())) as stream:
                    async for data in stream:
                        yield data
        except EventTooLarge as error:
            raise errors.InferenceBroken("The model server sent an event that is too large.") from error
        except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionResetError) as error:
            log.warning("inference_interrupted", reason=describe(error))
            raise errors.InferenceInterrupted from error
        except (aiohttp.ClientConnectionError, TimeoutError, OSError) as error:
            log.warning("inference_unavailable", reason=describe(error))
            raise errors.InferenceUnavailable from error
        except aiohttp.ClientError as error:  # an answer that is no HTTP
            log.warning("inference_broken", reason=describe(error))
            raise errors.InferenceBroken from error

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


def refuse(status: int) -> NoReturn:
    """Raise what a failed answer means. Its text goes nowhere: it may repeat what the user wrote."""
    log.warning("inference_refused", status=status)
    if status in (429, 502, 503, 504):
        raise errors.InferenceUnavailable(
            "The model server is overloaded or starting; try again in a few seconds."
        )
    raise errors.InferenceRejected(f"The model server refused the request (HTTP {status}).")


def read_object(data: bytes) -> dict[str, Any]:
    """An event's JSON object; bytes that are no UTF-8 become U+FFFD. Raises InferenceBroken."""
    text = data.decode(errors="replace")
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        log.warning("inference_broken", reason=describe(error), bytes=len(data))
        raise errors.InferenceBroken from error
    if not isinstance(value, dict):
        log.warning("inference_broken", reason="the event is not a JSON object", bytes=len(data))
        raise errors.InferenceBroken
    return value


def read_text(value: object) -> str:
    """A token's text; NUL, which PostgreSQL can't hold, is replaced. Raises InferenceBroken."""
    if not isinstance(value, str):
        raise errors.InferenceBroken
    return value.replace("\0", "\ufffd") if "\0" in value else value
