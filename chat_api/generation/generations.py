"""Generations: started, stopped, drained. The one door for every transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from chat_api import errors
from chat_api.bodies import AnswerRequest
from chat_api.generation import asking
from chat_api.generation.answer import Answer
from chat_api.generation.beginning import Beginnings, Begun, Request
from chat_api.generation.busy import Busy
from chat_api.generation.endings import Endings
from chat_api.generation.observer import Observer
from chat_api.generation.outcome import DRAINED, LOST, STOPPED
from chat_api.generation.queue import Queue, Waiting
from chat_api.generation.readers import Readers, Reading
from chat_api.generation.succession import Stop, ask_to_stop
from chat_api.generation.titles import Titles

if TYPE_CHECKING:
    from chat_api.generation.limits import SendLimits
    from chat_api.inference.servers import ModelServers
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Relay
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

TRIES = 10  # to begin, or to wait, each time the other has become possible
STORING_SECONDS = 5  # what answers that were cut short get to be stored, and a stop to be confirmed


class Generations:
    """The generations that this worker runs, each in a task of its own that no reader's leaving touches."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker_id: UUID,
        database: Database,
        inference: ModelServers,
        relay: Relay,
        limits: SendLimits,
        metrics: Metrics,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._database = database
        self._relay = relay
        self._metrics = metrics
        self._observer = observer
        self._beginnings = Beginnings(
            settings=settings,
            worker_id=worker_id,
            database=database,
            inference=inference,
            relay=relay,
            limits=limits,
            metrics=metrics,
            endings=Endings(database=database, relay=relay, worker_id=worker_id),
            stop=self._stop,
        )
        self._queue = Queue(database, relay.watch, limits)
        self._titles = Titles(
            database=database, watch=relay.watch, inference=inference, settings=settings, metrics=metrics
        )
        self._running: dict[UUID, tuple[Answer, asyncio.Task[None]]] = {}
        self.watch = relay.watch
        self.readers = Readers(database, relay, settings.replay_seconds, observer)
        self.draining = False
        self._grace_is_over = False
        self._busy = Busy()  # with answers that start or run

    async def start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: AnswerRequest,
        idempotency_key: str | None = None,
        address: str | None = None,
        *,
        is_admin: bool = False,
    ) -> Reading | Waiting:
        """Store what is asked and begin its answer, or find the answer that the same key or results began.

        Once this returns, the question or the results are stored; a message with `when_running` queue may be
        Waiting. `address`: the limit subject beside the user, if any. `is_admin`: whether the user may use
        every model. Raises Draining, ModelGone, Forbidden (the model), NotSupported (tools), and what
        `succession.succeed` and `Queue.add` raise.
        """
        with self._observer.command(asking.kind_of(asked)):
            if self.draining:
                raise errors.Draining
            self._busy.enter()
            try:
                request = Request(
                    user_id, conversation_id, asked, idempotency_key, address, is_admin=is_admin
                )
                reading = await self._start_or_wait(request)
            finally:
                self._busy.leave()
            if isinstance(reading, Reading):
                self._observer.read(reading.log)
            return reading

    async def _start_or_wait(self, request: Request) -> Reading | Waiting:
        for _ in range(TRIES):
            reading = await self._start(request)
            if reading is not None:
                return reading
            waiting = await self._queue.add(request)
            if waiting is not None:
                return waiting
        raise errors.RequestRepeated

    async def _start(self, request: Request) -> Reading | None:
        begun = await self._beginnings.begin(request)
        if not isinstance(begun, Begun):
            return begun
        answer, reading, is_first = begun
        generation_id, conversation_id = reading.log.generation_id, reading.log.conversation_id
        self._busy.enter()
        running = self._run(answer, generation_id, is_first=is_first)
        task = asyncio.create_task(running, name=f"generation-{generation_id}")
        self._running[generation_id] = answer, task
        self._metrics.live_generations.inc()
        self.watch.begun(conversation_id, generation_id)
        if self._grace_is_over:  # the database took long to start it
            answer.end(DRAINED)
        return reading

    def last_seq(self, generation_id: UUID) -> int | None:
        """The number of a generation's newest event, if it runs here."""
        log = self._relay.running_log(generation_id)
        return log.next_seq - 1 if log else None

    async def stop(
        self,
        user_id: UUID,
        conversation_id: UUID,
        *,
        clear: bool = False,
        generation_id: UUID | None = None,
    ) -> Stop:
        """End the running generation, wherever it runs, or only `generation_id`, if that one runs.

        With `clear`, nothing waits for its turn any more.

        Its text so far is stored when this returns, if it `is_confirmed`. Raises ConversationNotFound,
        DatabaseUnavailable.
        """
        with self._observer.command("stop"):
            if clear:
                await self._queue.clear(user_id, conversation_id)
            return await self._stop(user_id, conversation_id, generation_id)

    async def _stop(self, user_id: UUID, conversation_id: UUID, generation_id: UUID | None = None) -> Stop:
        running = await ask_to_stop(self._database, user_id, conversation_id, generation_id)
        is_confirmed = running is not None and await self.stopped(running, conversation_id)
        return Stop(running, is_confirmed)

    async def stopped(self, generation_id: UUID, conversation_id: UUID) -> bool:
        """See to it that a generation that was asked to stop does, wherever it runs.

        Returns when its text is stored, or after five seconds.
        """
        self._relay.stop(generation_id)
        log = await self._relay.find_log(generation_id, conversation_id)
        try:
            async with asyncio.timeout(STORING_SECONDS):
                await log.wait_closed()
        except TimeoutError:
            logger.warning("stop_unconfirmed", generation_id=str(generation_id))
            return False
        return True

    async def drain(self) -> None:
        """Take no new generation, and let the running ones finish; what remains in the end is interrupted.

        Readers of other workers' generations are sent away at once, and those of an answer that can't be
        stored in the end.
        """
        if self.draining:
            return
        self.draining = True
        self._titles.drain()
        await asyncio.gather(self._busy.settle(self._settings.drain_seconds), self._relay.send_readers_away())
        self._grace_is_over = True
        for answer, _ in self._running.values():
            answer.end(DRAINED)
        await self._busy.settle(STORING_SECONDS)
        for answer, _ in self._running.values():
            logger.error("generation_not_stored", generation_id=str(answer.log.generation_id))
            answer.log.send_away()

    async def close(self) -> None:
        """Drain, and leave nothing behind."""
        await self.drain()
        await self._titles.close()
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def end_stopped(self, generation_id: UUID) -> None:
        """See relay.Owner."""
        if generation_id in self._running:
            self._running[generation_id][0].end(STOPPED)

    def end_lost(self, generation_id: UUID) -> None:
        """See relay.Owner."""
        if generation_id in self._running:
            self._running[generation_id][0].end(LOST)

    async def _run(self, answer: Answer, generation_id: UUID, *, is_first: bool) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(generation_id))
        try:
            with self._observer.run(answer):
                try:
                    await answer.run()
                finally:
                    del self._running[generation_id]
                    self._metrics.live_generations.dec()
                    self._relay.close_log(answer.log)
            if is_first and answer.summary is not None and answer.summary.outcome == "completed":
                self._titles.ask(answer.log.conversation_id)
            if answer.is_followed:
                await self._begin_next(answer.log.conversation_id)
        finally:
            self._busy.leave()

    async def begin_due(self) -> None:
        """Send the messages that wait though no answer is being written. Raises DatabaseUnavailable."""
        for conversation_id in [] if self.draining else await self._queue.due():
            await self._begin_next(conversation_id)

    async def _begin_next(self, conversation_id: UUID) -> None:
        # A message that takes an answer's place comes before those that wait.
        if self.draining or self._beginnings.is_under_way(conversation_id):
            return
        try:
            await self._queue.begin_next(conversation_id, self._start)
        except Exception as error:  # what waits in other conversations has its turn all the same
            reason = errors.describe(error)
            logger.error("turn_failed", conversation_id=str(conversation_id), reason=reason, exc_info=error)
