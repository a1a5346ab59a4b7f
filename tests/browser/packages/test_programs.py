"""The installed package in programs: in each Node, in Deno, and bundled."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Served
from tests.browser.packages.application import Application, installed, node, program, tool

ASK = """
const [baseUrl, token] = globalThis.process.argv.slice(2);
const chat = new ChatClient({ baseUrl, token, transport: "ws", ...options });
const statuses = [];
chat.addEventListener("status", ({ detail }) => statuses.push(detail));
const { id } = await chat.conversations.create();
const answer = chat.send(id, "Hi");
const types = [];
for await (const { type } of answer) types.push(type);
const { messages } = await chat.conversations.get(id);
const stored = messages.map(({ content }) => content);
console.log(JSON.stringify({ types, text: answer.text, stored, statuses, transport: chat.transport }));
chat.close();
"""
IMPORT = 'import { ChatClient } from "@samosachaat/chat-client";\n'
ALONE = f"{IMPORT}const options = {{}};\n{ASK}"
WITHOUT_ADDRESS = f"""{IMPORT}
try {{
  new ChatClient({{ token: "t" }});
}} catch (error) {{
  console.log(`${{error.name}}: ${{error.message}}`);
}}
"""
SENTENCE = (
    "TypeError: ChatClient needs the service's address, because it wasn't loaded from the service: "
    'new ChatClient({ baseUrl: "https://chat.example.org/", … })\n'
)


async def is_answered(application: Application, service: Served, *command: str | Path) -> dict[str, Any]:
    """Run a program that asks, answer it, and return what it has seen."""
    asking = application.run(*command, f"{service.address}/", service.token())
    running = asyncio.create_task(asking)
    call = asyncio.create_task(service.model.call())
    await asyncio.wait([running, call], return_when=asyncio.FIRST_COMPLETED)
    if not call.done():
        call.cancel()
        await running  # fails, and says why
    (await call).say("Hel", "lo")
    call.result().finish("!")
    seen: dict[str, Any] = json.loads(await running)
    assert seen.pop("types") == ["start", "token", "token", "token", "done"]
    assert seen.pop("text") == "Hello!"
    assert seen.pop("stored") == ["Hi", "Hello!"]
    assert seen.pop("statuses") == []
    return seen


@pytest.mark.parametrize(("version", "transport"), [(18, "sse"), (20, "sse"), (22, "ws"), (24, "ws")])
async def test_question_is_answered_in_every_node_over_what_it_has(
    application: Application, service: Served, version: int, transport: str
) -> None:
    script = application.write(f"ask-{version}.js", ALONE)
    assert await is_answered(application, service, node(version), script) == {"transport": transport}


@pytest.mark.parametrize("version", [18, 20])
async def test_an_older_node_can_be_given_a_websocket(
    application: Application, service: Served, version: int
) -> None:
    given = f'{IMPORT}import {{ WebSocket }} from "ws";\nconst options = {{ WebSocket }};\n{ASK}'
    script = application.write(f"given-{version}.js", given)
    assert await is_answered(application, service, node(version), script) == {"transport": "ws"}


async def test_refused_token_is_told_as_an_error_and_as_a_status(
    application: Application, service: Served
) -> None:
    script = application.write(
        "refused.js",
        f"""{IMPORT}
        const chat = new ChatClient({{ baseUrl: {service.address!r}, token: "wrong" }});
        const statuses = [];
        chat.addEventListener("status", ({{ detail }}) => statuses.push(detail));
        const {{ code, status }} = await chat.conversations.list().catch((error) => error);
        console.log(JSON.stringify({{ code, status, statuses }}));
        """,
    )
    seen = json.loads(await application.run(node(18), script))
    assert seen == {"code": "invalid_token", "status": 401, "statuses": ["signed-out"]}


async def test_a_program_without_the_services_address_is_told_what_to_pass(application: Application) -> None:
    script = application.write("without-address.js", WITHOUT_ADDRESS)
    assert await application.run(node(24), script) == SENTENCE


def esbuild(entry: Path, bundle: Path) -> list[str | Path]:
    options = ["--bundle", "--format=esm", "--platform=browser", "--log-level=warning"]
    return [*tool("esbuild"), entry, *options, f"--outfile={bundle}"]


def script_of_esbuild(entry: Path, bundle: Path) -> list[str | Path]:
    """For a page of before modules: there is no `import.meta`."""
    options = ["--bundle", "--format=cjs", "--platform=browser", "--log-level=error"]
    return [*tool("esbuild"), entry, *options, f"--outfile={bundle}"]


def webpack(entry: Path, bundle: Path) -> list[str | Path]:
    settings = {
        "mode": "production",
        "target": "web",
        "entry": str(entry),
        "output": {"path": str(bundle.parent), "filename": bundle.name},
        "stats": "errors-warnings",
    }
    run = (
        f"import webpack from 'webpack';"
        f"webpack({json.dumps(settings)}, (error, stats) => {{"
        f"  if (error || stats.hasErrors() || stats.hasWarnings()) throw error ?? stats.toString();"
        f"}})"
    )
    return program(run)


def vite(entry: Path, bundle: Path) -> list[str | Path]:
    settings = {
        "configFile": False,
        "logLevel": "warn",
        "root": str(entry.parent),
        "build": {
            "outDir": str(bundle.parent),
            "emptyOutDir": False,
            "target": "esnext",
            "modulePreload": False,
            "rolldownOptions": {"input": str(entry), "output": {"entryFileNames": bundle.name}},
        },
    }
    run = f"import {{ build }} from 'vite'; await build({json.dumps(settings)})"
    return program(run)


BUNDLERS = {"esbuild": esbuild, "webpack": webpack, "vite": vite}


@pytest.mark.parametrize("name", BUNDLERS)
async def test_question_is_answered_from_a_bundle(
    application: Application, service: Served, tmp_path: Path, name: str
) -> None:
    entry = application.write(f"{name}/ask.js", ALONE)
    bundled = tmp_path / "bundle.mjs"  # away from the package
    await application.run(*BUNDLERS[name](entry, bundled))
    assert await is_answered(application, service, node(24), bundled) == {"transport": "ws"}


@pytest.mark.parametrize("name", [*BUNDLERS, "script"])
async def test_a_bundle_without_the_services_address_tells_what_to_pass(
    application: Application, tmp_path: Path, name: str
) -> None:
    bundle = {**BUNDLERS, "script": script_of_esbuild}[name]
    entry = application.write(f"{name}/without-address.js", WITHOUT_ADDRESS)
    bundled = tmp_path / ("bundle.cjs" if name == "script" else "bundle.mjs")
    await application.run(*bundle(entry, bundled))
    assert await application.run(node(24), bundled) == SENTENCE


def deno(*arguments: str | Path) -> list[str | Path]:
    """Deno, which may fetch nothing and talk to this machine alone."""
    run = ["run", "--quiet", "--cached-only", "--no-lock", "--node-modules-dir=manual", "--allow-env"]
    (program,) = installed("@deno").glob("*/deno")
    return [program, *run, "--allow-net=127.0.0.1", "--allow-import=127.0.0.1", *arguments]


async def test_question_is_answered_in_deno_from_the_package(
    application: Application, service: Served
) -> None:
    script = application.write(
        "deno.js", f'import process from "node:process";\nglobalThis.process = process;\n{ALONE}'
    )
    assert await is_answered(application, service, *deno(script)) == {"transport": "ws"}


async def test_question_is_answered_in_deno_from_the_service_itself(
    application: Application, service: Served
) -> None:
    imported = f'import {{ ChatClient }} from "{service.address}/web/client.js";'
    told = "globalThis.process = { argv: [0, 0, undefined, Deno.args[1]] };"  # the address is known
    script = application.write("served.js", f"{imported}\n{told}\nconst options = {{}};\n{ASK}")
    command = [each for each in deno(script) if each != "--cached-only"]
    assert await is_answered(application, service, *command) == {"transport": "ws"}
