"""The hub: where a generation's log is found."""

from __future__ import annotations

import asyncio
from uuid import UUID

from chat_api.relay.log import Log


class Hub:
    """The logs of this worker: those that grow, and the finished ones of the replay window.

    A finished log is kept for `replay_seconds`, and only as long as all of these together hold no more than
    `replay_bytes` (of event data; the oldest go first). Readers that already have a log keep it.
    """

    def __init__(self, replay_seconds: float, replay_bytes: int) -> None:
        self._replay_seconds = replay_seconds
        self._replay_bytes = replay_bytes
        self._logs: dict[UUID, Log] = {}
        self._finished: dict[UUID, asyncio.TimerHandle] = {}
        self._finished_bytes = 0

    def open(self, generation_id: UUID) -> Log:
        """A new, empty log."""
        log = self._logs[generation_id] = Log(generation_id)
        return log

    def get(self, generation_id: UUID) -> Log | None:
        """The log of a generation, if it is here."""
        return self._logs.get(generation_id)

    def finished(self, log: Log) -> None:
        """Start a closed log's replay window."""
        loop = asyncio.get_running_loop()
        self._finished[log.generation_id] = loop.call_later(
            self._replay_seconds, self.drop, log.generation_id
        )
        self._finished_bytes += log.size
        while self._finished_bytes > self._replay_bytes:
            self.drop(next(iter(self._finished)))

    def drop(self, generation_id: UUID) -> None:
        """Forget a log, if it is here."""
        log = self._logs.pop(generation_id, None)
        timer = self._finished.pop(generation_id, None)
        if timer is not None and log is not None:
            timer.cancel()
            self._finished_bytes -= log.size

    def close(self) -> None:
        """Forget every log."""
        for generation_id in list(self._logs):
            self.drop(generation_id)
