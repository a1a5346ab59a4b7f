"""The nanochat inference service (docs/contract.md section 4)."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import aiohttp
import orjson
import structlog

from chat_api import errors, events
from chat_api.errors import describe
from chat_api.inference.base import End, Inference, Prompt, Take, Turn, read_object, read_text
from chat_api.inference.upstream import Upstream
from chat_api.settings import Settings

log = structlog.get_logger(__name__)

MAX_MESSAGES = 500
MAX_MESSAGE_CHARACTERS = 8_000
MAX_CHARACTERS = 32_000

LF, CR, BACKSLASH, BRACE = b"\n\r\\}"
MAX_READABLE_BYTES = 500  # orjson writes 254 levels, each of two bytes


class Nanochat(Inference):
    """It knows the roles user and assistant only, within the limits above; longer prompts are shortened."""

    def __init__(self, settings: Settings, session: aiohttp.ClientSession) -> None:
        super().__init__(settings, session)
        # A Modal web endpoint is one function at its own host: the URL itself takes the POST.
        on_modal = (urlsplit(self._url).hostname or "").endswith(".modal.run")
        self._headers = {"X-Internal-API-Key": settings.internal_api_key.get_secret_value()}
        self._generate_url = self._url if on_modal else f"{self._url}/generate"
        self._upstream = Upstream(self._generate_url, self._headers, settings.inference_connect_timeout)

    async def stream(self, prompt: Prompt, take: Take) -> End:
        """See Inference."""
        return await self._upstream.post(self._body(prompt), _Answer(take))

    async def models(self) -> bytes:
        """See Inference."""
        status, body = await self._call("GET", f"{self._url}/models", self._headers)
        if status != 200:
            raise errors.InferenceRejected(f"The model server refused the request (HTTP {status}).")
        read_object(body)
        return body

    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """See Inference."""
        status, body = await self._call(
            "POST", f"{self._url}/models/swap", self._headers, {"model_tag": model_tag}
        )
        read_object(body)
        return status, body

    def _body(self, prompt: Prompt) -> bytes:
        options = prompt.options
        return orjson.dumps(
            {
                "messages": [{"role": turn.role, "content": turn.content} for turn in fit(prompt)],
                "temperature": options.temperature,
                "max_tokens": options.max_tokens,
                "top_k": self._settings.default_top_k if options.top_k is None else options.top_k,
            }
        )


class _Answer:
    """The events of one answer; see EventReader."""

    def __init__(self, take: Take) -> None:
        self._take = take

    def event(self, data: bytes) -> End | None:
        """`{"token":…}`, in the end `{"done":true}`."""
        event = read_object(data)
        if "done" in event or "token" not in event or "error" in event or not _is_readable(data):
            return self._rewrite(event)
        self._take(read_text(event["token"]), data)
        return None

    def _rewrite(self, event: dict[str, Any]) -> End | None:
        """One that readers don't get as it came, or the last."""
        if event.get("error"):
            raise errors.InferenceError
        done = event.pop("done", False) is True
        if "token" in event:
            text = read_text(event.pop("token"))
            try:
                written = events.token(text, event)
            except orjson.JSONEncodeError as error:  # it is read at more levels than it is written
                log.warning("inference_broken", reason=describe(error))
                raise errors.InferenceBroken from error
            self._take(text, written)
        if not done:
            return None
        return End("length" if event.get("finish_reason") == "length" else "stop")

    def end(self) -> End:
        """Too early."""
        raise errors.InferenceInterrupted


def _is_readable(data: bytes) -> bool:
    """Whether a token's event, which is valid JSON, may go to the readers as it came.

    It begins with the token, by which readers' events are told apart (events.kind), in the form in which they
    are written here, and ends with its brace, before which a WebSocket's frame has more. It is ASCII, so that
    nothing had to be mended to be read as UTF-8, in one line, and has no escapes, of which one is NUL, which
    PostgreSQL can't hold. It is too short to be nested deeper than orjson writes, as other workers do with
    what they read in the journal.
    """
    return (
        data[:10] == b'{"token":"'
        and data[-1] == BRACE
        and len(data) <= MAX_READABLE_BYTES
        and data.isascii()
        and BACKSLASH not in data
        and CR not in data
        and LF not in data
    )


def fit(prompt: Prompt) -> list[Turn]:
    """The turns within the service's limits, instructions joined to the first one that the user wrote.

    The oldest turns go first, and the newest always stays. A turn that is too long loses its beginning: it
    may be several questions, of which the last is asked now (prompt.build).
    """
    turns = [Turn(turn.role, turn.content[-MAX_MESSAGE_CHARACTERS:]) for turn in prompt.turns]
    system = f"{prompt.system}\n\n" if prompt.system else ""
    room = MAX_CHARACTERS - min(len(system), MAX_MESSAGE_CHARACTERS)
    kept: list[Turn] = []
    for turn in reversed(turns[-MAX_MESSAGES:]):
        room -= len(turn.content)
        if kept and room < 0:
            break
        kept.insert(0, turn)
    if kept[0].role != "user":  # cut in the middle of an exchange; the newest is the user's, so one remains
        del kept[0]
    first = kept[0]
    # The instructions give way to what the user wrote, not the other way round.
    system = system[: MAX_MESSAGE_CHARACTERS - len(first.content)]
    return [Turn("user", system + first.content), *kept[1:]]
