"""Generations: begun, attached to, stopped, drained. The one door for every transport."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import structlog

from chat_api import errors, events, prompt
from chat_api.answer import DRAINED, STOPPED, Answer
from chat_api.lease import Lease
from chat_api.models import MessageCreate, Regenerate
from chat_api.reading import Cursor, Reading, retold
from chat_api.relay import Hub

if TYPE_CHECKING:
    import asyncpg

    from chat_api.db import Database
    from chat_api.inference import Inference
    from chat_api.metrics import Metrics
    from chat_api.settings import Settings

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
        self._hub = Hub(settings.replay_seconds, settings.replay_bytes)
        self._running: dict[UUID, tuple[Answer, asyncio.Task[None]]] = {}
        self._lease = Lease(
            database,
            self._worker_id,
            settings.worker_lease,
            running=self._running.keys,
            start_seconds=2 * settings.database_timeout,
        )
        self.draining = False

    def open(self) -> None:
        """Begin to work."""
        self._lease.open()

    async def start(
        self,
        user_id: UUID,
        conversation_id: UUID,
        asked: MessageCreate | Regenerate,
        idempotency_key: str | None = None,
    ) -> Reading:
        """Store the question and begin its answer, or find the answer that the same key began.

        Once this returns, the question is stored. Raises ConversationNotFound, GenerationRunning,
        NothingToRegenerate, Invalid (the key was used for another message), Draining, DatabaseUnavailable.
        """
        if self.draining:
            raise errors.Draining
        await self._lease.held()
        content = asked.content if isinstance(asked, MessageCreate) else None
        parameters = {
            "conversation_id": conversation_id,
            "user_id": user_id,
            "kind": "regenerate" if content is None else "send",
            "content": content,
            "title": prompt.title(content or ""),
            "idempotency_key": idempotency_key,
            "worker_id": self._worker_id,
            "max_messages": self._settings.max_conversation_history,
            "max_characters": self._settings.max_token_budget,
        }
        row = await self._begin(parameters)
        if row is None:
            raise errors.ConversationNotFound
        if row["outcome"] == "nothing":
            raise errors.NothingToRegenerate
        generation_id: UUID = row["generation_id"]
        if row["outcome"] == "running":
            raise errors.GenerationRunning(generation_id=str(generation_id))
        if row["outcome"] == "existed":
            if row["is_other_content"]:
                raise errors.Invalid.of(
                    "idempotency_key_reused",
                    ("header", "Idempotency-Key"),
                    "this key belongs to another message of this conversation; use a new one",
                )
            return await self._find(user_id, conversation_id, generation_id)
        log = self._hub.open(generation_id)
        log.append(events.start(generation_id, conversation_id, row["user_message_id"]))
        answer = Answer(
            log,
            self._worker_id,
            prompt.build(row["history"], row["model_tag"] or "default", asked, self._settings),
            self._database,
            self._inference,
            self._metrics,
            self._settings,
        )
        task = asyncio.create_task(self._run(answer, generation_id), name=f"generation-{generation_id}")
        self._running[generation_id] = answer, task
        self._metrics.live_generations.inc()
        return Reading(log)

    async def attach(self, user_id: UUID, conversation_id: UUID, after: Cursor | None) -> Reading | None:
        """Where a reader that (re)connects continues; None where there is nothing for it.

        With a cursor: what its generation has beyond it, or else the running generation. Without: the newest
        generation from its first event, while it runs or its events are still kept.
        """
        if after is not None:
            row = await self._look(user_id, conversation_id, after.generation_id)
            if row["generation_id"] is not None:
                reading = self._read(row, conversation_id, after.seq)
                if reading.place < len(reading.log.events) or not reading.log.closed:
                    return reading
        newest = await self._look(user_id, conversation_id, None)
        if newest["generation_id"] is None:
            return None
        if after is not None and (
            newest["generation_id"] == after.generation_id or newest["status"] != "running"
        ):
            return None
        if newest["status"] != "running" and self._hub.get(newest["generation_id"]) is None:
            return None
        return self._read(newest, conversation_id, -1)

    def last_event(self, generation_id: UUID) -> Cursor | None:
        """The newest event of a generation, where it is known here."""
        log = self._hub.get(generation_id)
        return Cursor(generation_id, log.events[-1].seq) if log else None

    async def stop(self, generation_id: UUID) -> None:
        """Stop a generation if it runs here; returns when its text is stored, or after five seconds."""
        if generation_id in self._running:
            answer, task = self._running[generation_id]
            answer.end(STOPPED)
            await asyncio.wait({task}, timeout=STORING_SECONDS)

    async def drain(self) -> None:
        """Take no new generation, and let the running ones finish; what remains in the end is interrupted."""
        self.draining = True
        await self._settle(self._settings.drain_seconds)
        for answer, _ in self._running.values():
            answer.end(DRAINED)
        await self._settle(STORING_SECONDS)

    async def close(self) -> None:
        """Drain, and leave nothing behind."""
        if not self.draining:
            await self.drain()
        tasks = [task for _, task in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._lease.close()
        self._hub.close()

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
            if answer.log.closed:
                self._hub.finished(answer.log)
            else:
                self._hub.drop(generation_id)

    async def _begin(self, parameters: Mapping[str, object]) -> asyncpg.Record | None:
        """Asked again where a request with the same key came in between: only then is seen what it sent."""
        try:
            row = await self._database.row("generations.start", **parameters)
        except errors.RequestRepeated:
            pass  # its generation has ended already
        else:
            if row is None or row["outcome"] != "existed" or row["is_other_content"] is not None:
                return row
        return await self._database.row("generations.start", **parameters)

    async def _find(self, user_id: UUID, conversation_id: UUID, generation_id: UUID) -> Reading:
        return self._read(await self._look(user_id, conversation_id, generation_id), conversation_id, -1)

    async def _look(self, user_id: UUID, conversation_id: UUID, generation_id: UUID | None) -> asyncpg.Record:
        row = await self._database.row(
            "generations.attach",
            conversation_id=conversation_id,
            user_id=user_id,
            generation_id=generation_id,
        )
        if row is None:
            raise errors.ConversationNotFound
        return row

    def _read(self, row: asyncpg.Record, conversation_id: UUID, seq: int) -> Reading:
        """The log of a generation: the live one, or its outcome from the database."""
        log = self._hub.get(row["generation_id"])
        if log is None:
            if row["status"] == "running":
                raise errors.GenerationElsewhere
            log = retold(row, conversation_id, seq)
        return Reading(log, log.place_after(seq))
