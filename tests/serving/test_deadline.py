"""A process that was asked to end, and doesn't."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

SCRIPT = """
import asyncio, time
from chat_api.observe.logs import configure_logging
from chat_api.settings import Settings
configure_logging(Settings(_env_file=None))
from chat_api.serving.deadline import Deadline
from chat_api.serving.signals import signalled

async def stay():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def main():
    task = asyncio.create_task(stay(), name="stay")
    waiting = asyncio.create_task(signalled(Deadline(0.5)))
    await asyncio.sleep(0)
    print("ready", flush=True)
    await waiting
    print("asked", flush=True)
    {hang}

asyncio.run(main())
"""


@pytest.mark.parametrize("hang", ["return", "time.sleep(60)", "while True: pass"])
def test_a_process_ends_by_its_deadline_and_says_what_is_left(hang: str) -> None:
    command = [sys.executable, "-c", SCRIPT.format(hang=hang)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "asked\n"
        began = time.monotonic()
        try:
            _, written = process.communicate(timeout=10)
        finally:
            process.kill()
    assert time.monotonic() - began < 5
    assert process.returncode == 1
    (line,) = map(json.loads, written.splitlines())
    assert (line["event"], line["tasks"]) == ("end_forced", ["stay"])
