"""Generations: started, stopped, drained. The one door for every transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog

from chat_api import errors, events
from chat_api.bodies import MessageCreate, Regenerate
from chat_api.generation import prompt
from chat_api.generation.answer import DRAINED, LOST, STOPPED, Answer
from chat_api.generation.observer import Observer
from chat_api.generation.readers import Readers, Reading
from chat_api.generation.start import start

if TYPE_CHECKING:
    from chat_api.generation.limits import SendLimits
    from chat_api.inference import Inference
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Relay
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

STORING_SECONDS = 5  # what answers that were cut short get to be stored, and a stop to be confirmed


class Generations:
    """The generations that this worker runs, each in a task of its own that no reader's leaving touches."""

    def __init__(
        self,
        *,
        settings: Settings,
        worker_id: UUID,
        database: Database,
        inference: Inference,
        relay: Relay,
        limits: SendLimits,
        metrics: Metrics,
        observer: Observer,
    ) -> None:
        self._settings = settings
        self._worker_id = worker_id
        self._database = database
        self._inference = inference
        self._relay = relay
        self._limits = limits
        self._metrics = metrics
        self._observer = observer
        self._running: dict[UUID, tuple[Answer, asyncio.Task[None]]] = {}
        self.watch = relay.watch
        self.readers = Readers(database, relay, settings.replay_seconds, observer)
        self.draining = False

    async def start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: MessageCreate | Regenerate,
        idempotency_key: str | None = None,
        address: str | None = None,
    ) -> Reading:
        """Store the question and begin its answer, or find the answer that the same key began.

        Once this returns, the question is stored. `address`: the limit subject beside the user, if any.
        Raises Draining, and what `start.start` raises.
        """
        with self._observer.command("send" if isinstance(asked, MessageCreate) else "regenerate"):
            if self.draining:
                raise errors.Draining
            reading = await self._start(user_id, conversation_id, asked, idempotency_key, address)
            self._observer.read(reading.log)
            return reading

    async def _start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: MessageCreate | Regenerate,
        idempotency_key: str | None,
        address: str | None,
    ) -> Reading:
        await self._relay.lease_held()
        content = asked.content if isinstance(asked, MessageCreate) else None
        parameters = {
            "conversation_id": conversation_id,
            "user_id": user_id,
            "kind": "regenerate" if content is None else "send",
            "content": content,
            "title": prompt.title(content or "")[: self._settings.max_title_characters],
            "idempotency_key": idempotency_key,
            "worker_id": self._worker_id,
            "max_messages": self._settings.max_conversation_history,
            "max_characters": self._settings.max_token_budget,
            "notify": self._relay.other_workers_live,
            **self._limits.parameters(user_id, address),
        }
        row = await start(self._database, parameters)
        generation_id: UUID = row["generation_id"]
        if row["outcome"] == "existed":
            log = await self._relay.find_log(generation_id, conversation_id)
            return Reading(log, user_message_id=row["user_message_id"])
        log = self._relay.open_log(generation_id, conversation_id)
        log.append(events.start(generation_id, conversation_id, row["user_message_id"]))
        answer = Answer(
            log=log,
            worker_id=self._worker_id,
            prompt=prompt.build(row["history"], row["model_tag"] or "default", asked, self._settings),
            relay=self._relay,
            database=self._database,
            inference=self._inference,
            metrics=self._metrics,
            settings=self._settings,
        )
        task = asyncio.create_task(self._run(answer, generation_id), name=f"generation-{generation_id}")
        self._running[generation_id] = answer, task
        self._metrics.live_generations.inc()
        self.watch.begun(conversation_id, generation_id)
        return Reading(log, user_message_id=row["user_message_id"])

    def last_seq(self, generation_id: UUID) -> int | None:
        """The number of a generation's newest event, if it runs here."""
        log = self._relay.running_log(generation_id)
        return log.next_seq - 1 if log else None

    async def stop(self, user_id: UUID, conversation_id: UUID) -> UUID | None:
        """End the running generation, wherever it runs; None where there is none.

        Its text so far is stored when this returns, see `stopped`. Raises ConversationNotFound,
        DatabaseUnavailable.
        """
        with self._observer.command("stop"):
            row = await self._database.row(
                "generations.stop", conversation_id=conversation_id, user_id=user_id
            )
            if row is None:
                raise errors.ConversationNotFound
            generation_id: UUID | None = row["generation_id"]
            if generation_id is not None:
                await self.stopped(generation_id, conversation_id)
            return generation_id

    async def stopped(self, generation_id: UUID, conversation_id: UUID) -> None:
        """See to it that a generation that was asked to stop does, wherever it runs.

        Returns when its text is stored, or after five seconds.
        """
        self.end_stopped(generation_id)
        log = await self._relay.find_log(generation_id, conversation_id)
        try:
            async with asyncio.timeout(STORING_SECONDS):
                await log.wait_closed()
        except TimeoutError:
            logger.warning("stop_unconfirmed", generation_id=str(generation_id))

    async def drain(self) -> None:
        """Take no new generation, and let the running ones finish; what remains in the end is interrupted.

        Readers of other workers' generations are sent away at once, and those of an answer that can't be
        stored in the end.
        """
        if self.draining:
            return
        self.draining = True
        await asyncio.gather(self._settle(self._settings.drain_seconds), self._relay.send_readers_away())
        for answer, _ in self._running.values():
            answer.end(DRAINED)
        await self._settle(STORING_SECONDS)
        for answer, _ in self._running.values():
            logger.error("generation_not_stored", generation_id=str(answer.log.generation_id))
            answer.log.send_away()

    async def close(self) -> None:
        """Drain, and leave nothing behind."""
        await self.drain()
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

    async def _settle(self, seconds: float) -> None:
        if tasks := [task for _, task in self._running.values()]:
            await asyncio.wait(tasks, timeout=seconds)

    async def _run(self, answer: Answer, generation_id: UUID) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(generation_id))
        with self._observer.run(answer):
            try:
                await answer.run()
            finally:
                del self._running[generation_id]
                self._metrics.live_generations.dec()
                self._relay.close_log(answer.log)
