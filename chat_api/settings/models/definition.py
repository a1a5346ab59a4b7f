"""What MODELS_FILE may say of a server and of a model. docs/models.md says the same to operators."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr

from chat_api.settings.types import (
    Key,
    Seconds,
    TokenCount,
    base_url,
    check_parameters,
    most_tokens,
)

DEFAULT = "default"  # the tag of a conversation that names no model
HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}", re.ASCII)  # RFC 9110 section 5.6.2: a token
MAX_DEPTH = 100  # of what is added; orjson takes little more
OWN_HEADERS = {
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
}

BEARER = "Authorization"  # the header whose key has a word before it

Protocol = Literal["nanochat", "chat_web", "openai"]


def _json(value: dict[str, Any]) -> dict[str, Any]:
    check_parameters(value)
    _check_json(value, "", MAX_DEPTH)
    return value


def _check_json(value: object, place: str, deeper: int) -> None:
    match value:
        case dict():
            inner: list[tuple[str, object]] = [(f"{place}.{name}", each) for name, each in value.items()]
        case list():
            inner = [(f"{place}.{index}", each) for index, each in enumerate(value)]
        case None | bool() | str():
            return
        case float() if math.isfinite(value):
            return
        case int() if -(2**63) <= value < 2**64:
            return
        case _:
            raise ValueError(f"{place[1:]} is {value}; JSON has no dates, no nan, no inf, no larger integers")
    if not deeper:
        raise ValueError(f"must hold at most {MAX_DEPTH} tables and lists within each other")
    for name, each in inner:
        _check_json(each, name, deeper - 1)


def _names(value: tuple[str, ...]) -> tuple[str, ...]:
    check_parameters(value)
    return value


def _renamed(value: dict[str, str]) -> dict[str, str]:
    check_parameters([*value, *value.values()])
    return value


def _headers(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        _header(name)
        if not (text.isascii() and text.isprintable()):
            raise ValueError(f"{name} must be printable ASCII")
    return value


def _header(value: str) -> str:
    if not HEADER.fullmatch(value):
        raise ValueError("must be of letters, digits and hyphens, as names of HTTP headers are")
    if value.lower() in OWN_HEADERS:
        raise ValueError(f"must not be one that every request has: {', '.join(sorted(OWN_HEADERS))}")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("must be one line of printable characters")
    return value


Url = Annotated[str, AfterValidator(base_url)]
Parameters = Annotated[dict[str, Any], AfterValidator(_json)]
Names = Annotated[tuple[str, ...], Field(strict=False), AfterValidator(_names)]
Line = Annotated[str, AfterValidator(_one_line)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Instructions = Annotated[str, Field(max_length=100_000)]


class Table(BaseModel):
    """A table of the file: no unknown keys, and no text in a number's place."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, populate_by_name=True)


class Server(Table):
    """A model server. A time-out that is left out is the environment's."""

    url: Url
    protocol: Protocol = "openai"
    key: Annotated[Key, Field(strict=False)] = SecretStr("")
    key_header: Annotated[str, AfterValidator(_header)] | None = None
    headers: Annotated[dict[str, str], AfterValidator(_headers)] = Field(default_factory=dict)
    connect_timeout: Seconds | None = None
    first_token_timeout: Seconds | None = None
    token_timeout: Seconds | None = None
    max_streams: Annotated[int, Field(ge=0, le=100_000)] = 0
    wait_seconds: Annotated[float, Field(ge=0, le=600, allow_inf_nan=False)] = 2
    max_failures: Annotated[int, Field(ge=1, le=1000)] = 5
    rest_seconds: Seconds = 30

    @property
    def credentials(self) -> dict[str, str]:
        """The headers of a call, with the key if there is one."""
        secret = self.key.get_secret_value()
        if self.protocol == "chat_web" or (not secret and self.protocol != "nanochat"):
            return dict(self.headers)
        name = self.name_of_key
        return {**self.headers, name: f"Bearer {secret}" if name == BEARER else secret}

    @property
    def signs_in_twice(self) -> bool:
        """Whether the URL has a name or a password, and a header has what HTTP would send for these."""
        names = map(str.lower, self.credentials)
        return "@" in urlsplit(self.url).netloc and BEARER.lower() in names

    @property
    def name_of_key(self) -> str:
        """The header in which the key is sent."""
        if self.protocol == "nanochat":
            return self.key_header or "X-Internal-API-Key"
        if self.key_header is None or self.key_header.lower() == BEARER.lower():
            return BEARER
        return self.key_header


class Thinking(Table):
    """A model's thinking.

    `on` and `off` are added to a request whose `thinking_mode` says so. `tags`: whether a tag such as
    `<think>` at the beginning of the text begins it. `send_back`: the field of earlier answers in which the
    model gets its thinking back; none: it doesn't.
    """

    on: Parameters = Field(default_factory=dict)
    off: Parameters = Field(default_factory=dict)
    tags: bool = True
    send_back: Literal["reasoning_content", "reasoning"] | None = None
    instructions: Instructions = ""


class Price(Table):
    """What a million tokens cost. `cached` is the price of prompt tokens that the server had computed before;
    left out: that of others.
    """

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    prompt: Amount
    cached: Amount | None = None
    completion: Amount


class Model(Table):
    """A model that conversations may be answered by."""

    name: Annotated[Line, Field(max_length=100)] = ""
    description: Annotated[Line, Field(max_length=500)] = ""
    servers: Annotated[tuple[str, ...], Field(strict=False, min_length=1)]
    order: Literal["listed", "least_busy"] = "listed"
    served_as: str | dict[str, str] = ""
    context_tokens: TokenCount | None = None
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    omit: Names = ()
    rename: Annotated[dict[str, str], AfterValidator(_renamed)] = Field(default_factory=dict)
    add: Parameters = Field(default_factory=dict)
    thinking: Thinking = Field(default_factory=Thinking)
    go_on: Literal["ask", "prefill", "vllm"] = Field("ask", alias="continue")
    instructions: Instructions = ""
    price: Price | None = None
    who: Literal["everybody", "admins"] = "everybody"


@dataclass(frozen=True, slots=True)
class Chosen:
    """The model for a conversation: by its `tag`, which may be `default`."""

    tag: str
    model: Model
    has_tools: bool


@dataclass(frozen=True)
class Catalogue:
    """All servers by name, and all models by tag. `default` is the tag of the model for `default`.

    `is_open`: there is no file, so any tag is taken, and the one model's server says what it means.
    """

    servers: Mapping[str, Server]
    models: Mapping[str, Model]
    default: str
    is_open: bool = False

    def find(self, tag: str) -> str | None:
        """The tag of the model that a conversation's tag means; None if it is gone."""
        if self.is_open or tag in ("", DEFAULT):
            return self.default
        return tag if tag in self.models else None

    def tags(self, *, is_admin: bool) -> list[str]:
        """The models that somebody may use."""
        return [tag for tag, model in self.models.items() if is_admin or model.who == "everybody"]

    def may_use(self, tag: str, *, is_admin: bool) -> bool:
        """Whether somebody may use the model that a conversation's tag means."""
        found = self.find(tag)
        return found is not None and (is_admin or self.models[found].who == "everybody")

    def served_as(self, tag: str, server: str) -> str:
        """What a server calls a model; "": whichever it serves by default."""
        given = self.models[tag].served_as
        name = given if isinstance(given, str) else given.get(server, "")
        return name or ("" if tag == DEFAULT or self.is_open else tag)

    def choose(self, tag: str) -> Chosen:
        """The model that a conversation's tag means; the default if that is gone, see ModelServers.stream."""
        found = self.find(tag) or self.default
        return Chosen(tag, self.models[found], self.has_tools(found))

    def has_tools(self, tag: str) -> bool:
        """Whether all of a model's servers can be told of the caller's tools."""
        return all(self.servers[name].protocol == "openai" for name in self.models[tag].servers)

    def tags_of(self, models: Collection[str]) -> list[str]:
        """The tags of conversations that these models answer."""
        return [*models, DEFAULT] if self.default in models else list(models)

    @property
    def with_thinking_back(self) -> list[str]:
        """The tags of conversations whose model gets its thinking back."""
        return self.tags_of([tag for tag, model in self.models.items() if model.thinking.send_back])

    def billed(self, tag: str) -> dict[str, Any]:
        """Under which tag the model for a conversation's tag is billed, and its price if it has one."""
        found = tag if self.is_open else self.find(tag) or self.default
        price = None if self.is_open else self.models[found].price
        return {"model": found} if price is None else {"model": found, "price": price.model_dump()}

    @cached_property
    def prices(self) -> str | None:
        """As `generations.start` takes them: `billed` of each tag. None: a tag is its own model."""
        if self.is_open:
            return None
        return orjson.dumps({tag: self.billed(tag) for tag in [*self.models, DEFAULT]}).decode()

    @property
    def most_tokens(self) -> int:
        """The largest `max_tokens` that any server may be asked for."""
        return max(most_tokens(server.protocol) for server in self.servers.values())
