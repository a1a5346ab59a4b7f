"""The interface to a model server, and the calls that both protocols share."""

from __future__ import annotations

import abc
import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple, Protocol

import aiohttp
import orjson
import structlog

from chat_api import errors
from chat_api.bodies.tools import ESCAPED_NUL
from chat_api.errors import describe
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.refusal import broken, refuse
from chat_api.inference.upstream import Upstream
from chat_api.neighbours.answers import UnreadableAnswer, read_answer

log = structlog.get_logger(__name__)

BACKSLASH = 92
MAX_COUNT = 2**31  # the range of the columns
ABSENT = (404, 405)  # the statuses of a path that a server doesn't have
# By which field of GET /health nanochat's servers are known.
KNOWN_BY = {"nanochat": "current_model", "chat_web": "num_gpus"}
MAX_BODY_BYTES = 1_048_576  # of a response that isn't a stream
GO_ON = (
    "Your last answer was cut off. Go on with it exactly where it stops, in the middle of a word if it stops "
    "there. Repeat nothing of it, and say nothing about going on."
)


class ToolCall(NamedTuple):
    """A call of one of the caller's tools, complete. `arguments` is JSON text, as the model wrote it."""

    call_id: str
    name: str
    arguments: str

    @classmethod
    def stored(cls, call: Mapping[str, str]) -> ToolCall:
        """One of those in the column `tool_calls`."""
        return cls(call["id"], call["name"], call["arguments"])


class Turn(NamedTuple):
    """One message of a prompt; `role` is user, assistant, system or tool.

    An assistant's may have calls, and a tool's is the result of the call `tool_call_id`.
    """

    role: str
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    reasoning: str = ""  # an assistant's thinking, if the model gets it back


@dataclass(frozen=True, slots=True)
class Options:
    """How to answer. `top_k` is None if the caller gave none, since not every server supports it."""

    temperature: float
    max_tokens: int
    top_k: int | None


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is sent: instructions ("" for none) and turns, the user's first, then alternating.

    `tools` and `tool_choice` are JSON text in OpenAI's form. `thinking_mode`: whether the model is to think
    before it answers; None leaves it to the model. `goes_on`: the last turn is an answer that was cut, and
    the model is to go on with it.
    """

    system: str
    turns: list[Turn]
    model_tag: str
    options: Options
    tools: str | None = None
    tool_choice: str | None = None
    thinking_mode: bool | None = None
    force_web_search: bool = False  # nanochat alone searches
    goes_on: bool = False


def asked_to_go_on(prompt: Prompt) -> list[Turn]:
    """The prompt's turns, and the words that ask to go on with the last one: any model understands those."""
    return [*prompt.turns, Turn("user", GO_ON)] if prompt.goes_on else prompt.turns


class Room(NamedTuple):
    """How much of a conversation a model takes, in characters.

    `in_steps`: more is left out than has to be, so that the prompt's beginning stays the same for several
    answers, which is cheaper for servers that remember what they computed for it.
    """

    characters: int
    in_steps: bool = False


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a tool call. `call_id` and `name` come with the first piece of an index; `arguments` is
    JSON text to be appended.
    """

    index: int
    call_id: str | None
    name: str | None
    arguments: str


class Try(NamedTuple):
    """One server was asked. `outcome`: `answered`, `busy` (no slot), `stopped` (by us) or an error's code."""

    server: str
    outcome: str
    milliseconds: int


class Listener(Protocol):
    """Who hears an answer, delta by delta, as it arrives.

    `data` is the event that readers get. It includes any other fields that came with the delta. The methods
    run where the bytes are received, so they must return at once.
    """

    @property
    def has_spoken(self) -> bool:
        """Whether readers were given anything of this answer."""

    @property
    def heard_at(self) -> float:
        """When the server was asked, or last gave a sign of life; by the event loop's clock."""

    def ask(self, server: str, model: str) -> None:
        """A server is asked now for this model (its tag)."""

    def tried(self, done: Try) -> None:
        """A try is over: the last one, or another server is asked next."""

    def text(self, text: str, data: bytes) -> None:
        """A piece of the answer's text."""

    def reasoning(self, text: str, data: bytes) -> None:
        """A piece of the model's thinking."""

    def tool_call(self, piece: CallPiece, data: bytes) -> None:
        """A piece of a call of one of the caller's tools."""

    def other(self, data: bytes) -> None:
        """An event of the server's own, such as `{"status":"searching"}`."""

    def alive(self) -> None:
        """Anything else that shows that the model is at work."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What the server counted, in tokens; None where it doesn't say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    reasoning_tokens: int | None = None
    cached_tokens: int | None = None


def read_count(value: object) -> int | None:
    """A number of tokens, as a server tells it; None for anything else."""
    return value if type(value) is int and 0 <= value < MAX_COUNT else None


@dataclass(frozen=True, slots=True)
class End:
    """The end of an answer. `reason` is stop, length, tool_calls or content_filter; `model` is None if the
    server doesn't say.
    """

    reason: str = "stop"
    usage: Usage = field(default_factory=Usage)
    model: str | None = None


class Inference(abc.ABC):
    """A model server.

    Its methods raise InferenceErrors: Unavailable (not reached, overloaded), Rejected (4xx), Broken (the
    response makes no sense), Interrupted (the response ended too early).
    """

    protocol: ClassVar[str]

    def __init__(self, endpoint: Endpoint, session: aiohttp.ClientSession) -> None:
        self._endpoint = endpoint
        self._settings = endpoint.settings
        self._session = session
        self._headers = endpoint.server.credentials

    def _connect_to(self, url: str) -> Upstream:
        """The URL at which answers are asked for."""
        return Upstream(
            url,
            self._headers,
            self._endpoint.connect_timeout,
            log_messages=self._settings.log_inference_errors == "on",
        )

    @abc.abstractmethod
    async def stream(self, prompt: Prompt, listener: Listener) -> End:
        """Hand the answer to `listener`, delta by delta. Cancelling this closes the request at once.

        Only connecting has a time-out here; the caller limits the rest.
        """

    async def prepare(self) -> None:  # noqa: B027 - most servers tell nothing
        """Learn what `room` needs, if it isn't known. Takes two seconds at most and raises nothing."""

    def room(self, model_tag: str | None, max_tokens: int, beside: int) -> Room:
        """The room for the conversation in a request to this model; None: the most of any model.

        `max_tokens` may be needed for the answer, and `beside` characters for instructions and tools.
        """
        return Room(self._settings.max_token_budget)

    @abc.abstractmethod
    async def models(self) -> bytes:
        """The models as JSON: `{"current_model":…,"models":[…]}`."""

    @abc.abstractmethod
    async def swap(self, model_tag: str) -> tuple[int, bytes]:
        """Load another model. Returns the server's status and JSON body."""

    async def _list_models(self) -> bytes:
        """The body of `GET {url}/models`. Raises InferenceErrors."""
        status, body = await self._call("GET", self._endpoint.url("/models"))
        if status != 200:
            await self._explain(status)
            raise errors.InferenceRejected(f"The model server refused the request (HTTP {status}).")
        return body

    async def _explain(self, status: int | None) -> None:
        """Log which protocol the server speaks, if it hasn't a path and is known to speak another."""
        if status not in ABSENT:
            return
        try:
            async with asyncio.timeout(self._endpoint.connect_timeout):
                _, body = await self._call("GET", self._endpoint.url("/health").replace("/v1/", "/"))
            health = parse_object(body)
        except (errors.InferenceError, Unreadable, TimeoutError):
            return
        for protocol, name in KNOWN_BY.items():
            if name in health and protocol != self.protocol:
                log.error("inference_protocol_wrong", do=told_to_speak(protocol))

    async def _call(self, method: str, url: str, payload: object = None) -> tuple[int, bytes]:
        """Make a call that isn't a stream. Returns the status and the body."""
        try:
            async with self._session.request(
                method,
                url,
                json=payload,
                headers=self._headers,
                timeout=aiohttp.ClientTimeout(
                    total=self._endpoint.first_token_timeout,
                    sock_connect=self._endpoint.connect_timeout,
                ),
                allow_redirects=False,
            ) as response:
                status = response.status
                if status >= 500 or status in (401, 403, 408, 429):
                    refuse(status, response.headers.get("Retry-After"))  # unread
                body = await read_answer(response, MAX_BODY_BYTES)
        except UnreadableAnswer as error:
            raise broken(str(error)) from error
        # UnicodeError: a bad host
        except (aiohttp.ClientError, TimeoutError, OSError, UnicodeError) as error:
            log.warning("inference_unavailable", reason=describe(error))
            raise errors.InferenceUnavailable from error
        return status, body


def told_to_speak(protocol: str) -> str:
    """What an operator has to do where a server speaks another protocol."""
    return f"set INFERENCE_PROTOCOL={protocol}, or the server's protocol in MODELS_FILE"


class Unreadable(Exception):
    """What a model server sent can't be understood; says why, without quoting it."""


def read_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object, as `parse_object` does. Logs and raises InferenceBroken if there is none."""
    try:
        return parse_object(data)
    except Unreadable as error:
        raise broken(str(error), size_bytes=len(data)) from error


def parse_object(data: bytes) -> dict[str, Any]:
    """Parse a JSON object. Invalid UTF-8, and NUL, which PostgreSQL can't store, become U+FFFD.

    A byte order mark is passed over.

    Raises Unreadable.
    """
    if BACKSLASH in data:
        data = ESCAPED_NUL.sub(rb"\1\\ufffd", data)
    try:
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            value = orjson.loads(data.decode("utf-8-sig", errors="replace"))
    except orjson.JSONDecodeError as error:
        raise Unreadable(describe(error)) from error
    if not isinstance(value, dict):
        raise Unreadable("the event is not a JSON object")
    return value
