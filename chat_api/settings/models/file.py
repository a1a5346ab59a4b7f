"""Reading MODELS_FILE, with a sentence for each value that is wrong; or the same from the environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError

from chat_api.settings.models.definition import DEFAULT, Catalogue, Model, Price, Server, Table, Thinking
from chat_api.settings.reading import SettingsError, variable
from chat_api.settings.settings import Settings
from chat_api.settings.types import split_names

FROM_ENVIRONMENT = "inference"  # the name of the one server without a file
# What a file says instead, so that these variables say nothing beside it.
REPLACED = (
    "inference_service_url",
    "inference_protocol",
    "inference_api_key",
    "inference_model",
    "inference_omit",
    "inference_max_tokens_field",
    "inference_add",
    "inference_think_tags",
    "inference_context_tokens",
    "inference_continue",
)
MAX_BYTES = 1_048_576
VARIABLE = re.compile(r"[A-Z][A-Z0-9_]*", re.ASCII)  # a name that may be quoted, since it is no key
TABLES: dict[str, type[Table]] = {"servers": Server, "models": Model}
INNER: dict[str, type[Table]] = {"thinking": Thinking, "price": Price}


def load_catalogue(settings: Settings) -> Catalogue:
    """The servers and models of MODELS_FILE, or, without it, the environment's one server and one model.

    Raises SettingsError with a line for each value that can't be used.
    """
    if not settings.models_file:
        return _from_environment(settings)
    path = Path(settings.models_file)
    problems: list[str] = []
    catalogue = _from_file(_read(path), settings, problems)
    if catalogue is None or problems:
        raise SettingsError("\n".join(f"MODELS_FILE {path}: {each}" for each in problems))
    return catalogue


def _from_environment(settings: Settings) -> Catalogue:
    is_openai = settings.inference_protocol == "openai"
    server = Server(
        url=settings.inference_service_url,
        protocol=settings.inference_protocol,
        key=settings.inference_api_key if is_openai else settings.internal_api_key,
    )
    model = Model(
        servers=(FROM_ENVIRONMENT,),
        served_as=settings.inference_model,
        context_tokens=settings.inference_context_tokens or None,
        max_tokens_field=settings.inference_max_tokens_field,
        omit=tuple(split_names(settings.inference_omit)),
        add=orjson.loads(settings.inference_add),
        thinking=Thinking(tags=settings.inference_think_tags == "on"),
        go_on=settings.inference_continue,
    )
    return Catalogue({FROM_ENVIRONMENT: server}, {DEFAULT: model}, DEFAULT, is_open=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
        if len(data) > MAX_BYTES:
            raise SettingsError(f"MODELS_FILE {path}: must be at most {MAX_BYTES} bytes long")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"MODELS_FILE {path}: can't be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise SettingsError(f"MODELS_FILE {path}: must be UTF-8 text: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"MODELS_FILE {path}: is no TOML: {error}") from None


def _from_file(given: dict[str, Any], settings: Settings, problems: list[str]) -> Catalogue | None:
    """What the file says; `problems` gets a sentence for each value that can't be used."""
    problems += [
        f"{name}: there is no such key here; there are {', '.join(TABLES)}"
        for name in given
        if name not in TABLES
    ]
    servers = {
        name: server
        for name, table in _tables(given, "servers", problems)
        if (server := _server(name, table, settings, problems)) is not None
    }
    models = {
        tag: model
        for tag, table in _tables(given, "models", problems)
        if (model := _model(tag, table, given.get("servers"), problems)) is not None
    }
    if problems or not models:
        return None
    default = DEFAULT if DEFAULT in models else next(iter(models))
    catalogue = Catalogue(servers, models, default)
    if settings.title_model and catalogue.find(settings.title_model) is None:
        problems.append(
            f"models: has none for TITLE_MODEL={settings.title_model!r}; there are {', '.join(models)}"
        )
    if models[default].who != "everybody":
        problems.append(f'models.{default}.who: must be "everybody", since this is the default model')
    if settings.default_max_tokens > catalogue.most_tokens:
        problems.append(
            f"servers: none may be asked for DEFAULT_MAX_TOKENS={settings.default_max_tokens}; "
            f"at most {catalogue.most_tokens}"
        )
    return catalogue


def _tables(given: Mapping[str, Any], name: str, problems: list[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    one = name.removesuffix("s")
    tables = given.get(name)
    if not isinstance(tables, dict) or not tables:
        problems.append(f"{name}: must have a table for each {one}, such as [{name}.default]")
        return
    for each, table in tables.items():
        if not isinstance(table, dict):
            problems.append(f"{name}.{each}: must be a table, [{name}.{each}]")
        elif not each or len(each) > 100 or not each.isprintable():
            problems.append(f"{name}.{each!r}: a {one}'s name must be 1 to 100 printable characters long")
        else:
            yield each, table


def _server(name: str, table: dict[str, Any], settings: Settings, problems: list[str]) -> Server | None:
    key = table.get("key")
    if key is None and table.get("protocol") == "nanochat":
        table = {**table, "key": settings.internal_api_key}
    elif isinstance(key, str):
        secret = variable(key)
        if not secret:
            named = f'"{key}" ' if VARIABLE.fullmatch(key) else ""
            problems.append(
                f"servers.{name}.key: {named}must be the name of an environment variable that is set "
                "and holds the key"
            )
            return None
        table = {**table, "key": SecretStr(secret)}
    try:
        return Server(**table)
    except ValidationError as error:
        problems += _sentences(f"servers.{name}", Server, error)
    return None


def _model(tag: str, table: dict[str, Any], servers: object, problems: list[str]) -> Model | None:
    try:
        model = Model(**table)
    except ValidationError as error:
        problems += _sentences(f"models.{tag}", Model, error)
        return None
    known = list(servers) if isinstance(servers, dict) else []
    named = model.served_as if isinstance(model.served_as, dict) else {}
    for key, names, allowed in (("servers", model.servers, known), ("served_as", named, model.servers)):
        for each in names:
            if each not in allowed:
                problems.append(f"models.{tag}.{key}: has {each!r}; must name {', '.join(allowed)} alone")
    if len(set(model.servers)) < len(model.servers):
        problems.append(f"models.{tag}.servers: must name each server once")
    return model


def _sentences(place: str, table: type[Table], error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        where = [str(part) for part in problem["loc"] if part not in ("str", "dict[str,str]")]
        key = ".".join([place, *where])
        if problem["type"] == "extra_forbidden":
            inner = INNER.get(where[0], table) if len(where) > 1 else table
            names = ", ".join(field.alias or name for name, field in inner.model_fields.items())
            yield f"{key}: there is no such key here; there are {names}"
        elif problem["type"] == "missing":
            yield f"{key}: is missing"
        else:
            reason = str(problem["msg"]).removeprefix("Value error, ")
            is_secret = where[0] in ("key", "headers")
            value = "" if is_secret else " = " + re.sub("//[^/]*@", "//...@", _toml(problem["input"]))
            yield f"{key}{value}: {reason[:1].lower()}{reason[1:]}"


def _toml(value: object) -> str:
    """A value about as the file has it."""
    try:
        return orjson.dumps(value).decode()
    except TypeError:
        return str(value)
