"""OpenAI's library for JavaScript, in Node."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path

import pytest

from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.model_server import ModelServer
from tests.support.openai_answers import says
from tests.support.tab import token_of

NODE = shutil.which("node") or ""
FOLDER = Path(__file__).parent / "node"
SECONDS = 60  # for a program on a busy machine

pytestmark = [
    pytest.mark.skipif(not NODE, reason="the program node is not installed"),
    pytest.mark.skipif(
        bool(NODE) and not (FOLDER / "node_modules" / "openai").is_dir(),
        reason="npm's package openai is not installed: make node-packages",
    ),
]


async def test_a_program_in_node_streams_resumes_calls_tools_and_knows_its_errors(
    start: Start, openai: Settings, user: dict[str, str], model: ModelServer
) -> None:
    service = await start(openai)
    url = str(service.make_url("")).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        *(NODE, "program.js", url, token_of(user)),
        cwd=FOLDER,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            says(await model.call(), {"content": "one "}, {"content": "two "}, {"content": "three"})
            called = {"index": 0, "id": "c1", "type": "function"}
            called["function"] = {"name": "weather", "arguments": '{"city":"Pune"}'}
            says(await model.call(), {"tool_calls": [called]}, reason="tool_calls")
            says(await model.call(), {"content": "Hot."})
            says(await model.call(), {"content": "Yes."})
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    seen = json.loads(printed)
    assert seen["numbers"] == list(range(len(seen["numbers"])))
    assert (seen["text"], seen["last"]) == ("one two three", "response.completed")
    assert (seen["call"], seen["answer"]) == (["weather", '{"city":"Pune"}'], "Hot.")
    assert seen["items"] == ["user", "assistant"]
    assert seen["errors"] == [
        ["BadRequestError", "invalid_value", "store"],
        ["NotFoundError", "response_not_found", None],
        ["AuthenticationError", "invalid_token", None],
    ]
