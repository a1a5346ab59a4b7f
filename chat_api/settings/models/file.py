"""Reading MODELS_FILE, with a sentence for each value that is wrong; or the same from the environment."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import SecretStr, ValidationError

from chat_api.settings.errors import SettingsError
from chat_api.settings.models.definition import BEARER, DEFAULT, Catalogue, Model, Server, Thinking
from chat_api.settings.models.sentences import dotted, listed, quoted, sentences
from chat_api.settings.reading import variable
from chat_api.settings.settings import Settings
from chat_api.settings.types import is_sendable, split_names

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
# A name that may be quoted, since it is no key that stands in its variable's place.
VARIABLE = re.compile(r"[A-Z]{1,20}(_[A-Z]{1,20}|_[0-9]{1,2}){0,5}", re.ASCII)
TABLES = ("servers", "models")
EXAMPLES = {"servers": "near", "models": "default"}
MAX_NAME = 100  # characters; those of a conversation's tag
NO_VARIABLE = "must be the name of an environment variable that is set and holds the key, not the key itself"
SIGNS_IN_TWICE = "must have no name and no password, which are sent in the header"
NO_SENDABLE_KEY = (
    "what this variable holds must be printable ASCII without spaces around it, as HTTP headers are"
)


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
    if server.signs_in_twice:
        raise SettingsError(f"INFERENCE_SERVICE_URL {SIGNS_IN_TWICE} of INFERENCE_API_KEY")
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
    data = b""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise SettingsError(f"MODELS_FILE {path}: must be at most {MAX_BYTES} bytes long")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        reason = f"can't be read: {error.strerror}"
    except UnicodeDecodeError as error:
        reason = f"must be UTF-8 text, which line {_line(data[: error.start])} isn't"
    except tomllib.TOMLDecodeError as error:
        reason = f"is no TOML: {error}".replace("at end of document", f"at the end, line {_line(data)}")
    except RecursionError:
        reason = "has too many lists or tables within each other"
    except ValueError:
        reason = "can't be read: no path has such a character"  # NUL
    raise SettingsError(f"MODELS_FILE {path}: {reason}")


def _line(before: bytes) -> int:
    """The number of the line that follows these bytes."""
    return before.count(b"\n") + 1


def _from_file(given: dict[str, Any], settings: Settings, problems: list[str]) -> Catalogue | None:
    """What the file says; `problems` gets a sentence for each value that can't be used."""
    problems += [
        f"{dotted(name)}: there is no such key here; there are {listed(TABLES)}"
        for name in given
        if name not in TABLES
    ]
    servers = {
        name: server
        for name, table in _tables(given, "servers", problems)
        if (server := _server(name, table, settings, problems)) is not None
    }
    named = given.get("servers")
    known = list(named) if isinstance(named, dict) else []  # with those that are wrong
    models = {
        tag: model
        for tag, table in _tables(given, "models", problems)
        if (model := _model(tag, table, known, problems)) is not None
    }
    if problems or not models:
        return None
    default = DEFAULT if DEFAULT in models else next(iter(models))
    catalogue = Catalogue(servers, models, default)
    if settings.title_model and catalogue.find(settings.title_model) is None:
        problems.append(
            f"models: there is none for TITLE_MODEL={quoted(settings.title_model)}; "
            f"there are {listed(list(models))}"
        )
    if models[default].who != "everybody":
        place, who = dotted("models", default, "who"), models[default].who
        problems.append(f'{place} = "{who}": must be "everybody", since this is the default model')
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
        problems.append(f"{name}: must have a table for each {one}, such as [{name}.{EXAMPLES[name]}]")
        return
    for each, table in tables.items():
        place = dotted(name, each)
        if not each or len(each) > MAX_NAME or not each.isprintable():
            problems.append(f"{place}: a {one}'s name must be 1 to {MAX_NAME} printable characters long")
        elif not isinstance(table, dict):
            problems.append(f"{place}: must be a table, [{place}]")
        else:
            yield each, table


def _server(name: str, table: dict[str, Any], settings: Settings, problems: list[str]) -> Server | None:
    place = dotted("servers", name)
    key = table.get("key")
    if key is None and table.get("protocol") == "nanochat":
        table = {**table, "key": settings.internal_api_key}
    elif isinstance(key, str):
        secret = variable(key)
        shown = f" = {quoted(key)}" if VARIABLE.fullmatch(key) else ""
        if not (secret and is_sendable(secret)):
            problems.append(f"{place}.key{shown}: {NO_SENDABLE_KEY if secret else NO_VARIABLE}")
            return None
        table = {**table, "key": SecretStr(secret)}
    try:
        server = Server.model_validate(table)
    except ValidationError as error:
        problems += sentences(place, Server, error)
        return None
    if key is not None and server.name_of_key.lower() in map(str.lower, server.headers):
        problems.append(f"{place}.headers: must not have {server.name_of_key}, in which the key is sent")
    if server.signs_in_twice:
        problems.append(f"{place}.url: {SIGNS_IN_TWICE} of {BEARER}")
    return server


def _model(tag: str, table: dict[str, Any], known: Sequence[str], problems: list[str]) -> Model | None:
    place = dotted("models", tag)
    try:
        model = Model.model_validate(table, by_alias=True, by_name=False)
    except ValidationError as error:
        problems += sentences(place, Model, error)
        return None
    if known:  # else it has been told that there is none
        problems += [
            f"{place}.servers: there is no server {quoted(each)}; there are {listed(known)}"
            for each in model.servers
            if each not in known
        ]
    if isinstance(model.served_as, dict):
        problems += [
            f"{place}.served_as: {quoted(each)} is none of its servers, which are {listed(model.servers)}"
            for each in model.served_as
            if each not in model.servers
        ]
    if len(set(model.servers)) < len(model.servers):
        problems.append(f"{place}.servers: must name each server once")
    return model
