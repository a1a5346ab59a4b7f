"""The settings: read once from the environment (and `.env`), checked, then frozen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, DotEnvSettingsSource, EnvSettingsSource, SettingsConfigDict

from chat_api.settings.types import (
    BasePath,
    DatabaseUrl,
    HttpUrl,
    Key,
    Level,
    Origins,
    ProxyList,
    RateText,
    Role,
    Seconds,
    TokenUrl,
    split_origins,
)


class SettingsError(Exception):
    """Settings that can't be used; the text names each variable, its value and what is allowed."""


class Settings(BaseSettings):
    """One field a variable of docs/contract.md section 5; the field's description is the README's."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    database_url: DatabaseUrl = Field(
        "postgresql+asyncpg://localhost/samosachaat",
        description="PostgreSQL; `postgresql://` too, SQLAlchemy's query options are understood",
    )
    auth_service_url: HttpUrl = Field("http://auth:8001", description="the auth service")
    inference_service_url: HttpUrl = Field("http://inference:8000", description="the model server")
    inference_protocol: Literal["nanochat", "openai"] = Field("nanochat", description="what it speaks")
    inference_api_key: Key = Field(SecretStr(""), description="bearer key for `openai`")
    inference_model: str = Field(
        "", description="model for conversations tagged `default` (`openai`); empty: the first one listed"
    )
    internal_api_key: Key = Field(SecretStr(""), description="shared key for calls to auth and inference")
    max_conversation_history: int = Field(
        50, ge=1, le=500, description="messages an inference call carries at most"
    )
    max_token_budget: int = Field(
        6000, ge=1, le=10_000_000, description="characters an inference call carries at most"
    )
    system_prompt: str = Field("", description="instructions put before every conversation")
    frontend_url: Origins = Field(
        "http://localhost:3000", description="allowed browser origins, comma-separated (CORS, WebSocket)"
    )
    web_ui: Literal["on", "off"] = Field("on", description="`off` leaves the web page out")
    web_token_url: TokenUrl = Field(
        "",
        description="where the web page fetches its token, with the site's cookies: answers "
        '`{"token": "…"}`; empty: the page asks for one',
    )
    base_path: BasePath = Field(
        "", description="path below which everything lies, such as `/chat`; empty: the root"
    )
    trusted_proxies: ProxyList = Field(
        "127.0.0.1,::1,unix",
        description="whose `X-Forwarded-*` headers are believed: addresses, networks such as `10.0.0.0/8`, "
        "`unix` for the unix socket; `none`: nobody's",
    )
    log_level: Level = Field("INFO", description="least severe log line that is written")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto`: text on a terminal, else JSON"
    )

    default_temperature: float = Field(0.8, ge=0, le=2, description="where the caller gives none")
    default_max_tokens: int = Field(1024, ge=1, le=4096, description="where the caller gives none")
    default_top_k: int = Field(50, ge=0, le=200, description="where the caller gives none (`nanochat`)")
    max_answer_characters: int = Field(
        200_000, ge=1000, le=10_000_000, description="a longer answer is ended with finish_reason `length`"
    )
    inference_connect_timeout: Seconds = Field(5, description="seconds to reach the model server")
    inference_first_token_timeout: Seconds = Field(60, description="seconds to the first token")
    inference_token_timeout: Seconds = Field(30, description="seconds between two tokens")

    auth_timeout: Seconds = Field(5, description="seconds for a call to the auth service")
    auth_cache_seconds: Seconds = Field(
        300, description="seconds a good token is believed (never past its expiry)"
    )
    auth_negative_cache_seconds: Seconds = Field(5, description="seconds a refused token is refused unasked")
    auth_cache_size: int = Field(10_000, ge=1, le=1_000_000, description="tokens remembered at most")

    database_pool_max: int = Field(10, ge=1, le=1000, description="connections opened at most")
    database_timeout: Seconds = Field(10, description="seconds for a statement, and for a free connection")
    service_role: Role = Field(
        "",
        description="role that `chat-api migrate` gives the rights that `serve` needs, see "
        "docs/operations/privileges.md; empty: whoever has them keeps them",
    )

    max_body_bytes: int = Field(262_144, ge=1024, le=16_777_216, description="larger request bodies get 413")
    max_frame_bytes: int = Field(
        262_144, ge=1024, le=16_777_216, description="a larger WebSocket message ends the socket with 1009"
    )
    max_header_bytes: int = Field(
        8190, ge=1024, le=65_536, description="a request line or a header field that is larger gets 431"
    )
    request_timeout: Seconds = Field(
        30, description="seconds that a client may take to send a request's headers, and again for its body"
    )
    sends_per_user: RateText = Field(
        "0",
        description="messages sent or answered anew by one user: `30/minute` is 30 at once, and 30 again in "
        "the course of a minute; `second`, `hour`, `day` too; `0`: no limit",
    )
    sends_per_address: RateText = Field(
        "0", description="the same for one network address; set `TRUSTED_PROXIES` first"
    )
    sign_in_failures_per_address: RateText = Field(
        "0",
        description="tokens from one address that the auth service refuses, before its unknown ones aren't "
        "checked for a while; each worker counts; set `TRUSTED_PROXIES` first",
    )
    max_answers_per_user: int = Field(
        0, ge=0, le=1000, description="answers of one user that are being written at once; `0`: no limit"
    )
    max_conversations_per_user: int = Field(
        0, ge=0, le=1_000_000, description="conversations that one user may have; `0`: no limit"
    )
    max_title_characters: int = Field(500, ge=20, le=500, description="a longer title gets 422")
    max_subscriptions: int = Field(
        100, ge=1, le=10_000, description="conversations that a WebSocket may follow at once"
    )
    commands_per_minute: int = Field(
        600,
        ge=1,
        le=1_000_000,
        description="commands that a WebSocket may send at once, and again in a minute",
    )
    heartbeat_interval: float = Field(
        25, gt=0, le=3600, description="seconds of silence after which a WebSocket is pinged"
    )
    keepalive_interval: float = Field(10, gt=0, le=15, description="seconds between comments in a stream")
    slow_reader_timeout: Seconds = Field(
        30, description="seconds that a reader may take nothing before it is cut"
    )
    replay_seconds: Seconds = Field(600, description="seconds a finished answer's events are kept for replay")
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days without a message or a new title after which a conversation is deleted; `0`: never",
    )
    retention_favourites: Literal["keep", "delete"] = Field(
        "keep", description="whether `RETENTION_DAYS` spares starred conversations"
    )
    generation_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days that the record of an ended answer is kept, with its `Idempotency-Key`; `0`: as "
        "long as its conversation",
    )
    worker_lease: float = Field(
        15, ge=1, le=3600, description="seconds after which a silent worker counts as dead"
    )
    drain_seconds: float = Field(
        25, ge=0, le=3600, description="seconds that running answers get to finish at shutdown"
    )

    @property
    def origins(self) -> list[str]:
        """The allowed browser origins, as browsers write them: lower case, no slash at the end."""
        return split_origins(self.frontend_url)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` win over the environment.

    Raises SettingsError with a line for each variable that can't be used.
    """
    with explained():
        return Settings(**overrides)


def given_settings() -> dict[str, Any]:
    """What `.env` and the environment set, unchecked, by the settings' names. Raises SettingsError."""
    with explained():
        sources = DotEnvSettingsSource(Settings), EnvSettingsSource(Settings)
        return {
            name: value
            for source in sources
            for name, value in source().items()
            if name in Settings.model_fields
        }


@contextmanager
def explained() -> Iterator[None]:
    """Make SettingsError of what is wrong with the settings that are read within."""
    try:
        yield
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(dict(problem)) for problem in error.errors(include_url=False))
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file .env can't be read as UTF-8 text: {error}") from None


def _sentence(problem: dict[str, Any]) -> str:
    name = str(problem["loc"][0])
    secret = "key" in name or name == "database_url"  # a wrong database URL may hold a password all the same
    value = "" if secret else "=" + re.sub("//[^/]*@", "//...@", repr(problem["input"]))
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name.upper()}{value}: {reason[:1].lower()}{reason[1:]}"
