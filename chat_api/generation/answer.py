"""One answer on its way: from the model server into the log, and at the end into the database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal
from uuid import UUID

import structlog

from chat_api import errors, events

if TYPE_CHECKING:
    import asyncpg

    from chat_api.inference import Inference, Prompt
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay import Log, Relay
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)

Status = Literal["completed", "stopped", "failed", "interrupted"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the model's part ended."""

    status: Status
    finish_reason: str
    error: errors.ChatError | None = None
    token_count: int | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a generation, in words and figures that log, metrics and traces may tell: no text."""

    outcome: Status
    finish_reason: str
    error: str | None
    model: str
    token_count: int
    inference_time_ms: int
    first_token_ms: int | None


STOPPED = Outcome("stopped", "stopped")
DRAINED = Outcome("interrupted", "interrupted", errors.Draining())
LOST = Outcome("interrupted", "interrupted", errors.WorkerLost())
TIMED_OUT = Outcome("interrupted", "interrupted", errors.InferenceTimeout())
TOO_LONG = Outcome("completed", "length")
# Why an answer may be interrupted, with the text so far.
CUT_SHORT = (errors.InferenceInterrupted, errors.Draining, errors.WorkerLost, errors.InferenceTimeout)
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 0.1, 5

MAX_EVENTS_BYTES = 64 * 1024 * 1024  # of one answer's events, whatever else they carry than text


class Answer:
    """A generation's life on this worker, from the call to the model server to the last event.

    `run` appends every token to the log as it comes, holds no database connection meanwhile, stores the
    answer in one statement, and only after its commit appends `done`. It ends well whatever the model server
    does; while the database is away it keeps the text and goes on trying.
    """

    def __init__(
        self,
        *,
        log: Log,
        worker_id: UUID,
        prompt: Prompt,
        relay: Relay,
        database: Database,
        inference: Inference,
        metrics: Metrics,
        settings: Settings,
    ) -> None:
        self.log = log
        self._worker_id = worker_id
        self._prompt = prompt
        self._relay = relay
        self._database = database
        self._inference = inference
        self._metrics = metrics
        self._settings = settings
        self._max_characters = settings.max_answer_characters
        self._loop = asyncio.get_running_loop()
        self._text = bytearray()  # UTF-8: many short strings would take ten times as much
        self._tokens = self._characters = self._bytes = 0
        self._called = self._began = self._heard = 0.0  # when the call, the first and the last token came
        self.summary: Summary | None = None  # at the end
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Outcome | None = None
        self._feeding: asyncio.Task[None] | None = None  # the task of `run`, while the model speaks

    async def run(self) -> None:
        """From the first token to `done`."""
        began = time.monotonic()
        outcome = self._ending or await self._fed()
        milliseconds = round((time.monotonic() - began) * 1000)
        if outcome.error is not None:
            self.log.append(events.error(outcome.error))
        await self._finish(outcome, milliseconds)

    def end(self, outcome: Outcome) -> None:
        """Close the request to the model server now and finish with the text so far."""
        if self._ending is None:
            self._ending = outcome
            if self._feeding is not None:
                self._feeding.cancel()

    async def _fed(self) -> Outcome:
        self._feeding = task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        try:
            return await self._feed()
        except asyncio.CancelledError:
            if self._ending is None or task.uncancel() > 0:  # this task itself is to end
                raise
            return self._ending
        finally:
            self._feeding = None

    async def _feed(self) -> Outcome:
        self._called = self._heard = self._loop.time()
        self._watch()
        try:
            end = await self._inference.stream(self._prompt, self._take)
        except errors.ChatError as error:
            return _failed(error)
        except Exception:
            logger.exception("generation_failed")
            return _failed(errors.ChatError("Something went wrong in this service; try again."))
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return Outcome("completed", end.reason, None, end.token_count, end.model)

    def _take(self, text: str, data: bytes) -> None:
        """One chunk of the answer, in the very call that received its bytes: see Take."""
        if self._ending is not None:
            return
        self._heard = self._loop.time()
        self._tokens += 1
        if self._tokens == 1:
            self._began = self._heard
            self._metrics.time_to_first_token.observe(self._began - self._called)
            self._watch()  # from here on the time between two tokens counts
        self._text += text.encode()
        self.log.append(data)
        self._characters += len(text)
        self._bytes += len(data)
        if self._characters >= self._max_characters or self._bytes >= MAX_EVENTS_BYTES:
            self.end(TOO_LONG)

    def _watch(self) -> None:
        """End the answer when the model server is silent for too long.

        The timer isn't set anew with each token, which would cost more than the token: it looks when the
        silence would have been too long, and sleeps again for what remains.
        """
        settings = self._settings
        limit = settings.inference_token_timeout if self._tokens else settings.inference_first_token_timeout
        if self._timer is not None:
            self._timer.cancel()
        if self._loop.time() >= self._heard + limit:
            self.end(TIMED_OUT)
        else:
            self._timer = self._loop.call_at(self._heard + limit, self._watch)

    async def _finish(self, outcome: Outcome, milliseconds: int) -> None:
        token_count = self._tokens if outcome.token_count is None else outcome.token_count
        row = await self._store(outcome, token_count, milliseconds)
        if row is not None and not row["is_mine"]:
            logger.error("generation_taken_over", reason="this worker's lease had run out")
            row = await self._store(outcome, token_count, milliseconds)  # may only now show what was stored
        finish_reason, message_id = outcome.finish_reason, None
        if row is None:
            logger.info("generation_discarded", reason="its conversation was deleted")
        else:
            finish_reason, message_id = row["finish_reason"], row["message_id"]
            if not row["is_mine"]:
                self.log.append(events.reset(row["content"] or ""))
        self.summary = Summary(
            outcome=outcome.status,
            finish_reason=finish_reason,
            error=None if outcome.error is None else outcome.error.code,
            model=self._model(outcome),
            token_count=token_count,
            inference_time_ms=milliseconds,
            first_token_ms=round((self._began - self._called) * 1000) if self._tokens else None,
        )
        self._count(self.summary)  # first: who sees the end finds it in the figures
        self.log.append(events.done(message_id, finish_reason, token_count, milliseconds), last=True)
        logger.info("generation_ended", conversation_id=str(self.log.conversation_id), **asdict(self.summary))

    def _count(self, summary: Summary) -> None:
        metrics = self._metrics
        metrics.generations.labels(summary.outcome, summary.error or summary.finish_reason).inc()
        metrics.generation_duration.observe(summary.inference_time_ms / 1000)
        metrics.tokens.inc(self._tokens)
        if self._tokens > 1:
            metrics.time_per_token.observe((self._heard - self._began) / (self._tokens - 1))

    def _model(self, outcome: Outcome) -> str:
        return (outcome.model or self._prompt.model_tag)[:100]

    async def _store(self, outcome: Outcome, token_count: int, milliseconds: int) -> asyncpg.Record | None:
        """Tried until its commit is known: the statement may be repeated."""
        delay = FIRST_RETRY_SECONDS
        rest = self._relay.unwritten(self.log)
        while True:
            try:
                return await self._database.row(
                    "generations.finish",
                    generation_id=self.log.generation_id,
                    worker_id=self._worker_id,
                    status=outcome.status,
                    finish_reason=outcome.finish_reason,
                    error_code=None if outcome.error is None else outcome.error.code,
                    content=self._text.decode(),
                    model_tag=self._model(outcome),
                    token_count=token_count,
                    inference_time_ms=milliseconds,
                    first_seq=rest.first_seq if rest else None,
                    last_seq=self.log.next_seq,  # the number that `done` will have
                    slice=rest.events if rest else None,
                    notify=self._relay.other_workers_live,
                )
            except errors.DatabaseUnavailable:
                pass  # logged there; the text is safe here
            except Exception:
                logger.exception("generation_not_stored", retry_in_seconds=delay)
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_RETRY_SECONDS)


def _failed(error: errors.ChatError) -> Outcome:
    if isinstance(error, errors.InferenceInterrupted):
        return Outcome("interrupted", "interrupted", error)
    return Outcome("failed", "error", error)
