"""The breaker of a server: after failures in a row, others are asked first for a while."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chat_api.inference.base import Listener


class State(IntEnum):
    """What a breaker says: the values of the gauge `chat_server_state`."""

    CLOSED = 0  # ask it
    HALF_OPEN = 1  # one try is to show whether it is back
    OPEN = 2  # ask others first


class Breaker:
    """Counts a server's failures in a row. An open breaker refuses nothing: it puts the server last.

    So an answer that any server could give is given, even if all breakers are open.
    """

    def __init__(self, max_failures: int, rest_seconds: float) -> None:
        self._max_failures = max_failures
        self._rest_seconds = rest_seconds
        self._failures = 0
        self._rests_until = 0.0  # by the loop's clock
        self._trying: Listener | None = None  # who hears the one try of a half-open breaker

    @property
    def state(self) -> State:
        """Whether the server is to be asked."""
        if asyncio.get_running_loop().time() < self._rests_until:
            return State.OPEN
        if self._failures < self._max_failures:
            return State.CLOSED
        if self._trying is None:
            return State.HALF_OPEN
        # The first word shows that the server is back: the whole answer may take minutes.
        return State.CLOSED if self._trying.has_spoken else State.OPEN

    @property
    def is_open(self) -> bool:
        """Whether others are to be asked first."""
        return self.state is State.OPEN

    def begin(self, listener: Listener) -> bool:
        """Note a try. Returns whether it is the one that shows whether the server is back."""
        if self.state is not State.HALF_OPEN:
            return False
        self._trying = listener
        return True

    def succeeded(self) -> None:
        """The server works."""
        self._failures, self._rests_until, self._trying = 0, 0.0, None

    def failed(self) -> None:
        """The server failed."""
        self._failures += 1
        self._trying = None
        if self._failures >= self._max_failures:
            self.rest(self._rest_seconds)

    def rest(self, seconds: float) -> None:
        """Ask others first for so long: as a 429 wants it."""
        self._trying = None
        self._rests_until = max(self._rests_until, asyncio.get_running_loop().time() + seconds)

    def tried(self) -> None:
        """The one try is over. If it neither succeeded nor failed (a stop, a refusal), another one is due."""
        self._trying = None
