"""The server's settings in development."""

import os
from typing import Literal, cast, get_args

from pydantic import SecretStr
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from chat_api.dev import sign_in
from chat_api.dev.detect import Protocol
from chat_api.dev.errors import DevError
from chat_api.settings import Settings

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_DRAIN_SECONDS = 1  # Ctrl-C is meant
_LOCAL_TEMPERATURE = 0.3  # a model this small rambles at more


class DevSettings(Settings):
    """Settings that come from the code alone: neither a deployment's variables nor a `.env` reach them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is handed to the constructor, and nothing else."""
        return (init_settings,)


def log_level() -> LogLevel:
    """LOG_LEVEL, the one variable that dev reads in any case; without it, what a developer should look at."""
    given = os.environ.get("LOG_LEVEL", "").upper() or "WARNING"
    if given not in get_args(LogLevel):
        raise DevError(f"LOG_LEVEL={given!r} is no log level: use one of {', '.join(get_args(LogLevel))}")
    return cast("LogLevel", given)


def dev_settings(
    *, port: int, database_url: str, auth_url: str, key: str, model: tuple[str, Protocol], local: bool
) -> Settings:
    """The settings for a server on `port`.

    `key` is for calls to the auth service and a nanochat model server. Where the model server isn't the
    `local` one, INFERENCE_API_KEY and INFERENCE_MODEL of the environment are for it.
    """
    url, protocol = model
    environment = {} if local else os.environ
    settings = DevSettings(
        database_url=database_url,
        auth_service_url=auth_url,
        internal_api_key=SecretStr(key),
        inference_service_url=url,
        inference_protocol=protocol,
        inference_api_key=SecretStr(environment.get("INFERENCE_API_KEY", "")),
        inference_model=environment.get("INFERENCE_MODEL", ""),
        frontend_url=f"http://127.0.0.1:{port},http://localhost:{port},http://localhost:3000",
        web_token_url=sign_in.PATH,
        drain_seconds=_DRAIN_SECONDS,
        log_format="text",
        log_level=log_level(),
    )
    return settings.model_copy(update={"default_temperature": _LOCAL_TEMPERATURE}) if local else settings
