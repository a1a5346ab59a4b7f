"""The output of `chat-api models check`: for people, and as JSON."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

import orjson

from chat_api.commands.errors import FAILED
from chat_api.commands.json_output import print_json
from chat_api.commands.models.check import ModelCheck, ServerCheck, check_servers
from chat_api.commands.models.notes import keep_notes
from chat_api.settings import load_settings
from chat_api.settings.models import Catalogue, Model, load_catalogue

HEADINGS = ("SERVER", "MODEL", "SERVED AS", "LISTED", "FIRST TOKEN", "RESULT")
LISTED = {True: "yes", False: "no", None: "no list"}


def check_models(options: argparse.Namespace) -> int:
    """Check, print, and return the exit status. Raises SettingsError."""
    settings = load_settings()
    catalogue = load_catalogue(settings)
    keep_notes()
    checks = asyncio.run(check_servers(catalogue, settings))
    if options.json:
        print_json(_json(catalogue, checks))
    else:
        _print(catalogue, checks)
    return 0 if all(check.is_fine for check in checks) else FAILED


def _json(catalogue: Catalogue, checks: Sequence[ServerCheck]) -> dict[str, Any]:
    return {
        "ok": all(check.is_fine for check in checks),
        "default": catalogue.default,
        "servers": [
            {
                "server": check.of_list.server,
                "address": _address(catalogue, check),
                "protocol": catalogue.servers[check.of_list.server].protocol,
                "listed": check.of_list.names,
                "error": check.of_list.error,
            }
            for check in checks
        ],
        "checks": [asdict(each) for check in checks for each in check.of_models],
        "models": [
            {"model": tag, "name": model.name or tag, "who": model.who, "price": _price(model)}
            for tag, model in catalogue.models.items()
        ],
    }


def _print(catalogue: Catalogue, checks: Sequence[ServerCheck]) -> None:
    rows = [HEADINGS, *(row for check in checks for row in _rows(catalogue, check))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS) - 1)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=True)]
        sys.stdout.write("  ".join([*cells, row[-1]]).rstrip() + "\n")
    sys.stdout.write("\n")
    for tag, model in catalogue.models.items():
        default = ", the default" if tag == catalogue.default else ""
        sys.stdout.write(f"{_named(tag, model)}: for {model.who}{default}{_costs(model)}\n")


def _named(tag: str, model: Model) -> str:
    return f"{tag} ({model.name})" if model.name else tag


def _costs(model: Model) -> str:
    price = model.price
    if price is None:
        return ""
    cached = "" if price.cached is None else f"{price.cached:g} (cached), "
    return (
        f"; a million tokens: {price.prompt:g} (prompt), {cached}{price.completion:g} (completion) "
        f"{price.currency}"
    )


def _rows(catalogue: Catalogue, check: ServerCheck) -> Iterator[tuple[str, ...]]:
    of_list = check.of_list
    if of_list.error is not None:
        yield of_list.server, "-", "-", "failed", "-", f"its list: {of_list.error}"
    for each in check.of_models:
        yield (
            each.server,
            each.model,
            _printable(each.served_as) or "-",
            "-" if of_list.error is not None else LISTED[each.listed],
            "-" if each.milliseconds is None else f"{each.milliseconds} ms",
            each.error or _fine(each, is_open=catalogue.is_open),
        )
    if of_list.error is None and not check.of_models:
        yield of_list.server, "-", "-", "-", "-", "fine, but no model names this server"


def _fine(check: ModelCheck, *, is_open: bool) -> str:
    """Fine, or what to add so that a request isn't refused at first."""
    omit = [name for name in check.refused if name != "max_tokens"]
    if is_open:
        what = [f"INFERENCE_OMIT={','.join(omit)}"] if omit else []
        if "max_tokens" in check.refused:
            what.append("INFERENCE_MAX_TOKENS_FIELD=max_completion_tokens")
    else:
        what = [f"omit = {orjson.dumps(omit).decode()}"] if omit else []
        if "max_tokens" in check.refused:
            what.append('max_tokens_field = "max_completion_tokens"')
    return f"fine, once asked with {' and '.join(what)}" if what else "fine"


def _address(catalogue: Catalogue, check: ServerCheck) -> str:
    """The server's URL without what may be secret: user, password and query string."""
    url = urlsplit(catalogue.servers[check.of_list.server].url)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


def _price(model: Model) -> dict[str, Any] | None:
    return None if model.price is None else model.price.model_dump()


def _printable(text: str) -> str:
    return "".join(each if each.isprintable() else "?" for each in text)
