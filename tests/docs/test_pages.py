"""The pages match the code: settings, API, errors."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import re
import shlex
import sys
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ErrorType

from chat_api import errors, transports
from chat_api.app import create_app
from chat_api.settings import Settings
from chat_api.settings.platform_names import PLATFORM_NAMES
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.tab import token_of


def settings_table() -> str:
    """The table of docs/settings.md, made from the settings themselves."""
    rows = [f"| `{name.upper()}` | {_default(field)} | {field.description} |" for name, field in _fields()]
    return "\n".join(["| Variable | Default | Purpose |", "|---|---|---|", *rows])


def _fields() -> list[tuple[str, FieldInfo]]:
    return list(Settings.model_fields.items())


def _default(field: FieldInfo) -> str:
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if default in ("", None) else f"`{default}`"


def test_the_settings_table_is_that_of_the_code(checkout: Path) -> None:
    page = (checkout / "docs" / "settings.md").read_text()
    table = re.search(r"<!-- settings: .*?-->\n(.*?)\n<!-- /settings -->", page, re.DOTALL)
    assert table is not None
    assert table[1] == settings_table()


def test_the_page_has_the_platforms_names(checkout: Path) -> None:
    page = (checkout / "docs" / "settings.md").read_text()
    table = re.search(r"<!-- platform names: .*?-->\n(.*?)\n<!-- /platform names -->", page, re.DOTALL)
    assert table is not None
    rows = [f"| `{theirs.upper()}` | `{own.upper()}` |" for theirs, own in PLATFORM_NAMES.items()]
    assert table[1].splitlines()[2:] == rows
    assert set(PLATFORM_NAMES.values()) <= Settings.model_fields.keys()
    assert PLATFORM_NAMES.keys().isdisjoint(Settings.model_fields)


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for _, field in _fields())


def test_the_curl_examples_name_every_route(checkout: Path, settings: Settings) -> None:
    examples = (checkout / "docs" / "api.md").read_text()
    shown = set()
    for line in examples.splitlines():
        if "curl" not in line:
            continue
        for command in re.findall(r"curl [^;)|]*", line):
            words = shlex.split(command.partition(" | ")[0])
            method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
            for word in words:
                path = word.partition("?")[0]
                path = (
                    path.replace("$A", "/api")
                    .replace("$C", "{id}")
                    .replace("$M", "{message_id}")
                    .replace("$R", "{response_id}")
                    .replace("$V", "{conversation_id}")
                    .replace("$I", "{item_id}")
                    .replace("/v1/models/default", "/v1/models/{model}")
                    .replace("${A%/api}", "")
                )
                path = "/web/{path}" if path.startswith("/web/") else path
                path = re.sub("^/api/docs/.+", "/api/docs/{name}", path)
                if path.startswith("/"):
                    shown.add((method, path))
    shown |= {("GET", path) for path in re.findall(r'ws_connect\("http://[^/"]*(/[^"]*)"', examples)}
    routes = {
        (route.method, route.resource.canonical)
        for route in create_app(settings).router.routes()
        if route.resource is not None and route.method in ("GET", "POST", "PUT", "DELETE")
    }
    assert routes - shown == set()


def test_every_type_of_the_services_own_in_a_422_is_named(checkout: Path) -> None:
    code = "".join(path.read_text() for path in (checkout / "chat_api").rglob("*.py"))
    given = set(re.findall(r'(?:Invalid\.of|PydanticCustomError)\(\s*"(\w+)"', code))
    page = (checkout / "docs" / "api.md").read_text()
    shown = re.findall(r"`(\w+_\w+)`", page.partition("In a 422, `type` is")[2].partition("\n\n")[0])
    assert sorted(shown) == sorted(given - set(get_args(ErrorType)))


async def test_the_websocket_example_works(
    checkout: Path, client: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    example = re.search(r"<<'END'\n(.*?)\nEND\n", (checkout / "docs" / "api.md").read_text(), re.DOTALL)
    assert example is not None
    model.say = ["Boil ", "milk."]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        example[1].replace("http://127.0.0.1:8002", str(client.make_url("")).rstrip("/")),
        env={"T": token_of(user), "C": conversation.rpartition("/")[2]},
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, said) == (0, b"Boil milk.")


def rows_after(page: Path, heading: str) -> list[list[str]]:
    """The cells of the first table below a heading or a table's own header."""
    table = page.read_text().partition(f"\n{heading}")[2]
    rows = re.search(r"^\|[-|]+\|\n((?:\|.*\n)+)", table, re.MULTILINE)
    assert rows is not None, heading
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1].splitlines()]


def test_the_table_of_errors_has_each_code_with_its_status_and_when_to_retry(checkout: Path) -> None:
    shown = {}
    for code, status, *_ in rows_after(checkout / "docs" / "api.md", "| Code | Status |"):
        number, _, seconds = status.partition("<br>")
        assert code not in shown
        shown[code.strip("`")] = int(number), seconds
    known = {}
    for kind in errors.kinds():
        if "code" in vars(kind):
            seconds = kind.retry_after
            is_exact = kind.status == 429 and kind.__init__ is not errors.ChatError.__init__
            known[kind.code] = kind.status, "exact" if is_exact else str(seconds or "")
    assert shown == known


def test_each_error_says_where_it_is_seen_and_what_to_do(checkout: Path) -> None:
    for row in rows_after(checkout / "docs" / "api.md", "| Code | Status |"):
        code, _, where, when, action = row
        assert where, code
        assert set(where.split()) <= {"H", "F", "E"}, code
        assert when, code
        assert action, code


def test_the_table_of_close_codes_has_each_that_the_service_sends(checkout: Path) -> None:
    modules = [
        importlib.import_module(each.name)
        for each in pkgutil.walk_packages(transports.__path__, "chat_api.transports.")
    ]
    ours = {
        value.code for module in modules for value in vars(module).values() if type(value).__name__ == "Close"
    }
    shown = {int(row[0]) for row in rows_after(checkout / "docs" / "api.md", "| Close code |")}
    assert len(ours) >= 6
    assert shown == ours | {1009}  # that one comes from aiohttp
