"""Reading the settings from the environment and `.env`, with a sentence for each that is wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import ValidationError
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from chat_api.settings.errors import SettingsError
from chat_api.settings.platform_names import PLATFORM_NAMES, Variables, contradictions, written_name
from chat_api.settings.settings import Settings


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` win over the environment.

    Raises SettingsError with a line for each variable that can't be used.
    """
    with explained():
        return Settings(**overrides)


def given_settings() -> dict[str, Any]:
    """What `.env` and the environment set: unchecked values by the names used there. Raises SettingsError."""
    with explained():
        environment, file = _variables()
        return {
            name: value
            for name, value in {**file, **environment}.items()
            if name in Settings.model_fields or name in PLATFORM_NAMES
        }


def contradicting_names() -> list[tuple[str, str]]:
    """The variables that say different things of one setting: the one that counts, and the platform's name.

    Raises SettingsError.
    """
    with explained():
        return [(own.upper(), theirs.upper()) for own, theirs in contradictions(_variables())]


def variable(name: str) -> str:
    """What the environment, or else `.env`, sets under this name; "" if none does. Raises SettingsError."""
    with explained():
        environment, file = _variables()
    return environment.get(name.lower()) or file.get(name.lower()) or ""


@contextmanager
def explained() -> Iterator[None]:
    """Turn what is wrong with the settings that the block reads into a SettingsError."""
    try:
        yield
    except ValidationError as error:
        raise SettingsError(
            "\n".join(_sentence(dict(problem)) for problem in error.errors(include_url=False))
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the file .env can't be read as UTF-8 text: {error}") from None


def _variables() -> tuple[Variables, Variables]:
    """What the environment and `.env` set, in that order: the environment wins."""
    return EnvSettingsSource(Settings).env_vars, DotEnvSettingsSource(Settings).env_vars


def _sentence(problem: dict[str, Any]) -> str:
    name = written_name(str(problem["loc"][0]), _variables())
    secret = "key" in name or name == "database_url"  # even a malformed database URL may contain a password
    value = "" if secret else "=" + re.sub("//[^/]*@", "//...@", repr(problem["input"]))
    reason = str(problem["msg"]).removeprefix("Value error, ")
    return f"{name.upper()}{value}: {reason[:1].lower()}{reason[1:]}"
