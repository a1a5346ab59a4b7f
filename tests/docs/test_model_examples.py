"""docs/models/: each example is read, and held against a recording of its server's wire."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from chat_api.inference import End, Options, Prompt, Turn
from chat_api.inference.connect import connect
from chat_api.inference.endpoint import Endpoint
from chat_api.inference.servers import ModelServers
from chat_api.observe.metrics import Metrics
from chat_api.settings import Settings
from chat_api.settings.models import DEFAULT, Catalogue, load_catalogue
from tests.inference.test_openai_wires import EXPECTED, WIRES
from tests.support.listener import Heard
from tests.support.scripted import Scripted

FOLDER = Path(__file__).parents[2] / "docs" / "models"
NAMES = sorted(path.stem for path in FOLDER.glob("*.toml"))
ORIGIN = re.compile(r"(?<=url = \")https?://[^/?\"]+")
KEY = "the-key"
# As docs/contract.md section 4 has it.
NANOCHAT = b'data: {"token":"Mas","gpu":0}\n\ndata: {"token":"ala.","gpu":0}\n\ndata: {"done":true}\n\n'
STREAM = {"stream": True, "stream_options": {"include_usage": True}}
QUESTION = [{"role": "user", "content": "Hi"}]


@dataclass(frozen=True)
class Wire:
    """What the default model's request must be like, for `recording` to come back.

    `sent` is its body without the messages, `headers` those that the server needs.
    """

    recording: str
    path: str
    sent: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)


BEARER = {"Authorization": f"Bearer {KEY}"}
CHAT = {"temperature": 0.8, "max_tokens": 1024, "top_k": 40}
EXAMPLES = {
    "llama-cpp": Wire("llama-cpp", "/v1/chat/completions", {"model": "listed", **CHAT, **STREAM}),
    "vllm": Wire("vllm", "/v1/chat/completions", {"model": "Qwen/Qwen3-8B", **CHAT, **STREAM}, BEARER),
    "ollama": Wire("ollama", "/v1/chat/completions", {"model": "qwen3:8b", **CHAT, **STREAM}),
    "openai": Wire(
        "openai",
        "/v1/chat/completions",
        {"model": "gpt-5", "max_completion_tokens": 1024, "reasoning_effort": "low", **STREAM},
        BEARER,
    ),
    "mistral": Wire(
        "mistral",
        "/v1/chat/completions",
        {"model": "magistral-medium-latest", "temperature": 0.8, "max_tokens": 1024, "stream": True},
        BEARER,
    ),
    "azure": Wire(
        "azure",
        "/openai/deployments/chat/chat/completions?api-version=2024-10-21",
        {"model": "chat", "temperature": 0.8, "max_tokens": 1024, **STREAM},
        {"api-key": KEY},
    ),
    "openrouter": Wire(
        "openrouter",
        "/api/v1/chat/completions",
        {"model": "anthropic/claude-sonnet-4.5", **CHAT, **STREAM},
        {**BEARER, "HTTP-Referer": "https://chat.example.org", "X-OpenRouter-Title": "Our chat"},
    ),
    "nanochat": Wire("nanochat", "/generate", CHAT, {"X-Internal-API-Key": KEY}),
    "fail-over": Wire("vllm", "/v1/chat/completions", {"model": "Qwen/Qwen3-8B", **CHAT, **STREAM}, BEARER),
}
TEMPLATE = tuple({"chat_template_kwargs": {"enable_thinking": each}} for each in (True, False))
# What is added if thinking is switched on, and off.
SWITCHES = {
    "llama-cpp": TEMPLATE,
    "vllm": TEMPLATE,
    "ollama": ({"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
    "openai": ({"reasoning_effort": "high"}, {"reasoning_effort": "low"}),
    "openrouter": ({"reasoning": {"effort": "high"}}, {"reasoning": {"enabled": False}}),
}


class Recording(Scripted):
    """Plays a recording to a POST at its path, with its query string and its headers; refuses all others.

    `sent` are the bodies. `is_away`: it answers 503.
    """

    def __init__(self, wire: Wire) -> None:
        super().__init__()
        self.sent: list[dict[str, Any]] = []
        self.is_away = False
        self._wire = wire
        self.router.add_get("/v1/models", self._list)
        self.router.add_post("/{path:.*}", self._answer)

    async def _list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": "listed"}]})

    async def _answer(self, request: web.Request) -> web.Response:
        if self.is_away:
            raise web.HTTPServiceUnavailable
        if request.path_qs != self._wire.path:
            raise web.HTTPNotFound(text=request.path_qs)
        if any(request.headers.get(name) != value for name, value in self._wire.headers.items()):
            raise web.HTTPUnauthorized(text=str(dict(request.headers)))
        if "Authorization" in request.headers and "Authorization" not in self._wire.headers:
            raise web.HTTPUnauthorized(text="two keys")
        self.sent.append(await request.json())
        return web.Response(body=recorded(self._wire.recording), content_type="text/event-stream")


def recorded(name: str) -> bytes:
    return NANOCHAT if name == "nanochat" else (WIRES / f"{name}.txt").read_bytes()


Load = Callable[..., tuple[Catalogue, Settings]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Read an example, with these origins in place of its own; the variables that it names hold KEY."""

    def load(name: str, *origins: str) -> tuple[Catalogue, Settings]:
        text = (FOLDER / f"{name}.toml").read_text()
        for variable in re.findall(r'^key = "(\w+)"', text, re.MULTILINE):
            monkeypatch.setenv(variable, KEY)
        given = iter(origins)
        path = tmp_path / f"{name}.toml"
        path.write_text(ORIGIN.sub(lambda found: next(given, found[0]), text))
        settings = Settings(_env_file=None, models_file=str(path), internal_api_key=KEY)
        return load_catalogue(settings), settings

    return load


def asking(*, thinking: bool | None = None) -> Prompt:
    return Prompt("", [Turn("user", "Hi")], DEFAULT, Options(0.8, 1024, 40), thinking_mode=thinking)


def test_every_example_has_its_wire_and_is_on_the_page(checkout: Path) -> None:
    page = (checkout / "docs" / "models.md").read_text()
    assert set(NAMES) == EXAMPLES.keys() == set(re.findall(r"\]\(models/([\w-]+)\.toml\)", page))


@pytest.mark.parametrize("name", NAMES)
def test_an_example_can_be_used_as_it_is(load: Load, name: str) -> None:
    catalogue, _ = load(name)
    assert catalogue.default == DEFAULT
    assert {each for model in catalogue.models.values() for each in model.servers} == catalogue.servers.keys()
    assert all(model.name for model in catalogue.models.values())
    for tag, model in catalogue.models.items():
        for server in model.servers:
            needs_no_name = name in ("llama-cpp", "nanochat")  # they serve one model
            assert needs_no_name or catalogue.served_as(tag, server) not in ("", tag)


@pytest.mark.parametrize("name", NAMES)
async def test_a_recorded_server_takes_the_request_and_its_answer_is_understood(
    load: Load, name: str
) -> None:
    wire, heard = EXAMPLES[name], Heard()
    async with Recording(wire) as server, aiohttp.ClientSession() as session:
        catalogue, settings = load(name, server.url)
        endpoint = Endpoint.of(catalogue, DEFAULT, next(iter(catalogue.servers)), settings)
        end = await connect(endpoint, session).stream(asking(), heard)
        (sent,) = server.sent
    assert sent == {"messages": QUESTION, **wire.sent}
    if name == "nanochat":
        assert (heard.said, end) == ("Masala.", End())
    else:
        expected = EXPECTED[wire.recording]
        assert (heard.said, heard.thought, end) == (expected.text, expected.thinking, expected.end)


@pytest.mark.parametrize("thinking", [True, False])
@pytest.mark.parametrize("name", SWITCHES)
async def test_thinking_is_switched_as_the_server_knows_it(load: Load, name: str, *, thinking: bool) -> None:
    wire = EXAMPLES[name]
    async with Recording(wire) as server, aiohttp.ClientSession() as session:
        catalogue, settings = load(name, server.url)
        endpoint = Endpoint.of(catalogue, DEFAULT, next(iter(catalogue.servers)), settings)
        await connect(endpoint, session).stream(asking(thinking=thinking), Heard())
        (sent,) = server.sent
    assert sent == {"messages": QUESTION, **wire.sent, **SWITCHES[name][0 if thinking else 1]}


@pytest.mark.parametrize("away", ["nobody", "the first", "both"])
async def test_the_spare_server_answers_while_the_first_is_away(load: Load, away: str) -> None:
    near = EXAMPLES["fail-over"]
    spare = Wire("openrouter", "/api/v1/chat/completions", {}, BEARER)
    heard = Heard()
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        first, second = [await stack.enter_async_context(Recording(each)) for each in (near, spare)]
        first.is_away, second.is_away = away != "nobody", away == "both"
        _, settings = load("fail-over", first.url, second.url)
        servers = ModelServers(settings, lambda endpoint: connect(endpoint, session), Metrics())
        if away == "both":
            with pytest.raises(Exception, match="overloaded or starting"):
                await servers.stream(asking(), heard)
        else:
            await servers.stream(asking(), heard)
    assert [(each.server, each.outcome) for each in heard.tries] == {
        "nobody": [("near", "answered")],
        "the first": [("near", "inference_unavailable"), ("spare", "answered")],
        "both": [("near", "inference_unavailable"), ("spare", "inference_unavailable")],
    }[away]
    assert heard.said == {"nobody": "Blue 🌤.", "the first": "Masala chai.", "both": ""}[away]
    assert [each["model"] for each in second.sent] == (["qwen/qwen3-8b"] if away == "the first" else [])
