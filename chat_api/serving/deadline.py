"""The time by which a process that was asked to end has ended, whatever hangs."""

from __future__ import annotations

import asyncio
import os
import threading
import time

import structlog

from chat_api.observe.lines import current_lines

log = structlog.get_logger(__name__)

STOP_SECONDS = 20
"""How long `serve` may take beyond DRAIN_SECONDS, to store answers and to close connections."""
KILL_SECONDS = STOP_SECONDS - 2  # after which a supervisor kills a worker
END_SECONDS = STOP_SECONDS - 4  # after which a worker, or the only process, ends itself
LAST_WORDS_SECONDS = 1.0
FAILED = 1
MOST_TASKS = 20


class Deadline:
    """Ends this process if it hasn't ended by itself, from a thread: the event loop may be what hangs."""

    def __init__(self, seconds: float) -> None:
        """`seconds`: how long the process may take from `start` on. Needs a running event loop."""
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._wait, name="deadline", daemon=True)

    def start(self) -> None:
        """The process was asked to end, and has so many seconds from now on."""
        self._thread.start()

    def _wait(self) -> None:
        time.sleep(self._seconds)
        # In another thread, because whatever hangs may hold the log.
        saying = threading.Thread(target=self._say, daemon=True)
        saying.start()
        saying.join(LAST_WORDS_SECONDS)
        os._exit(FAILED)

    def _say(self) -> None:
        names = {task.get_name() for task in asyncio.all_tasks(self._loop)}
        ours = sorted(name for name in names if not name.startswith("Task-"))  # which is asyncio's own
        log.error(
            "end_forced",
            reason="something that the process waits for didn't end in time",
            after_seconds=self._seconds,
            tasks=ours[:MOST_TASKS],
        )
        if (lines := current_lines()) is not None:
            lines.flush(LAST_WORDS_SECONDS)
