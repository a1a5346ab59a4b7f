"""A socket's subscription to a conversation: the running answer, those that start later, and changes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
import structlog

from chat_api.errors import DatabaseUnavailable
from chat_api.relay import EVENTS_A_WRITE
from chat_api.transports.live import LiveReader
from chat_api.transports.websocket.socket import FAILED, GOING_AWAY, Socket, frame, framed

if TYPE_CHECKING:
    from chat_api.generation.generations import Generations
    from chat_api.generation.readers import Reading
    from chat_api.relay import Log

logger = structlog.get_logger(__name__)

KNOWN_GENERATIONS = 100
RETRY_SECONDS = 1


class Subscription:
    """Sends a conversation's events, one generation after the other, each once and in order.

    It watches the conversation from the moment it is made, so that nothing is missed between a read of the
    database and `open`, which starts the sending. Of a generation that has ended, only the id is kept.
    Changes of the conversation are told in between, as soon as the client takes them, several as one.
    """

    def __init__(self, conversation_id: UUID, generations: Generations, socket: Socket) -> None:
        self._conversation_id = conversation_id
        self._generations = generations
        self._socket = socket
        self._queue: deque[Reading | UUID] = deque()
        self._queued = asyncio.Event()
        self._known: deque[UUID] = deque(maxlen=KNOWN_GENERATIONS)
        self._newest: UUID | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_changed = False
        self._telling: asyncio.Task[None] | None = None  # tells of changes
        generations.watch.add(conversation_id, self)

    def open(self, readings: Iterable[Reading], newest: UUID | None) -> None:
        """Send these generations, and then those that started after the generation `newest`."""
        queued = list(self._queue)
        self._queue.clear()
        self._known.clear()
        for reading in readings:
            self.add(reading)
        self._newest = newest
        for generation in queued:
            if isinstance(generation, UUID):
                self.begun(generation)
        self._task = asyncio.create_task(self._run(), name=f"subscription-{self._conversation_id}")

    def add(self, reading: Reading) -> None:
        """Send this generation too, unless it has been sent or queued already."""
        if reading.log.generation_id not in self._known:
            self._put(reading.log.generation_id, reading)

    async def close(self) -> None:
        """Stop watching and sending."""
        self._generations.watch.remove(self._conversation_id, self)
        tasks = [task for task in (self._task, self._telling) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for each in self._queue:
            if not isinstance(each, UUID):
                each.log.audience.leave(self._socket.has_left)
        self._queue.clear()

    def begun(self, generation_id: UUID) -> None:
        """See relay.watch.Watcher."""
        # Ids are ordered by time. An older generation was found when this was opened, or had ended before.
        if self._newest is None or generation_id > self._newest:
            self._newest = generation_id
            if generation_id not in self._known:
                self._put(generation_id, generation_id)

    def changed(self) -> None:
        """See relay.watch.Watcher."""
        self._is_changed = True
        if self._task is not None and (self._telling is None or self._telling.done()):
            name = f"changes-{self._conversation_id}"
            self._telling = asyncio.create_task(self._tell(), name=name)

    async def _tell(self) -> None:
        told = frame(orjson.dumps({"type": "changed", "conversation_id": str(self._conversation_id)}))
        with suppress(ConnectionResetError):  # as in `_run`
            while self._is_changed:
                self._is_changed = False
                await self._socket.send(told)

    def _put(self, generation_id: UUID, item: Reading | UUID) -> None:
        self._known.append(generation_id)
        if not isinstance(item, UUID):
            item.log.audience.enter(self._socket.has_left)
        self._queue.append(item)
        self._queued.set()

    async def _run(self) -> None:
        try:
            while True:
                while self._queue:
                    await self._send(self._queue.popleft())
                self._queued.clear()
                await self._queued.wait()
        except ConnectionResetError:
            pass  # the connection has ended, and the task that receives from the socket notices
        except Exception:
            logger.exception("subscription_failed", conversation_id=str(self._conversation_id))
            self._socket.end(FAILED)

    async def _send(self, generation: Reading | UUID) -> None:
        if isinstance(generation, UUID):
            log = await self._find(generation)
            with log.audience.join(self._socket.has_left):
                await self._read(_Reader(self._socket, log, 0))
            return
        try:
            await self._read(_Reader(self._socket, generation.log, generation.place))
        finally:
            generation.log.audience.leave(self._socket.has_left)

    async def _read(self, reader: _Reader) -> None:
        log, began = reader.log, reader.place
        while True:
            if frames := log.read(reader.place, EVENTS_A_WRITE, framed):
                await self._socket.send(b"".join(frames))
                reader.place += len(frames)
            elif log.closed and reader.place > began:
                return
            elif log.closed or log.sent_away:
                # Closed, and not even its last event was new: a worker died, and the client had seen more
                # than that worker wrote to the journal. The client comes back with its last number, and then
                # gets the end of the answer.
                self._socket.end(GOING_AWAY)
                return
            else:
                await reader.stay()
                await self._socket.wait_for_room()

    async def _find(self, generation_id: UUID) -> Log:
        while True:
            try:
                return await self._generations.readers.find(generation_id, self._conversation_id)
            except DatabaseUnavailable:
                await asyncio.sleep(RETRY_SECONDS)


class _Reader(LiveReader):
    """Sends a log's events to the socket."""

    __slots__ = ("_socket",)

    def __init__(self, socket: Socket, log: Log, place: int) -> None:
        super().__init__(log, place, framed)
        self._socket = socket

    def write(self, frames: bytes) -> None:
        """Send frames, and end when the socket takes no more for now."""
        if not self._socket.push(frames):
            self.end()
