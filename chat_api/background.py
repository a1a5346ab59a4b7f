"""Work beside the requests: a task with a start and an end, and one that works in rounds."""

from __future__ import annotations

import abc
import asyncio

from chat_api.errors import DatabaseUnavailable


class Background(abc.ABC):
    """A task that runs from `open` to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Start the task. Needs a running event loop."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """Cancel the task, whatever it is doing, and wait until it has ended."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abc.abstractmethod
    async def _run(self) -> None:
        """Do the work. Must survive its own failures."""


class Rounds(Background):
    """A background task that repeats its work in rounds, and survives the failure of any round."""

    async def _run(self) -> None:
        while True:
            try:
                await self._round()
            except DatabaseUnavailable:
                pass  # logged by the database; the next round makes up for this one
            except Exception as error:  # the task must survive failures that nobody foresaw
                self._log_failure(error)
            await self._rest()

    @abc.abstractmethod
    async def _round(self) -> None:
        """Do one round of the work."""

    @abc.abstractmethod
    async def _rest(self) -> None:
        """Wait until the next round is due."""

    @abc.abstractmethod
    def _log_failure(self, error: Exception) -> None:
        """Log an unforeseen failure of a round, with its traceback."""
