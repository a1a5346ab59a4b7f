"""Where the settings come from: the environment, then `.env`, each also with the platform's names."""

from __future__ import annotations

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from chat_api.settings.platform_names import translate


class SourcedSettings(BaseSettings):
    """Settings without a field. Once made, they don't change."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put what the platform's names set last, so that the service's own names win."""
        sources = env_settings, dotenv_settings
        variables = [each.env_vars for each in sources if isinstance(each, EnvSettingsSource)]
        return init_settings, *sources, InitSettingsSource(settings_cls, translate(variables))
