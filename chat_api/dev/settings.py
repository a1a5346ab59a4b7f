"""The server's settings in development."""

from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from chat_api.dev import sign_in
from chat_api.dev.model.detect import Protocol
from chat_api.settings import Settings, explained, given_settings

_HONOURED = {"base_path", "frontend_url", "log_level"}
_FOR_A_MODEL_SERVER = {
    "inference_add",
    "inference_api_key",
    "inference_context_tokens",
    "inference_continue",
    "inference_max_tokens_field",
    "inference_model",
    "inference_omit",
    "internal_api_key",
}
_DRAIN_SECONDS = 1  # Ctrl-C should end the stack quickly
_LOCAL_TEMPERATURE = 0.3  # above that, such a small model rambles
_OWN_ORIGINS = "http://127.0.0.1:{port},http://localhost:{port},http://localhost:3000"


class DevSettings(Settings):
    """Settings that come only from the code. A deployment's variables and `.env` have no effect on them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Use only the constructor's arguments."""
        return (init_settings,)


def chosen_settings(*, local: bool) -> tuple[DevSettings, str]:
    """Read the settings that dev takes from the environment and `.env`, and a line that names others, or "".

    What concerns a model server is only for one other than the `local` one. Raises SettingsError
    if a setting that dev takes can't be used.
    """
    names = _HONOURED if local else _HONOURED | _FOR_A_MODEL_SERVER
    given = given_settings()
    with explained():
        # Log only what a developer should look at.
        chosen = DevSettings(
            **{"log_level": "WARNING"} | {name: given[name] for name in names & given.keys()}
        )
    ignored = ", ".join(sorted(name.upper() for name in given.keys() - names))
    taken = ", ".join(sorted(name.upper() for name in names))
    return chosen, f"dev ignores {ignored}: the only settings that it takes are {taken}" if ignored else ""


def dev_settings(
    chosen: DevSettings,
    *,
    port: int,
    database_url: str,
    auth_url: str,
    key: str,
    model: tuple[str, Protocol],
    local: bool,
) -> Settings:
    """Make the settings of a server on `port`. `key` is for the auth service and a nanochat model server."""
    url, protocol = model
    origins = [_OWN_ORIGINS.format(port=port)]
    if "frontend_url" in chosen.model_fields_set:
        origins.append(chosen.frontend_url)
    made: dict[str, Any] = {
        "database_url": database_url,
        "auth": "service,keys",
        "auth_service_url": auth_url,
        "internal_api_key": key,
        "inference_service_url": url,
        "inference_protocol": protocol,
        "frontend_url": ",".join(origins),
        "web_token_url": sign_in.PATH,
        "drain_seconds": _DRAIN_SECONDS,
        "log_format": "text",
    }
    if local:
        made["default_temperature"] = _LOCAL_TEMPERATURE
        made["inference_continue"] = (
            "prefill"  # llama.cpp's; asked to go on, such a small model chats about it
        )
    return DevSettings(**dict(chosen) | made)
