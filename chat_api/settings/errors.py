"""What is wrong with the settings. It loads no pydantic, so that whoever raises it needn't either."""


class SettingsError(Exception):
    """Settings that can't be used. The text names each variable, its value and what is allowed."""
