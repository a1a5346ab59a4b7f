"""One answer on its way: from the model server into the log, and at the end into the database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from chat_api import errors, events
from chat_api.generation.endings import Ending, Endings, Question
from chat_api.generation.outcome import (
    TIMED_OUT,
    TOO_LONG,
    Outcome,
    Summary,
    failed,
    judged,
    refuses_question,
)
from chat_api.generation.said import Said, Words
from chat_api.inference import Usage

if TYPE_CHECKING:
    from chat_api.inference import CallPiece, Inference, Prompt
    from chat_api.observe.metrics import Metrics
    from chat_api.relay import Log
    from chat_api.settings import Settings

logger = structlog.get_logger(__name__)


class Answer:
    """A generation's life on this worker, from the call to the model server to the last event.

    `run` appends every token to the log as it comes, holds no database connection meanwhile, stores the
    answer, and only after its commit appends `done`. It ends well whatever the model server does; while the
    database is away it keeps the text and goes on trying.
    `begun` is what was said of it before, if it goes on: its readers get that first, so that whoever has the
    events has the whole text. If the model adds nothing, nothing is stored.
    """

    def __init__(
        self,
        *,
        log: Log,
        question: Question,
        prompt: Prompt,
        endings: Endings,
        inference: Inference,
        metrics: Metrics,
        settings: Settings,
        begun: Words | None = None,
    ) -> None:
        self.log = log
        self._question = question
        self._prompt = prompt
        self._endings = endings
        self._inference = inference
        self._metrics = metrics
        self._settings = settings
        self._max_characters = settings.max_answer_characters
        self._loop = asyncio.get_running_loop()
        self._begun = begun or Words()
        self._said = Said()
        self._deltas = 0
        self._called = self._began = self._heard = 0.0  # when the call, the first and the last delta came
        self.summary: Summary | None = None  # at the end
        self.is_followed = False  # at the end: whether a message waits for its turn
        self._timer: asyncio.TimerHandle | None = None
        self._ending: Outcome | None = None
        self._feeding: asyncio.Task[None] | None = None  # the task of `run`, while the model speaks

    async def run(self) -> None:
        """From the first token to `done`."""
        began = time.monotonic()
        self._repeat()
        outcome = self._ending or await self._fed()
        words = self._said.words()
        added = words.since(self._begun)
        if outcome.status == "completed":
            outcome = judged(outcome, added)
        milliseconds = round((time.monotonic() - began) * 1000)
        if outcome.error is not None:
            self.log.append(events.error(outcome.error))
        await self._finish(outcome, words if added else Words(), milliseconds)

    def end(self, outcome: Outcome) -> None:
        """Close the request to the model server now and finish with the text so far."""
        if self._ending is None:
            self._ending = outcome
            if self._feeding is not None:
                self._feeding.cancel()

    def _repeat(self) -> None:
        """Say what was said before."""
        if self._begun.reasoning:
            self._said.reasoning(self._begun.reasoning)
            self.log.append(events.reasoning(self._begun.reasoning, {}))
        if self._begun.content:
            self._said.text(self._begun.content)
            self.log.append(events.token(self._begun.content, {}))

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
            end = await self._inference.stream(self._prompt, self)
        except errors.ChatError as error:
            return failed(error)
        except Exception:
            logger.exception("generation_failed")
            return failed(errors.ChatError())
        finally:
            if self._timer is not None:
                self._timer.cancel()
        usage = end.usage if end.usage != Usage() else None
        return Outcome("completed", end.reason, None, usage, end.model)

    def text(self, text: str, data: bytes) -> None:
        """See inference.Listener."""
        if self._hears():
            self._said.text(text)
            self._tell(data)

    def reasoning(self, text: str, data: bytes) -> None:
        """See inference.Listener."""
        if self._hears():
            self._said.reasoning(text)
            self._tell(data)

    def tool_call(self, piece: CallPiece, data: bytes) -> None:
        """See inference.Listener."""
        if self._hears():
            self._said.tool_call(piece)
            self._tell(data)

    def other(self, data: bytes) -> None:
        """See inference.Listener."""
        if self._ending is None:
            self._heard = self._loop.time()
            self._said.characters += len(data)  # otherwise it could go on for ever
            self._tell(data)

    def alive(self) -> None:
        """See inference.Listener."""
        self._heard = self._loop.time()

    def _hears(self) -> bool:
        """Note that a delta has come. Returns whether the answer still takes it."""
        if self._ending is not None:
            return False
        self._heard = self._loop.time()
        self._deltas += 1
        if self._deltas == 1:
            self._began = self._heard
            self._metrics.time_to_first_token.observe(self._began - self._called)
            self._watch()  # from here on the time between two deltas counts
        return True

    def _tell(self, data: bytes) -> None:
        self.log.append(data)
        if self._said.characters >= self._max_characters:
            self.end(TOO_LONG)

    def _watch(self) -> None:
        """End the answer when the model server is silent for too long, or takes too long in all.

        Whatever it sends breaks the silence: text, thinking, a tool call, a sign of life. The timer isn't
        reset each time, which would cost more than a token: it looks when the silence would have been too
        long, and sleeps again for what remains.
        """
        settings = self._settings
        limit = settings.inference_token_timeout if self._deltas else settings.inference_first_token_timeout
        due = min(self._heard + limit, self._called + settings.inference_answer_timeout)
        if self._timer is not None:
            self._timer.cancel()
        if self._loop.time() >= due:
            self.end(TIMED_OUT)
        else:
            self._timer = self._loop.call_at(due, self._watch)

    async def _finish(self, outcome: Outcome, words: Words, milliseconds: int) -> None:
        counted = outcome.usage.completion_tokens if outcome.usage else None
        token_count = self._deltas if counted is None else counted
        stored = await self._endings.store(
            self.log,
            self._question,
            Ending(
                status=outcome.status,
                finish_reason=outcome.finish_reason,
                error_code=None if outcome.error is None else outcome.error.code,
                is_refused=refuses_question(outcome.error),
                words=words,
                usage=outcome.usage,
                model_tag=self._model(outcome),
                token_count=token_count,
                inference_time_ms=milliseconds,
            ),
        )
        self.is_followed = stored.is_queued
        said = stored.words
        if said is None and self._begun and not words:
            said = words  # nothing was added: what readers were told again stands where it stood
        if said is not None:
            self.log.append(events.reset(said.content, said.reasoning or None, said.tool_calls()))
        self.summary = Summary(
            outcome=outcome.status,
            finish_reason=stored.finish_reason,
            error=None if outcome.error is None else outcome.error.code,
            model=self._model(outcome),
            token_count=token_count,
            inference_time_ms=milliseconds,
            first_token_ms=round((self._began - self._called) * 1000) if self._deltas else None,
        )
        self._count(self.summary)  # first: who sees the end finds it in the figures
        usage = asdict(outcome.usage) if outcome.usage else None
        done = events.done(stored.message_id, stored.finish_reason, token_count, milliseconds, usage)
        self.log.append(done, last=True)
        logger.info("generation_ended", conversation_id=str(self.log.conversation_id), **asdict(self.summary))

    def _count(self, summary: Summary) -> None:
        metrics = self._metrics
        metrics.generations.labels(summary.outcome, summary.error or summary.finish_reason).inc()
        metrics.generation_duration.observe(summary.inference_time_ms / 1000)
        metrics.tokens.inc(self._deltas)
        if self._deltas > 1:
            metrics.time_per_token.observe((self._heard - self._began) / (self._deltas - 1))

    def _model(self, outcome: Outcome) -> str:
        return (outcome.model or self._prompt.model_tag)[:100]
