"""The client in Node: copied from the service, and without features of browsers and newer Nodes."""

from __future__ import annotations

import asyncio
import json
import shutil
from importlib import resources
from pathlib import Path

import pytest

from tests.support.auth_service import AuthService
from tests.support.chat import Client
from tests.support.model_server import ModelServer
from tests.support.tab import token_of

NODE = shutil.which("node") or ""
SECONDS = 30  # for a script on a busy machine
PRELUDE = """
// Node 18 has none of these.
for (const name of ["crypto", "CustomEvent", "WebSocket", "navigator"]) delete globalThis[name];
const { ChatClient } = await import("./client.js");
const [baseUrl, token] = process.argv.slice(2);
const print = (result) => process.stdout.write(JSON.stringify(result));
"""

pytestmark = pytest.mark.skipif(not NODE, reason="the program node is not installed")


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """client.js and its folder, copied into a package."""
    web = Path(str(resources.files("chat_api"))) / "web"
    shutil.copy(web / "client.js", tmp_path)
    shutil.copytree(web / "client", tmp_path / "client")
    (tmp_path / "package.json").write_text('{"type": "module"}')
    return tmp_path


async def run(folder: Path, script: str, *arguments: str) -> object:
    """Run a script, and return the JSON that it prints."""
    (folder / "script.js").write_text(PRELUDE + script)
    process = await asyncio.create_subprocess_exec(
        NODE,
        "script.js",
        *arguments,
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(SECONDS):
            printed, complaints = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert (process.returncode, complaints.decode()) == (0, "")
    return json.loads(printed)


async def test_question_is_answered_and_the_answer_stored(
    copied: Path, client: Client, auth: AuthService, model: ModelServer
) -> None:
    script = """
    const chat = new ChatClient({ baseUrl, token, transport: "ws" }); // falls back to streams
    const { id } = await chat.conversations.create();
    const answer = chat.send(id, "Hi");
    const types = [];
    for await (const { type } of answer) types.push(type);
    const stored = (await chat.conversations.get(id)).messages.map(({ content }) => content);
    print({ types, text: answer.text, stored, transport: chat.transport });
    chat.close();
    """
    address = str(client.make_url("/"))
    running = asyncio.create_task(run(copied, script, address, token_of(auth.sign_in())))
    call = await model.call()
    call.say("Hel", "lo")
    call.finish("!")
    assert await running == {
        "types": ["start", "token", "token", "token", "done"],
        "text": "Hello!",
        "stored": ["Hi", "Hello!"],
        "transport": "sse",
    }


async def test_refused_token_is_told_as_an_error_and_as_a_status(copied: Path, client: Client) -> None:
    script = """
    const chat = new ChatClient({ baseUrl, token });
    const statuses = [];
    chat.addEventListener("status", ({ detail }) => statuses.push(detail));
    const error = await chat.conversations.list().catch((error) => error);
    print({ code: error.code, status: error.status, statuses });
    """
    seen = await run(copied, script, str(client.make_url("/")), "wrong")
    assert seen == {"code": "invalid_token", "status": 401, "statuses": ["signed-out"]}
