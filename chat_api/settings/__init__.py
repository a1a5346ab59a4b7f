"""The environment as typed settings, and what a text in it becomes: database URLs, proxies, rates."""

from chat_api.settings.settings import Settings, SettingsError, explained, given_settings, load_settings

__all__ = ["Settings", "SettingsError", "explained", "given_settings", "load_settings"]
