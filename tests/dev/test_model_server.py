"""The local model server, with the real model."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from chat_api.dev.errors import ModelError
from chat_api.dev.model import llama_server
from chat_api.dev.model.fetch import cache_folder, fetch_model
from chat_api.dev.model.server import ModelServer


@pytest.fixture
async def gguf(model_library: None) -> Path:
    return await fetch_model(cache_folder(), lambda _: None)


@pytest.fixture
async def server(gguf: Path, tmp_path: Path) -> AsyncIterator[ModelServer]:
    server = ModelServer(gguf, tmp_path / "model.log")
    yield server
    await server.stop()


async def said(url: str, question: object) -> str:
    """What the model says, streamed."""
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{url}/chat/completions", json=question) as response,
    ):
        lines = (await response.text()).split("\n\n")
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)


@pytest.mark.model
async def test_it_streams_what_the_model_says_and_comes_back_at_the_same_address(
    server: ModelServer,
) -> None:
    url = await server.start()
    assert url.startswith("http://127.0.0.1:")
    assert url.endswith("/v1")
    question = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_tokens": 4}
    assert await said(url, question)

    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await server.wait()
    assert server.pid is None
    assert await server.start() == url
    await server.stop()
    assert server.pid is None
    await server.stop()


@pytest.mark.model
async def test_it_goes_on_with_an_assistants_message_and_repeats_nothing(server: ModelServer) -> None:
    """INFERENCE_CONTINUE=prefill, which `chat-api dev` sets."""
    url = await server.start()
    begun = "One, two, three, fo"
    turns = [{"role": "user", "content": "Count to ten."}, {"role": "assistant", "content": begun}]
    rest = await said(url, {"messages": turns, "stream": True, "max_tokens": 4, "temperature": 0})
    assert rest
    assert "One" not in rest


@pytest.mark.model
def test_it_ends_when_its_starter_is_gone(gguf: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", llama_server.__file__, str(gguf), "0"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://")
    process.stdin.close()  # as when the process that started it dies
    assert process.wait(10) == 0
    process.stdout.close()


@pytest.mark.usefixtures("model_library")
async def test_a_file_that_is_no_model_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "x.gguf").write_bytes(bytes(1000))
    server = ModelServer(tmp_path / "x.gguf", tmp_path / "model.log")
    with pytest.raises(
        ModelError, match=r"doesn't start.*\(more in .*model\.log\).*--inference-url"
    ) as caught:
        await server.start()
    assert "\n" not in str(caught.value)


async def test_a_processor_that_cannot_run_it_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "illegal.py"
    program.write_text("import os, signal\nos.kill(os.getpid(), signal.SIGILL)\n")
    monkeypatch.setattr(llama_server, "__file__", str(program))
    with pytest.raises(ModelError, match=r"processor can't run .* --inference-url"):
        await ModelServer(tmp_path / "x.gguf", tmp_path / "model.log").start()


async def test_a_missing_extra_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"pip install 'samosachaat-chat-api\[dev-stack\]'"):
        await ModelServer(tmp_path / "x.gguf", tmp_path / "model.log").start()
