"""The signals that end a server: the first one in good order, a second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import NoReturn

ENDINGS = (signal.SIGTERM, signal.SIGINT)


async def signalled(at_once: Callable[[], None] = lambda: None) -> None:
    """Until SIGTERM or SIGINT. Another one calls `at_once` and ends the process on the spot."""
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def note(number: signal.Signals) -> None:
        if came.is_set():
            at_once()
            _end(number)
        came.set()

    for number in ENDINGS:
        loop.add_signal_handler(number, note, number)
    await came.wait()


def _end(number: signal.Signals) -> NoReturn:
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 of a container outlives signals that it doesn't handle
