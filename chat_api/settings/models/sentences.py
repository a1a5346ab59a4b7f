"""A sentence for each value of MODELS_FILE that can't be used. None quotes what may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import date, time
from typing import Any

import orjson
from pydantic import ValidationError

from chat_api.settings.models.definition import Price, Table, Thinking

INNER: dict[str, type[Table]] = {"thinking": Thinking, "price": Price}
BARE = re.compile(r"[\w-]{1,100}", re.ASCII)  # a key that TOML has without quotes
MAX_SHOWN = 60  # characters of a value, which may be a page of instructions
A_TABLE = "must be a table, such as {{ name = value }}"
ALLOWED = {
    "string_type": "must be text in quotes",
    "string_too_long": "must be at most {max_length} characters long",
    "too_long": "must be at most {max_length} characters long",
    "string_pattern_mismatch": "must be three capital letters, such as EUR",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number, neither inf nor nan",
    "bool_type": "must be true or false",
    "dict_type": A_TABLE,
    "model_type": A_TABLE,
    "tuple_type": 'must be a list, such as ["a", "b"]',
    "too_short": "must have at least one",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
}


def dotted(*names: str) -> str:
    """The place of a key, as TOML writes it."""
    return ".".join(name if BARE.fullmatch(name) else quoted(name) for name in names)


def quoted(text: str) -> str:
    """A text in quotes, on one line, cut if it is long."""
    cut = text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
    return orjson.dumps(cut).decode().replace("\x7f", "\\u007F")


def listed(names: Sequence[str]) -> str:
    """Names, separated by commas."""
    return ", ".join(
        name if name and name.isprintable() and "," not in name else quoted(name) for name in names
    )


def sentences(place: str, table: type[Table], error: ValidationError) -> Iterator[str]:
    """What is wrong in a table: a sentence for each key, with its value and what is allowed."""
    problems = error.errors(include_url=False)
    places = [problem["loc"] for problem in problems]
    told = set()
    for problem in problems:
        where = problem["loc"]
        if where[0] == "served_as":  # one problem for each type that it may have
            where = where[:1]
        elif any(other[: len(where)] == where != other for other in places):
            continue  # a list without its bad members is too short
        if where not in told:
            told.add(where)
            yield _sentence(place, table, where, dict(problem))


def _sentence(place: str, table: type[Table], where: tuple[int | str, ...], problem: dict[str, Any]) -> str:
    key = place
    for part in where:
        key += f"[{part}]" if isinstance(part, int) else f".{dotted(part)}"
    kind = problem["type"]
    if kind == "extra_forbidden":
        inner = INNER.get(str(where[0]), table) if len(where) > 1 else table
        names = [field.alias or name for name, field in inner.model_fields.items()]
        return f"{key}: there is no such key here; there are {listed(names)}"
    if kind == "missing":
        return f"{key}: is missing; there must be one"
    return f"{key}{_shown(str(where[0]), problem['input'])}: {_allowed(where, problem)}"


def _allowed(where: tuple[int | str, ...], problem: dict[str, Any]) -> str:
    kind, context = problem["type"], problem.get("ctx", {})
    if where[0] == "served_as":
        return 'must be a name in quotes, or a table of a name for each server, such as { near = "qwen3" }'
    if kind == "literal_error":
        return f"must be {context['expected']}".replace("'", '"')
    if kind in ALLOWED:
        return ALLOWED[kind].format(**context).replace(".0 ", " ").removesuffix(".0")
    return str(problem["msg"]).removeprefix("Value error, ")


def _shown(key: str, value: object) -> str:
    """A value about as the file has it; "" for a table, since what it holds may be secret."""
    if key in ("key", "headers"):
        return ""
    match value:
        case str():
            return f" = {quoted(_without_secrets(value) if key == 'url' else value)}"
        case bool():
            return f" = {str(value).lower()}"
        case int() | float() | date() | time():
            return f" = {str(value)[:MAX_SHOWN]}"
        case list() if key != "url" and all(isinstance(each, str) for each in value):
            return f" = [{', '.join(map(quoted, value[:3]))}{', …' if value[3:] else ''}]"
        case _:
            return ""


def _without_secrets(url: str) -> str:
    """A URL, or what was meant to be one, without its user, its password and its query string."""
    known = re.sub(r"^(\w+://)?.*@", r"\1...@", url, flags=re.DOTALL)
    return re.sub(r"\?.*", "?...", known, flags=re.DOTALL)
