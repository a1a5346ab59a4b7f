"""The signals that end a server: the first one in order, a second one at once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from chat_api.observe.lines import current_lines
from chat_api.serving.deadline import Deadline

ENDINGS = (signal.SIGTERM, signal.SIGINT)


async def signalled(deadline: Deadline, at_once: Callable[[], None] = lambda: None) -> None:
    """Wait for SIGTERM or SIGINT, and start the deadline.

    Another signal calls `at_once` and ends the process immediately.
    """
    loop = asyncio.get_running_loop()
    came = asyncio.Event()

    def note(number: signal.Signals) -> None:
        if came.is_set():
            at_once()
            _end(number)
        came.set()
        deadline.start()

    for number in ENDINGS:
        loop.add_signal_handler(number, note, number)
    await came.wait()


def is_terminal() -> bool:
    """Whether a terminal may send SIGHUP, as it does when it closes."""
    return sys.stdin is not None and sys.stdin.isatty()


def _end(number: signal.Signals) -> NoReturn:
    if (lines := current_lines()) is not None:
        lines.flush()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(128 + number)  # process 1 of a container ignores signals that it doesn't handle
