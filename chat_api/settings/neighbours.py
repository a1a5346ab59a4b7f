"""The settings of the neighbours: database, auth service, model server, and what the model is sent."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr

from chat_api.settings.sources import SourcedSettings
from chat_api.settings.types import (
    DatabaseUrl,
    JsonObject,
    Key,
    Parameters,
    ServiceUrl,
)


class NeighbourSettings(SourcedSettings):
    """The first part of the settings, see Settings."""

    database_url: DatabaseUrl = Field(
        "postgresql+asyncpg://localhost/samosachaat",
        description="the database; `postgresql://` too, and SQLAlchemy's query options are understood",
    )
    sql_dir: str = Field(
        "",
        description="folder of a DBA's own queries, which win by name over the packaged ones, see "
        "docs/operations/own-sql.md; empty: none",
    )
    migrations_dir: str = Field(
        "",
        description="folder of a DBA's own migrations, `local-NNNN.name.sql`, which `chat-api migrate` "
        "applies after the release's; empty: none",
    )
    auth_service_url: ServiceUrl = Field("http://auth:8001", description="the auth service")
    models_file: str = Field(
        "",
        description="TOML file that names model servers and models, see docs/models.md; the `INFERENCE_` "
        "variables of one server and one model then count no more; empty: these are used",
    )
    inference_service_url: ServiceUrl = Field("http://inference:8000", description="the model server")
    inference_protocol: Literal["nanochat", "chat_web", "openai"] = Field(
        "nanochat", description="`nanochat` (samosaChaat's service), `chat_web` (nanochat's own) or `openai`"
    )
    inference_api_key: Key = Field(SecretStr(""), description="bearer key for `openai`")
    inference_model: str = Field(
        "", description="model for conversations tagged `default` (`openai`); empty: the first one listed"
    )
    inference_omit: Parameters = Field(
        "",
        description="parameters that are left out of requests, comma-separated, such as "
        "`temperature,stream_options` (`openai`)",
    )
    inference_max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="what the model server calls the answer's maximum length (`openai`)"
    )
    inference_add: JsonObject = Field(
        "{}",
        description="JSON object that is added to every request, such as "
        '`{"reasoning_effort": "low"}` (`openai`)',
    )
    inference_think_tags: Literal["on", "off"] = Field(
        "on",
        description="`off`: `<think>` at the beginning of an answer's text stays there, and isn't the "
        "model's thinking (`openai`)",
    )
    inference_context_tokens: int = Field(
        0,
        ge=0,
        le=100_000_000,
        description="tokens that a model takes, history, question and answer together (`openai`); `0`: what "
        "the model server tells",
    )
    inference_continue: Literal["ask", "prefill", "vllm"] = Field(
        "ask",
        description="how an answer that was cut goes on (`openai`): `ask` tells the model to; with "
        "`prefill` the answer is the last message, which llama.cpp and others go on with; `vllm` adds "
        "`continue_final_message`",
    )
    title_model: str = Field(
        "",
        description="model (`model_tag`) that is asked for a conversation's title after its first answer; "
        "`default` is one, too; empty: titles are the beginning of the first question",
    )
    internal_api_key: Key = Field(SecretStr(""), description="shared key for calls to auth and inference")
    max_conversation_history: int = Field(
        50, ge=1, le=500, description="maximum number of messages in an inference call"
    )
    max_token_budget: int = Field(
        6000,
        ge=1,
        le=10_000_000,
        description="maximum number of characters in an inference call; `openai`: if it isn't set, what the "
        "model takes",
    )
    system_prompt: str = Field("", description="instructions put before every conversation")
    system_prompt_thinking: str = Field(
        "", description="the same for `thinking_mode`; empty: `SYSTEM_PROMPT` there too"
    )
