"""What model servers send, byte for byte as their documentation shows it: one file each in wires/."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from chat_api import errors
from chat_api.inference import End, OpenAI, Options, Prompt, Turn, Usage
from chat_api.inference.openai.answer import Answer
from chat_api.settings import Settings
from tests.support.endpoints import only_endpoint
from tests.support.listener import Heard
from tests.support.raw_server import RawServer

WIRES = Path(__file__).parent / "wires"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"


@dataclass(frozen=True)
class Expected:
    """What is heard, and how the answer ends. `calls`: id, name and arguments of each."""

    text: str = ""
    thinking: str = ""
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    end: End | type[errors.InferenceError] = field(default_factory=End)


QWEN, R1, GPT = "Qwen/Qwen3-8B", "deepseek-reasoner", "gpt-5-2025-08-07"
WEATHER = '{"city":"Pune"}'
EXPECTED = {
    "ollama": Expected(
        "Let me look.",
        "Okay, the weather in Pune.",
        [("call_w2zbk1dq", "weather", WEATHER), ("call_9ap0x4re", "clock", "{}")],
        End("tool_calls", Usage(171, 96), "qwen3:8b"),
    ),
    "vllm": Expected("Blue 🌤.", "Sky scatters.", end=End("stop", Usage(20, 8, None, 16), QWEN)),
    "vllm-tools": Expected(
        "",
        "I should ask.",
        [
            ("chatcmpl-tool-1b6", "weather", '{"city": "Pune"}'),
            ("chatcmpl-tool-2c8", "weather", '{"city": "Agra"}'),
        ],
        End("tool_calls", Usage(), QWEN),
    ),
    "llama-cpp": Expected("Hello!", "We greet.", end=End("length", Usage(237, 35), "gpt-oss")),
    "llama-cpp-think": Expected("Yes <think>.", "A < b, so.\n", end=End("stop", Usage(9, 12), "gpt-oss")),
    "llama-cpp-error": Expected("Hel", end=errors.InferenceError),
    "deepseek": Expected("9.8 is greater.", "9.11 < 9.8", end=End("stop", Usage(84, 43, 31, 64), R1)),
    "deepseek-overloaded": Expected("9.8", end=errors.InferenceInterrupted),
    "mistral": Expected(
        "It is 42.", "First, add. Done.", end=End("stop", Usage(12, 49), "magistral-medium-2509")
    ),
    "openrouter": Expected(
        "Masala chai.",
        "Let me see.",
        end=End("length", Usage(19, 50, 22, 0), "anthropic/claude-sonnet-4.5"),
    ),
    "openrouter-error": Expected("Masala", end=errors.InferenceError),
    "openai": Expected("Hi there.", end=End("stop", Usage(55, 151, 128, 0), GPT)),
    "openai-tools": Expected(
        calls=[("call_Zx1", "weather", WEATHER), ("call_Zx2", "clock", "{}")],
        end=End("tool_calls", Usage(55, 151, 128, 0), GPT),
    ),
    "openai-refusal": Expected("I can't help with that.", end=End("content_filter", Usage(), GPT)),
    "azure": Expected("Good day.", end=End("stop", Usage(11, 3, 0, 0), "gpt-4.1-2025-04-14")),
    "azure-filter": Expected("Well,", end=End("content_filter", Usage(), "gpt-4.1")),
    "gemini-tools": Expected(
        "One moment. ",
        calls=[("function-call-1", "weather", WEATHER), ("function-call-2", "weather", '{"city":"Agra"}')],
        end=End("tool_calls", Usage(80, 31), "gemini-2.5-flash"),
    ),
}


def test_every_wire_has_its_outcome() -> None:
    assert {path.stem for path in WIRES.iterdir()} == EXPECTED.keys()


@pytest.mark.parametrize("name", EXPECTED)
async def test_a_servers_answer_is_understood(settings: Settings, name: str) -> None:
    expected, heard = EXPECTED[name], Heard()
    async with RawServer(HEAD + (WIRES / f"{name}.txt").read_bytes()) as server:
        given = settings.model_copy(
            update={"inference_service_url": f"{server.url}/v1", "inference_model": "given"}
        )
        async with aiohttp.ClientSession() as session:
            prompt = Prompt("", [Turn("user", "Hi")], "default", Options(0.8, 1024, None))
            try:
                end: End | type[errors.ChatError] = await OpenAI(only_endpoint(given), session).stream(
                    prompt, heard
                )
            except errors.InferenceError as error:
                end = type(error)
    assert (heard.said, heard.thought, calls(heard)) == (expected.text, expected.thinking, expected.calls)
    assert end == expected.end


@pytest.mark.parametrize("name", ["openai", "mistral", "deepseek", "llama-cpp-think"])
def test_every_chunk_is_heard_or_a_sign_of_life(name: str) -> None:
    heard = Heard()
    answer = Answer(heard)
    for event in (WIRES / f"{name}.txt").read_bytes().split(b"\n\n")[:-2]:
        if event.startswith(b"data: "):
            before = len(heard.data) + heard.signs_of_life
            answer.event(event.removeprefix(b"data: "))
            assert len(heard.data) + heard.signs_of_life > before


def calls(heard: Heard) -> list[tuple[str, str, str]]:
    """The calls, put together as readers do."""
    found: dict[int, tuple[str, str, str]] = {}
    for piece in heard.pieces:
        call_id, name, arguments = found.get(piece.index, ("", "", ""))
        found[piece.index] = (
            piece.call_id or call_id,
            piece.name or name,
            arguments + piece.arguments,
        )
    return list(found.values())
