"""The connections that there are: lent, kept, and let go when they may lead nowhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from chat_api.postgres.places import Places

if TYPE_CHECKING:
    from chat_api.libraries.asyncpg import Connection
    from chat_api.postgres.connector import Connector

IDLE_SECONDS = 300
CLOSE_SECONDS = 2
LEAVE_SECONDS = 1
"""How long the request to cancel what a connection was asked may take."""


@dataclass(slots=True)
class Kept:
    """A connection, and when it was last of use (time.monotonic)."""

    connection: Connection
    era: int
    since: float


class Connections:
    """Lends up to `most` connections, the one that was used last first, and opens them as they are needed.

    Who takes one gives it back in one way of three: `give`, `leave` or `drop`. asyncpg's own pool costs as
    much as a statement, waits for a server that doesn't answer, and keeps what leads to the wrong one.
    """

    def __init__(
        self, connector: Connector, most: int, prepare: Callable[[Connection], Awaitable[None]]
    ) -> None:
        """`prepare` is awaited with each new connection."""
        self._connector = connector
        self._most = most
        self._prepare = prepare
        self._places = Places(most)
        self._idle: list[Kept] = []
        self._lent: set[Connection] = set()
        self._leaving: dict[Connection, asyncio.TimerHandle] = {}
        self._era = 0
        self._closed = False

    @property
    def counts(self) -> tuple[int, int]:
        """How many connections are open, and how many of these are idle."""
        return len(self._lent) + len(self._idle), len(self._idle)

    def take_at_hand(self) -> Kept | None:
        """Lend an idle one, if there is one that can be used."""
        if not self._places.free or (kept := self._usable()) is None:
            return None
        self._places.take()
        self._lent.add(kept.connection)
        return kept

    async def take(self, seconds: float) -> Kept:
        """Lend a connection: an idle one, else a new one.

        Raises TimeoutError if there is none within this time, and whatever opening one raises.
        """
        deadline = time.monotonic() + seconds
        self._check_open()
        async with asyncio.timeout(seconds):
            await self._places.wait()
        try:
            self._check_open()
            kept = self._usable() or await self._open(deadline)
        except BaseException:
            self._places.release()
            raise
        self._lent.add(kept.connection)
        return kept

    def give(self, kept: Kept) -> None:
        """Take back one that is in order."""
        if kept.era != self._era or self._closed or kept.connection.is_closed():
            self.drop(kept)
            return
        self._lent.discard(kept.connection)
        kept.since = time.monotonic()
        self._idle.append(kept)
        self._places.release()

    def drop(self, kept: Kept) -> None:
        """Take back one that can't be used any more, and close it."""
        self._lent.discard(kept.connection)
        kept.connection.terminate()
        self._places.release()

    def leave(self, kept: Kept) -> None:
        """Take back one whose statement was given up. Its place is free at once.

        asyncpg asks the server, over another connection, to cancel the statement. That gets a second.
        """
        self._lent.discard(kept.connection)
        self._leaving[kept.connection] = asyncio.get_running_loop().call_later(
            LEAVE_SECONDS, self._left, kept.connection
        )
        self._places.release()

    def forget(self, since: float) -> None:
        """Close the idle ones that have been of no use since then (time.monotonic)."""
        while self._idle and self._idle[0].since < since:
            self._idle.pop(0).connection.terminate()

    def forget_all(self) -> None:
        """Close the idle ones now, and the others when they are given back."""
        self._era += 1
        self.forget(float("inf"))

    def trim(self) -> None:
        """Close those that nobody has wanted for five minutes."""
        self.forget(time.monotonic() - IDLE_SECONDS)

    async def close(self) -> None:
        """Close every connection; those that are busy get two seconds."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                for _ in range(self._most):
                    await self._places.wait()
                ends = [kept.connection.close() for kept in self._idle]
                await asyncio.gather(*ends, return_exceptions=True)
        except TimeoutError:
            pass  # they are cut off instead
        finally:
            self.forget(float("inf"))
            for connection in (*self._lent, *self._leaving):
                connection.terminate()
            for timer in self._leaving.values():
                timer.cancel()
            self._leaving.clear()

    def _usable(self) -> Kept | None:
        while self._idle:
            kept = self._idle.pop()
            if kept.connection.is_usable():
                return kept
            kept.connection.terminate()
        return None

    async def _open(self, deadline: float) -> Kept:
        era = self._era
        connection = await self._connector.connect(deadline - time.monotonic())
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._prepare(connection)
        except BaseException:
            connection.terminate()
            raise
        return Kept(connection, era, time.monotonic())

    def _check_open(self) -> None:
        if self._closed:
            raise asyncpg.InterfaceError("the service's connections are closed")

    def _left(self, connection: Connection) -> None:
        del self._leaving[connection]
        connection.terminate()
