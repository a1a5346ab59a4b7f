"""`python -OO` drops docstrings and asserts: users read nothing in one, and no assert does any work."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from chat_api.settings import Settings
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.processes import open_conversation
from tests.support.reader import read_events, text_of
from tests.support.service import Service, environment

OO = {"PYTHONOPTIMIZE": "2"}  # what -OO sets, for every process below too

# Of the parser and all below it.
HELP = """
import argparse
from chat_api.cli import make_parser

def tell(parser):
    print(parser.format_help())
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for each in action.choices.values():
                tell(each)

tell(make_parser())
"""


def run(*command: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *command], env=env, check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_it_migrates_describes_itself_and_answers(
    settings: Settings,
    new_database: Callable[[], str],
    client: Client,
    user: dict[str, str],
    model: ModelServer,
) -> None:
    env = environment(settings.model_copy(update={"database_url": new_database()}), **OO)
    run("-m", "chat_api", "migrate", env=env)
    run("-c", "import chat_api.serving.server", env=env)  # the first time, all of it is compiled anew
    model.say = ["a", "b"]
    async with Service(env) as service:
        await service.ready()
        for address in ("/api/openapi.json", "/api/asyncapi.json"):
            async with service.http.get(address) as without, client.get(address) as with_them:
                assert (without.status, with_them.status) == (200, 200)
                assert await without.read() == await with_them.read()
        path = await open_conversation(service.http, user)
        body = {"content": "Hi"}
        async with service.http.post(f"{path}/messages", json=body, headers=user) as response:
            events = await read_events(response)
    assert text_of(events) == "ab"
    assert events[-1].data["finish_reason"] == "stop"


def test_the_help_is_the_same() -> None:
    with_them = run("-c", HELP, env=environment())
    assert "usage: chat-api sql explain" in with_them
    assert run("-c", HELP, env=environment(**OO)) == with_them


def test_an_assert_only_tells_the_type_checker_that_something_is_there(checkout: Path) -> None:
    for path in (checkout / "chat_api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assert):
                assert ast.unparse(node).endswith(" is not None"), path
                assert not any(isinstance(part, ast.Call) for part in ast.walk(node)), path
