"""How answers end in the database: stored once, whatever happened to it meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import orjson
import structlog

from chat_api import errors
from chat_api.generation.said import Words

if TYPE_CHECKING:
    import asyncpg

    from chat_api.inference import Try, Usage
    from chat_api.postgres.database import Database
    from chat_api.relay import Log, Relay

logger = structlog.get_logger(__name__)

Status = Literal["completed", "stopped", "failed", "interrupted"]
Kind = Literal["send", "regenerate", "results", "continue"]

FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.1, 5


@dataclass(frozen=True, slots=True)
class Question:
    """What is answered, kept so that it can be stored again if a failover lost it."""

    id: UUID
    kind: Kind
    content: str
    idempotency_key: str | None
    after_id: UUID  # the message that the answer comes after: the question, or the last of its tools' results
    call_message_id: UUID | None = None  # the message whose calls the results are of
    results: str | None = None  # as JSON, as generations.bring_in takes them; None if they were stored before
    billed: str | None = (
        None  # as generations.start returns it: the model, its price, what the prompt is about
    )


@dataclass(frozen=True, slots=True)
class Ending:
    """What there is to store; `error_code` is a ChatError's, times are in milliseconds.

    `is_refused`: the model server refused the question itself. `usage` is None where it said nothing of it.
    """

    status: Status
    finish_reason: str
    error_code: str | None
    is_refused: bool
    words: Words
    usage: Usage | None
    model_tag: str
    token_count: int
    inference_time_ms: int
    tries: Sequence[Try] = ()


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored of an answer. `words` is None where that is what its readers saw."""

    message_id: UUID | None
    finish_reason: str
    words: Words | None = None
    is_queued: bool = False  # a message waits for its turn now


class Endings:
    """Stores the ends of this worker's answers."""

    def __init__(self, *, database: Database, relay: Relay, worker_id: UUID) -> None:
        self._database = database
        self._relay = relay
        self._worker_id = worker_id

    async def store(self, log: Log, question: Question, ending: Ending) -> Stored:
        """Store an answer, trying until its commit is known, and return what is stored then.

        Both statements may be repeated. Whatever the database has less of than this worker is brought in:
        another worker may have assumed that this one is dead, or a failover may have lost the answer.
        """
        delay = FIRST_RETRY_SECONDS
        while True:
            try:
                stored = await self._try(log, question, ending)
            except errors.DatabaseUnavailable:
                stored = None  # logged by the database; the text is safe here
            except Exception:
                logger.exception("generation_not_stored", retry_in_seconds=delay)
                stored = None
            if stored is not None:
                self._relay.ended(log.generation_id)
                return stored
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)

    async def _try(self, log: Log, question: Question, ending: Ending) -> Stored | None:
        row = await self._finish(log, question, ending)
        if row is not None and not row["is_ended"] and row["message_id"] and row["content"] is None:
            # Stored at this very moment: only now its text is seen.
            row = await self._finish(log, question, ending)
        if row is None:
            lost = Stored(None, ending.finish_reason, Words())
            return await self._bring_in(log, question, ending, lost, "a failover lost it")
        if row["is_ended"]:
            return Stored(row["message_id"], ending.finish_reason, is_queued=row["is_queued"])
        if row["status"] == "running":
            # Something else was stored in the conversation at this very moment. Or this worker has given the
            # generation up, and it is interrupted soon.
            return None
        words = Words.stored(row)
        stored = Stored(row["message_id"], row["finish_reason"], words)
        end = row["status"], row["finish_reason"], row["error_code"]
        if words == ending.words and end == (ending.status, ending.finish_reason, ending.error_code):
            return Stored(row["message_id"], ending.finish_reason)  # by a call whose confirmation was lost
        if row["error_code"] == errors.WorkerLost.code and ending.words.continues(words):
            return await self._bring_in(log, question, ending, stored, "this worker was taken for dead")
        logger.error("generation_taken_over", reason="something else was stored meanwhile")
        return stored

    def _parameters(self, log: Log, question: Question, ending: Ending) -> dict[str, Any]:
        """What both statements take."""
        return {
            "generation_id": log.generation_id,
            "after_id": question.after_id,
            "worker_id": self._worker_id,
            "last_seq": log.next_seq,  # the number that `done` will have
            "status": ending.status,
            "finish_reason": ending.finish_reason,
            "error_code": ending.error_code,
            "is_refused": ending.is_refused,
            **ending.words.columns(),
            "usage": _counted(ending.usage),
            "model_tag": ending.model_tag,
            "token_count": ending.token_count,
            "inference_time_ms": ending.inference_time_ms,
            "tries": _tries(ending.tries),
        }

    async def _finish(self, log: Log, question: Question, ending: Ending) -> asyncpg.Record | None:
        rest = self._relay.unwritten(log)
        return await self._database.row(
            "generations.finish",
            **self._parameters(log, question, ending),
            first_seq=rest.first_seq if rest else None,
            slice=rest.events if rest else None,
        )

    async def _bring_in(
        self, log: Log, question: Question, ending: Ending, stored: Stored, reason: str
    ) -> Stored | None:
        row = await self._database.row(
            "generations.bring_in",
            **self._parameters(log, question, ending),
            conversation_id=log.conversation_id,
            kind=question.kind,
            question_id=question.id,
            question=question.content,
            results=question.results,
            call_message_id=question.call_message_id,
            idempotency_key=question.idempotency_key,
            billed=question.billed,
        )
        if row is None:
            await self._correct(log, ending)
            logger.info("generation_discarded", reason="its conversation was deleted, or lost by a failover")
            return Stored(None, ending.finish_reason)
        if row["is_late"]:
            return None
        if row["is_ended"]:
            logger.warning("generation_brought_in", reason=reason)
            return Stored(row["message_id"], ending.finish_reason)
        logger.error("generation_taken_over", reason="its question was asked again meanwhile")
        return stored

    async def _correct(self, log: Log, ending: Ending) -> None:
        """Say what an answer used whose conversation is gone: the deletion didn't know."""
        await self._database.row(
            "usage.correct",
            generation_id=log.generation_id,
            tries=_tries(ending.tries),
            usage=_counted(ending.usage),
            token_count=ending.token_count,
            milliseconds=ending.inference_time_ms,
        )


def _counted(usage: Usage | None) -> str | None:
    return None if usage is None else orjson.dumps(asdict(usage)).decode()


def _tries(tries: Sequence[Try]) -> str | None:
    named = [
        {"server": each.server, "outcome": each.outcome, "milliseconds": each.milliseconds} for each in tries
    ]
    return orjson.dumps(named).decode() if named else None
