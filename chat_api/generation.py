"""Generations: begun, stopped, drained. The one door for every transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from chat_api import errors, events, prompt
from chat_api.answer import DRAINED, LOST, STOPPED, Answer
from chat_api.beginning import begin
from chat_api.cleaning import Cleaning
from chat_api.housekeeping import Housekeeping
from chat_api.limits import SendLimits
from chat_api.models import MessageCreate, Regenerate
from chat_api.reading import Readers, Reading
from chat_api.relay import Follower, Hints, Hub, Journal, Watch

if TYPE_CHECKING:
    from chat_api.db import Database
    from chat_api.inference import Inference
    from chat_api.metrics import Metrics
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

STORING_SECONDS = 5  # what answers that were cut short get to be stored, and a stop to be confirmed


class Generations:
    """The generations that this worker runs, each in a task of its own that no reader's leaving touches."""

    def __init__(
        self, settings: Settings, database: Database, inference: Inference, metrics: Metrics
    ) -> None:
        self._settings = settings
        self._database = database
        self._inference = inference
        self._metrics = metrics
        self._worker_id = uuid4()
        self._running: dict[UUID, tuple[Answer, asyncio.Task[None]]] = {}
        self._journal = Journal(
            database,
            self._worker_id,
            settings.worker_lease,
            settings.database_timeout + 1,  # then a statement is heard of, or given up
            on_stop=self._end_stopped,
            on_lost=self._end_lost,
            metrics=metrics,
        )
        self._follower = Follower(database)
        self.watch = Watch(database, self._worker_id)
        self._hints = Hints(
            database,
            {
                "chat_journal": self._follower.hint,
                "chat_started": self.watch.hint,
                "chat_stop": self._hear_stop,
            },
        )
        self._limits = SendLimits(settings)
        self._housekeeping = Housekeeping(database, self._journal, metrics, settings.worker_lease / 3)
        self._cleaning = Cleaning(
            database, self._journal, self._worker_id, settings, counts_limits=self._limits.are_counted
        )
        self._hub = Hub(self._follower)
        self.readers = Readers(database, self._hub, settings.replay_seconds)
        self.draining = False

    def open(self) -> None:
        """Begin to work."""
        self._journal.open()
        self._follower.open()
        self.watch.open()
        self._hints.open()
        self._housekeeping.open()
        self._cleaning.open()

    async def start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: MessageCreate | Regenerate,
        idempotency_key: str | None = None,
        address: str | None = None,
    ) -> Reading:
        """Store the question and begin its answer, or find the answer that the same key began.

        Once this returns, the question is stored. `address`: whom the limits count it for, beside the user.
        Raises Draining, and what `begin` raises.
        """
        if self.draining:
            raise errors.Draining
        await self._journal.held()
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
            "notify": self._journal.has_company,
            **self._limits.parameters(user_id, address),
        }
        row = await begin(self._database, parameters)
        generation_id: UUID = row["generation_id"]
        if row["outcome"] == "existed":
            log = await self._hub.find(generation_id, conversation_id)
            return Reading(log, user_message_id=row["user_message_id"])
        log = self._hub.open(generation_id, conversation_id)
        log.append(events.start(generation_id, conversation_id, row["user_message_id"]))
        self._journal.add(log)
        answer = Answer(
            log,
            self._worker_id,
            prompt.build(row["history"], row["model_tag"] or "default", asked, self._settings),
            self._journal,
            self._database,
            self._inference,
            self._metrics,
            self._settings,
        )
        task = asyncio.create_task(self._run(answer, generation_id), name=f"generation-{generation_id}")
        self._running[generation_id] = answer, task
        self._metrics.live_generations.inc()
        self.watch.begun(conversation_id, generation_id)
        return Reading(log, user_message_id=row["user_message_id"])

    def last_seq(self, generation_id: UUID) -> int | None:
        """The number of a generation's newest event, if it runs here."""
        log = self._hub.get(generation_id)
        return log.next_seq - 1 if log else None

    async def stop(self, user_id: UUID, conversation_id: UUID) -> UUID | None:
        """End the running generation, wherever it runs; None where there is none.

        Its text so far is stored when this returns, see `stopped`. Raises ConversationNotFound,
        DatabaseUnavailable.
        """
        row = await self._database.row("generations.stop", conversation_id=conversation_id, user_id=user_id)
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
        self._end_stopped(generation_id)
        log = await self._hub.find(generation_id, conversation_id)
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
        await asyncio.gather(self._settle(self._settings.drain_seconds), self._follower.leave())
        for answer, _ in self._running.values():
            answer.end(DRAINED)
        await self._settle(STORING_SECONDS)
        for answer, _ in self._running.values():
            logger.error("generation_not_stored", generation_id=str(answer.log.generation_id))
            answer.log.part()

    async def close(self) -> None:
        """Drain, and leave nothing behind."""
        await self.drain()
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._cleaning.close()
        await self._housekeeping.close()
        await self._hints.close()
        await self.watch.close()
        await self._follower.close()
        await self._journal.close()

    async def _settle(self, seconds: float) -> None:
        if tasks := [task for _, task in self._running.values()]:
            await asyncio.wait(tasks, timeout=seconds)

    async def _run(self, answer: Answer, generation_id: UUID) -> None:
        structlog.contextvars.bind_contextvars(generation_id=str(generation_id))
        try:
            await answer.run()
        finally:
            del self._running[generation_id]
            self._metrics.live_generations.dec()
            self._journal.remove(answer.log)
            self._hub.drop(answer.log)

    def _end_stopped(self, generation_id: UUID) -> None:
        if generation_id in self._running:
            self._running[generation_id][0].end(STOPPED)

    def _end_lost(self, generation_id: UUID) -> None:
        if generation_id in self._running:
            self._running[generation_id][0].end(LOST)

    def _hear_stop(self, text: str) -> None:
        for generation_id in list(self._running):
            if str(generation_id) == text:
                self._end_stopped(generation_id)
