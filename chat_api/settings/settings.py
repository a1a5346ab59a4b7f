"""The settings: one field per environment variable, checked, then frozen."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from chat_api.settings.sign_in import SignInSettings
from chat_api.settings.types import (
    BasePath,
    Level,
    MaxTokens,
    Origins,
    ProxyList,
    RateText,
    Role,
    Seconds,
    TokenUrl,
    split_origins,
)


class Settings(SignInSettings):
    """One field per environment variable. docs/settings.md has the same descriptions."""

    frontend_url: Origins = Field(
        "http://localhost:3000", description="allowed browser origins, comma-separated (CORS, WebSocket)"
    )
    web_ui: Literal["on", "off"] = Field("on", description="`off` leaves the web page out")
    web_token_url: TokenUrl = Field(
        "",
        description="URL from which the web page fetches its token, with the site's cookies; it answers "
        '`{"token": "…"}`; empty: the page asks its user for a token',
    )
    base_path: BasePath = Field(
        "", description="path below which everything is served, such as `/chat`; empty: the root"
    )
    trusted_proxies: ProxyList = Field(
        "127.0.0.1,::1,unix",
        description="proxies whose `X-Forwarded-*` headers are believed: IP addresses, networks such as "
        "`10.0.0.0/8`, `unix` for the unix socket; `none`: nobody's",
    )
    log_level: Level = Field("INFO", description="lowest level of log lines that is written")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="`auto`: text on a terminal, else JSON"
    )
    log_inference_errors: Literal["on", "off"] = Field(
        "off", description="`on`: log the model server's reasons too, which may repeat what users wrote"
    )

    default_temperature: float = Field(0.8, ge=0, le=2, description="if the caller gives none")
    default_max_tokens: MaxTokens = Field(
        1024, description="if the caller gives none; at most 4096, `openai`: 65536"
    )
    default_top_k: int = Field(50, ge=0, le=200, description="if the caller gives none (`nanochat`)")
    max_answer_characters: int = Field(
        200_000, ge=1000, le=10_000_000, description="a longer answer is ended with finish_reason `length`"
    )
    inference_connect_timeout: Seconds = Field(5, description="seconds to reach the model server")
    inference_first_token_timeout: Seconds = Field(
        60, description="seconds until the model server sends anything of an answer, thinking included"
    )
    inference_token_timeout: Seconds = Field(
        30, description="seconds of silence in the middle of an answer or of its thinking"
    )
    inference_answer_timeout: Seconds = Field(
        1800, description="seconds for a whole answer, however lively the model server is"
    )

    database_pool_max: int = Field(
        10, ge=1, le=1000, description="maximum number of connections in a worker's pool"
    )
    database_timeout: Seconds = Field(
        10, description="seconds for a statement, with the wait for a connection"
    )
    database_notifications: Literal["on", "off"] = Field(
        "on",
        description="`off`: workers tell each other nothing by `LISTEN` and `NOTIFY`, and only poll: for a "
        "pooler in transaction mode, or where commits wait for `Lock`, `object`",
    )
    service_role: Role = Field(
        "",
        description="role to which `chat-api migrate` grants the rights that `serve` needs, see "
        "docs/operations/privileges.md; empty: roles that have them keep them",
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
        description="messages that one user may send or have answered again: `30/minute` is 30 at once, and "
        "30 again in the course of a minute; `second`, `hour`, `day` too; `0`: no limit",
    )
    sends_per_address: RateText = Field(
        "0", description="the same for one IP address; set `TRUSTED_PROXIES` first"
    )
    max_answers_per_user: int = Field(
        0, ge=0, le=1000, description="answers that may be written at once for one user; `0`: no limit"
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
        30, description="seconds for which a reader may accept nothing before it is disconnected"
    )
    when_running: Literal["", "reject", "supersede"] = Field(
        "",
        description="what a message does while an answer is being written, if it doesn't say: `reject` is "
        "409, `supersede` stops that answer; empty: `supersede` if nobody reads that answer any more",
    )
    abandoned_seconds: Annotated[float, Field(ge=0, le=86_400)] | None = Field(
        None,
        description="seconds after which an answer that nobody reads is stopped; `0`: at once; empty: never",
    )
    replay_seconds: Seconds = Field(
        600, description="seconds for which a finished answer's events are kept for replay"
    )
    retention_days: int = Field(
        0,
        ge=0,
        le=36_500,
        description="days without a message after which a conversation is deleted; `0`: never",
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
        15,
        ge=1,
        le=3600,
        description="seconds until a silent worker is dead; keep it above `DATABASE_TIMEOUT`",
    )
    drain_seconds: float = Field(
        25, ge=0, le=3600, description="seconds that running answers get to finish at shutdown"
    )

    @property
    def origins(self) -> list[str]:
        """The allowed browser origins, as browsers write them: lower case, no slash at the end."""
        return split_origins(self.frontend_url)
