"""The environment as typed settings, and how their texts are read: database URLs, proxies, rates."""

from typing import TYPE_CHECKING

from chat_api.settings.errors import SettingsError

if TYPE_CHECKING:
    from chat_api.settings.reading import (
        contradicting_names,
        explained,
        given_settings,
        load_settings,
    )
    from chat_api.settings.settings import Settings

__all__ = [
    "Settings",
    "SettingsError",
    "contradicting_names",
    "explained",
    "given_settings",
    "load_settings",
]


def __getattr__(name: str) -> object:
    """Load the settings when they are first used, as a module that only reads a URL needs no pydantic."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from chat_api.settings import reading  # noqa: PLC0415

    return getattr(reading, name)
