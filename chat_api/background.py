"""Work that goes on beside the requests."""

from __future__ import annotations

import abc
import asyncio


class Background(abc.ABC):
    """A task of its own, from `open` to `close`."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._task: asyncio.Task[None] | None = None

    def open(self) -> None:
        """Begin."""
        self._task = asyncio.create_task(self._run(), name=self._name)

    async def close(self) -> None:
        """End, wherever it is."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @abc.abstractmethod
    async def _run(self) -> None:
        """The work; it must outlive its own failures."""
