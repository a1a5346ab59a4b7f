"""The types of settings. Each reads a text, and raises ValueError with what is allowed."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Literal
from urllib.parse import urlsplit

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo

from chat_api.bodies import MAX_TOKENS
from chat_api.settings.database_url import parse_dsn
from chat_api.settings.proxies import Proxies
from chat_api.settings.rate import Rate

NANOCHAT_TOKENS = 4096  # the most that nanochat's servers are asked for
NEEDED_PARAMETERS = {"model", "messages", "stream", "tools", "tool_choice"}  # of a request to a model server

HOST = re.compile(r"[\w.:%~-]+")  # letters of any script, and IPv6 addresses with their zone


def most_tokens(protocol: str) -> int:
    """The largest `max_tokens` that a model server may be asked for in this protocol."""
    return MAX_TOKENS if protocol == "openai" else NANOCHAT_TOKENS


def _fit_protocol(value: int, info: ValidationInfo) -> int:
    if info.data.get("models_file"):
        return value  # the file's servers decide
    if value > (most := most_tokens(info.data.get("inference_protocol", ""))):
        raise ValueError(f"must be at most {most} with this INFERENCE_PROTOCOL")
    return value


def split_origins(origins: str) -> list[str]:
    """Split a comma-separated list of origins. As browsers write them: lower case, no slash at the end."""
    return [origin.strip().rstrip("/").lower() for origin in origins.split(",") if origin.strip()]


def split_names(names: str) -> list[str]:
    """Split a comma-separated list of names."""
    return [name.strip() for name in names.split(",") if name.strip()]


def check_parameters(names: Iterable[str], how: str = "") -> None:
    """Raise ValueError unless these are names of parameters that a request can do without.

    `how` is what the sentence says of how they are written.
    """
    for name in names:
        if not re.fullmatch(r"\w{1,64}", name, re.ASCII):
            raise ValueError(f"must be names of parameters such as temperature{how}")
        if name in NEEDED_PARAMETERS:
            raise ValueError(f"must not name {name}, which every request needs")


def _parameters(value: str) -> str:
    check_parameters(split_names(value), ", separated by commas")
    return value


def _json_object(value: str) -> str:
    try:
        given = orjson.loads(value)
    except orjson.JSONDecodeError:
        given = None
    if not isinstance(given, dict):
        raise ValueError('must be a JSON object such as {"reasoning_effort": "low"}')  # noqa: TRY004 - pydantic takes this one
    check_parameters(given)
    return value


def http_url(value: str) -> str:
    """A URL of HTTP, without a slash at its end. Raises ValueError."""
    try:
        url = urlsplit(value)
        usable = (
            url.scheme in ("http", "https") and bool(HOST.fullmatch(url.hostname or "")) and url.port != 0
        )
    except ValueError:
        usable = False
    if not usable or re.search(r"\s", value):
        raise ValueError("must be a URL such as http://host:8000")
    return value.rstrip("/")


def base_url(value: str) -> str:
    """A URL below which a model server has its paths. Raises ValueError."""
    path = urlsplit(http_url(value)).path.rstrip("/")
    if "#" in value:
        raise ValueError("must have no fragment: paths are put after it, such as /models")
    for end in ("/chat/completions", "/models"):
        if path.endswith(end):
            raise ValueError(f"must end before {end}, which is put after it")
    return value.rstrip("/")


def _service_url(value: str) -> str:
    http_url(value)
    if "?" in value or "#" in value:
        raise ValueError("must have no query and no fragment: paths are put after it, such as /models")
    return base_url(value)


def _database_url(value: str) -> str:
    parse_dsn(value)
    return value


def _role(value: str) -> str:
    if "\0" in value or len(value.encode()) > 63:
        raise ValueError("must be the name of a PostgreSQL role, of at most 63 bytes")
    return value


def _origins(value: str) -> str:
    for origin in split_origins(value):
        url = urlsplit(http_url(origin))
        if url.path or url.query or url.fragment or "@" in url.netloc:
            raise ValueError("must be origins such as https://chat.example, separated by commas")
    return value


def _path(value: str) -> str:
    path = value.rstrip("/")
    segments = path.split("/")
    # Only unreserved characters (RFC 3986 section 2.3): they are never escaped, and mean nothing special to
    # aiohttp.
    fits = re.fullmatch("(/[A-Za-z0-9._~-]+)*", path, re.ASCII)
    if not fits or "." in segments or ".." in segments:
        raise ValueError("must be a path such as /chat, of letters, digits and ._~-")
    return path


def _proxies(value: str) -> str:
    Proxies.parse(value)
    return value


def _rate(value: str) -> str:
    Rate.parse(value)
    return value


def is_sendable(key: str) -> bool:
    """Whether a key can be the value of an HTTP header."""
    return key.isascii() and key.isprintable() and key == key.strip()


def _sendable(value: SecretStr) -> SecretStr:
    if not is_sendable(value.get_secret_value()):
        raise ValueError("must be printable ASCII without spaces around it, as HTTP headers are")
    return value


LEVELS = {"WARN": "WARNING", "FATAL": "CRITICAL"}  # Python's other names of these two


def _level(value: object) -> object:
    return LEVELS.get(value.upper(), value.upper()) if isinstance(value, str) else value


def _email_address(value: str) -> str:
    address = value.strip()
    if address and not re.fullmatch(r"[^\s@,;<>]+@[^\s@,;<>]+", address):
        raise ValueError("must be one e-mail address such as admin@chat.example")
    return address


def _token_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme or url.netloc:
        return http_url(value)
    if value and (not value.isascii() or not value.isprintable() or " " in value):
        raise ValueError("must be a URL such as https://chat.example/token, or a path such as /token")
    return value


TokenCount = Annotated[int, Field(ge=1, le=100_000_000)]
ServiceUrl = Annotated[str, AfterValidator(_service_url)]
Key = Annotated[SecretStr, AfterValidator(_sendable)]
Parameters = Annotated[str, AfterValidator(_parameters)]
MaxTokens = Annotated[int, Field(ge=1, le=MAX_TOKENS), AfterValidator(_fit_protocol)]
JsonObject = Annotated[str, AfterValidator(_json_object)]
RateText = Annotated[str, AfterValidator(_rate)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Role = Annotated[str, AfterValidator(_role)]
Origins = Annotated[str, AfterValidator(_origins)]
TokenUrl = Annotated[str, AfterValidator(_token_url)]
BasePath = Annotated[str, AfterValidator(_path)]
EmailAddress = Annotated[str, AfterValidator(_email_address)]
ProxyList = Annotated[str, AfterValidator(_proxies)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_level)]
