"""Lines for a stderr of any kind, read or not."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
import structlog

from chat_api.observe import lines as module
from chat_api.observe.lines import Lines, LoggerFactory


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Lines that also say what they dropped."""
    made = Lines()
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()],
        logger_factory=LoggerFactory(made),
        cache_logger_on_first_use=False,
    )
    yield made
    structlog.configure(**before)


@pytest.fixture(params=["pipe", "socket", "terminal", "another user's pipe"])
def ends(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[int, TextIO]]:
    """The reading end of a stderr, and the writing one."""
    if request.param == "socket":
        reading, writing = (end.detach() for end in socket.socketpair())
    elif request.param == "terminal":
        reading, writing = os.openpty()
        tty.setraw(writing)
    else:
        reading, writing = os.pipe()
    if request.param == "another user's pipe":
        monkeypatch.setattr(module, "_to_pipe", lambda _: lambda _: 0)  # it can't be opened again
    with suppress(OSError), os.fdopen(writing, "w") as stderr:
        yield reading, stderr
    os.close(reading)


@pytest.fixture
def reading(ends: tuple[int, TextIO]) -> int:
    """The reading end."""
    return ends[0]


@pytest.fixture
def on(ends: tuple[int, TextIO], monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make it stderr. The test calls this, because pytest sets its own after the fixtures."""
    return lambda: monkeypatch.setattr(sys, "stderr", ends[1])


def read_until(reading: int, last: str) -> list[str]:
    """Read lines until the last one has come."""
    data = b""
    while not data.endswith(f"{last}\n".encode()):
        data += os.read(reading, 65536)
    return data.decode().splitlines()


def test_nothing_waits_for_a_reader_and_nothing_is_lost(
    lines: Lines, reading: int, on: Callable[[], None]
) -> None:
    on()
    written = [f"{number} {'x' * 1000}" for number in range(900)]  # more than a pipe or a socket holds
    began = time.monotonic()
    for line in written:
        lines.write(line)
    assert time.monotonic() - began < 1
    assert read_until(reading, written[-1]) == written
    lines.flush()
    lines.write("é \udcff")
    assert read_until(reading, "é \\udcff") == ["é \\udcff"]
    assert lines.dropped == 0


def test_what_is_too_much_is_counted_and_reported(lines: Lines, reading: int, on: Callable[[], None]) -> None:
    on()
    written = [f"{number} {'x' * 1000}" for number in range(3000)]
    for line in written:
        lines.write(line)
    assert lines.dropped > 0
    *seen, report = read_until(reading, f'{{"lines": {lines.dropped}, "event": "log_lines_dropped"}}')
    assert seen == [line for line in written if line in set(seen)], "in their order"
    assert json.loads(report)["lines"] == len(written) - len(seen)


def test_flushing_ends_though_nobody_reads(lines: Lines, reading: int, on: Callable[[], None]) -> None:
    on()
    for number in range(900):
        lines.write(f"{number} {'x' * 1000}")
    began = time.monotonic()
    lines.flush(0.2)
    assert 0.1 < time.monotonic() - began < 1
    reader = threading.Thread(target=read_until, args=(reading, f"899 {'x' * 1000}"))
    reader.start()
    lines.flush(5)
    reader.join()
    assert time.monotonic() - began < 4


def test_what_a_full_disk_refused_is_reported_when_there_is_room(
    lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Path("/dev/full").open("w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        monkeypatch.setattr(module, "_to_pipe", lambda descriptor: lambda data: os.write(descriptor, data))
        for _ in range(3):
            lines.write("lost")
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        lines.write("kept")
        assert read_until(reading, '{"lines": 3, "event": "log_lines_dropped"}')[0] == "kept"
    os.close(reading)
