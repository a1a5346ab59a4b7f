"""The README says what is true."""

from __future__ import annotations

import asyncio
import re
import shlex
import sys
from pathlib import Path

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from chat_api.app import create_app
from chat_api.settings import Settings
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.tab import token_of


def settings_table() -> str:
    """The README's table, from the settings themselves."""
    rows = [f"| `{name.upper()}` | {_default(field)} | {field.description} |" for name, field in _fields()]
    return "\n".join(["| Variable | Default | Purpose |", "|---|---|---|", *rows])


def _fields() -> list[tuple[str, FieldInfo]]:
    return list(Settings.model_fields.items())


def _default(field: FieldInfo) -> str:
    default = field.default.get_secret_value() if isinstance(field.default, SecretStr) else field.default
    return "" if default == "" else f"`{default}`"


def test_the_settings_table_is_that_of_the_code(checkout: Path) -> None:
    readme = (checkout / "README.md").read_text()
    table = re.search(r"<!-- settings: .*?-->\n(.*?)\n<!-- /settings -->", readme, re.DOTALL)
    assert table is not None
    assert table[1] == settings_table()


def test_every_setting_says_what_it_is_for() -> None:
    assert all(field.description for _, field in _fields())


def test_the_curl_examples_name_every_route(checkout: Path, settings: Settings) -> None:
    examples = (checkout / "README.md").read_text().partition("## The API")[2]
    shown = set()
    for line in examples.splitlines():
        if "curl" not in line:
            continue
        for command in re.findall(r"curl [^;)|]*", line):
            words = shlex.split(command.partition(" | ")[0])
            method = words[words.index("-X") + 1] if "-X" in words else "POST" if "-d" in words else "GET"
            for word in words:
                path = word.partition("?")[0]
                path = path.replace("$A", "/api").replace("$C", "{id}").replace("${A%/api}", "")
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


async def test_the_websocket_example_works(
    checkout: Path, client: Client, conversation: str, user: dict[str, str], model: ModelServer
) -> None:
    example = re.search(r"<<'END'\n(.*?)\nEND\n", (checkout / "README.md").read_text(), re.DOTALL)
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


def test_every_link_into_the_tree_leads_somewhere(checkout: Path) -> None:
    pages = [checkout / "README.md", checkout / "sql" / "README.md", *(checkout / "docs").rglob("*.md")]
    dead = []
    for page in pages:
        text = page.read_text()
        links = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r'(?:src|srcset)="([^"]+)"', text)
        for link in links:
            path, _, heading = link.partition("#")
            target = page.parent / path if path else page
            if "://" not in link and not (target.exists() and (not heading or heading in headings(target))):
                dead.append(f"{page.relative_to(checkout)}: {link}")
    assert dead == []


def headings(page: Path) -> set[str]:
    """What links into a page may name, as GitHub writes it."""
    titles = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
