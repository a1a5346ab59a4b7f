"""The examples of docs/openai.md run."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.openai_answers import says
from tests.support.tab import token_of


def examples(checkout: Path, language: str) -> list[str]:
    """The page's examples in a language."""
    return re.findall(rf"```{language}\n(.*?)```", (checkout / "docs" / "openai.md").read_text(), re.DOTALL)


async def run(command: list[str], client: Client, user: dict[str, str]) -> str:
    """Run an example with the page's two variables, and return what it prints."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env={
            "PATH": os.environ["PATH"],
            "CHAT_URL": str(client.make_url("")).rstrip("/"),
            "CHAT_TOKEN": token_of(user),
        },
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        printed, _ = await process.communicate()
    assert process.returncode == 0
    return printed.decode()


async def test_the_python_examples_run(
    checkout: Path, start: Start, settings: Settings, user: dict[str, str], model: ModelServer
) -> None:
    changes = {"inference_protocol": "openai", "inference_service_url": f"{model.url}/v1"}
    client = await start(settings.model_copy(update=changes))
    turns, background, tools = examples(checkout, "python")
    running = asyncio.create_task(run([sys.executable, "-c", turns], client, user))
    for text in ("Boil.", "Chill."):
        says(await model.call(), {"content": text})
    assert await running == "Boil.\nChill.\n"
    running = asyncio.create_task(run([sys.executable, "-c", background], client, user))
    says(await model.call(), {"content": "Boil "}, {"content": "water."})
    assert await running == "Boil water."
    running = asyncio.create_task(run([sys.executable, "-c", tools], client, user))
    called = {"index": 0, "id": "c1", "type": "function"}
    called["function"] = {"name": "weather", "arguments": '{"city":"Pune"}'}
    says(await model.call(), {"tool_calls": [called]}, reason="tool_calls")
    call = await model.call()
    assert call.request["messages"][-1]["content"] == "31 degrees in Pune"
    says(call, {"content": "Hot."})
    assert await running == "Hot.\n"


async def test_the_curl_example_runs(
    checkout: Path, client: Client, user: dict[str, str], model: ModelServer
) -> None:
    model.say = ["Boil."]
    [example] = examples(checkout, "sh")
    assert "event: response.completed" in await run(["sh", "-c", example], client, user)
