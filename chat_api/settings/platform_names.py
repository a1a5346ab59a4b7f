"""The names that the samosaChaat platform gives to some settings: understood beside this service's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

PLATFORM_NAMES = {
    "inference_default_temperature": "default_temperature",
    "inference_default_max_tokens": "default_max_tokens",
    "inference_default_top_k": "default_top_k",
    "auth_cache_ttl_seconds": "auth_cache_seconds",
    "auth_cache_max_size": "auth_cache_size",
}
"""The platform's name of a setting, to the service's own."""

Variables = Mapping[str, str | None]
"""What the environment or `.env` sets, by names in lower case."""


def translate(sources: Iterable[Variables]) -> dict[str, str]:
    """What is set by the platform's names, by the service's own. The first source that has a name counts."""
    found: dict[str, str] = {}
    for variables in sources:
        for theirs, own in PLATFORM_NAMES.items():
            if (value := variables.get(theirs)) is not None:
                found.setdefault(own, value)
    return found


def written_name(name: str, sources: Iterable[Variables]) -> str:
    """The name by which a setting was set: the platform's if that alone was used."""
    written = {each for variables in sources for each in variables}
    if name in written:
        return name
    return next((theirs for theirs, own in PLATFORM_NAMES.items() if own == name and theirs in written), name)


def contradictions(sources: Iterable[Variables]) -> list[tuple[str, str]]:
    """The settings that are set by both names, to different values: (own name, the platform's)."""
    given: dict[str, str] = {}
    for variables in sources:
        for name, value in variables.items():
            if value is not None:
                given.setdefault(name, value)
    return [
        (own, theirs)
        for theirs, own in PLATFORM_NAMES.items()
        if own in given and theirs in given and not _is_equal(given[own], given[theirs])
    ]


def _is_equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one == other
