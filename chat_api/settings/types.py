"""What settings may be: each type reads a text, and raises ValueError with what is allowed."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from chat_api.settings.database_url import parse_dsn
from chat_api.settings.proxies import Proxies
from chat_api.settings.rate import Rate


def split_origins(origins: str) -> list[str]:
    """Each as browsers write it: lower case, no slash at the end."""
    return [origin.strip().rstrip("/").lower() for origin in origins.split(",") if origin.strip()]


def _http_url(value: str) -> str:
    try:
        url = urlsplit(value)
        usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise ValueError("must be a URL such as http://host:8000")
    return value.rstrip("/")


def _database_url(value: str) -> str:
    parse_dsn(value)
    return value


def _role(value: str) -> str:
    if "\0" in value or len(value.encode()) > 63:
        raise ValueError("must be a role of PostgreSQL, of at most 63 bytes")
    return value


def _origins(value: str) -> str:
    for origin in split_origins(value):
        url = urlsplit(_http_url(origin))
        if url.path or url.query or url.fragment or "@" in url.netloc:
            raise ValueError("must be origins such as https://chat.example, separated by commas")
    return value


def _path(value: str) -> str:
    path = value.rstrip("/")
    segments = path.split("/")
    # Unreserved characters alone (RFC 3986 section 2.3): never escaped, and no pattern to aiohttp.
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


def _sendable(value: SecretStr) -> SecretStr:
    secret = value.get_secret_value()
    if not (secret.isascii() and secret.isprintable() and secret == secret.strip()):
        raise ValueError("must be printable ASCII without spaces around it, as HTTP headers are")
    return value


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


def _token_url(value: str) -> str:
    url = urlsplit(value)
    if url.scheme or url.netloc:
        return _http_url(value)
    if value and (not value.isascii() or not value.isprintable() or " " in value):
        raise ValueError("must be a URL such as https://chat.example/token, or a path such as /token")
    return value


HttpUrl = Annotated[str, AfterValidator(_http_url)]
Key = Annotated[SecretStr, AfterValidator(_sendable)]
RateText = Annotated[str, AfterValidator(_rate)]
Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
DatabaseUrl = Annotated[str, AfterValidator(_database_url)]
Role = Annotated[str, AfterValidator(_role)]
Origins = Annotated[str, AfterValidator(_origins)]
TokenUrl = Annotated[str, AfterValidator(_token_url)]
BasePath = Annotated[str, AfterValidator(_path)]
ProxyList = Annotated[str, AfterValidator(_proxies)]
Level = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_upper)]
