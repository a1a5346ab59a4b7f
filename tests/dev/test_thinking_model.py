"""A model that thinks, behind llama.cpp's own server: what it says doesn't matter, how it is sent does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from chat_api.dev.model.fetch import cache_folder, fetch_model
from chat_api.settings import Settings
from tests.conftest import Start
from tests.support.chat import Chat, open_chat
from tests.support.reader import Seen, read_events, text_of

pytestmark = pytest.mark.model
SERVER = Path(__file__).parents[1] / "support" / "thinking_server.py"  # not imported: it needs the library


@pytest.fixture(params=["auto", "none"])
def url(request: pytest.FixtureRequest, gguf: Path) -> Iterator[str]:
    command = [sys.executable, str(SERVER), str(gguf), request.param]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        yield server.stdout.readline().strip()
        assert server.stdin is not None
        server.stdin.close()


@pytest.fixture
async def gguf(model_library: None) -> Path:
    return await fetch_model(cache_folder(), lambda _: None)


@pytest.fixture
async def chat(start: Start, settings: Settings, user: dict[str, str], url: str) -> Chat:
    changes = {"inference_protocol": "openai", "inference_service_url": url}
    return await open_chat(await start(settings.model_copy(update=changes)), user)


def thought(seen: list[Seen]) -> str:
    return "".join(event.data.get("reasoning", "") for event in seen)


async def test_its_thinking_is_told_stored_and_not_sent_back(chat: Chat) -> None:
    for _ in range(2):
        seen = await read_events(await chat.send("Is the sky blue?", temperature=0, max_tokens=4))
        assert thought(seen).strip()
        assert text_of(seen) == ""
        assert "think>" not in thought(seen)
        assert seen[-1].data["usage"]["completion_tokens"] == 4
        prompt_tokens = seen[-1].data["usage"]["prompt_tokens"]
        *_, message = (await chat.get())["messages"]
        assert (message["content"], message["reasoning"]) == ("", thought(seen))
    assert prompt_tokens < 40  # two questions, and nothing of what was thought


async def test_an_overflow_is_known_and_the_next_question_is_answered(chat: Chat) -> None:
    *_, error, _ = await read_events(await chat.send("word " * 1500, max_tokens=4))
    assert error.data["error"] == "conversation_too_long"
    seen = await read_events(await chat.send("Is the sky blue?", max_tokens=4))
    assert thought(seen).strip()
