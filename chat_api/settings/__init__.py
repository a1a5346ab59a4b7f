"""The environment as typed settings, and what a text in it becomes: database URLs, proxies, rates."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.settings.settings import (
        Settings,
        SettingsError,
        explained,
        given_settings,
        load_settings,
    )

__all__ = ["Settings", "SettingsError", "explained", "given_settings", "load_settings"]


def __getattr__(name: str) -> object:
    """Load the settings when first asked for: a module that only reads a URL needs no pydantic."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from chat_api.settings import settings  # noqa: PLC0415

    return getattr(settings, name)
