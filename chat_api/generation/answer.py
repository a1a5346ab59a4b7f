"""One answer on its way: from the model server into the log, and at the end into the database."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING

import structlog

from chat_api import errors, events
from chat_api.generation.endings import Ending, Endings, Question
from chat_api.generation.figures import count
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
    from chat_api.inference import CallPiece, Prompt, Try
    from chat_api.inference.servers import ModelServers
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
        inference: ModelServers,
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
        # When the answer was wanted, when the last server was asked, when its first and last deltas came.
        self._called = self._tried_at = self._began = self._heard = 0.0
        self._asked = ("", "")  # the server and the model of the last try
        self._tried: list[Try] = []
        self._first_seq = 0  # of what the model says
        self.summary: Summary | None = None  # at the end
        self.is_followed = False  # at the end: whether a message waits for its turn
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
        self._called = self._loop.time()
        self._first_seq = self.log.next_seq
        timer = self._loop.call_later(self._settings.inference_answer_timeout, self.end, TIMED_OUT)
        try:
            end = await self._inference.stream(self._prompt, self)
        except errors.ChatError as error:
            return failed(error)
        except Exception:
            logger.exception("generation_failed")
            return failed(errors.ChatError())
        finally:
            timer.cancel()
        usage = end.usage if end.usage != Usage() else None
        return Outcome("completed", end.reason, None, usage, end.model)

    @property
    def has_spoken(self) -> bool:
        """See inference.Listener."""
        return self.log.next_seq > self._first_seq

    @property
    def heard_at(self) -> float:
        """See inference.Listener."""
        return self._heard

    def ask(self, server: str, model: str) -> None:
        """See inference.Listener."""
        self._asked = server, model
        self._tried_at = self._heard = self._loop.time()

    def tried(self, done: Try) -> None:
        """See inference.Listener."""
        self._tried.append(done)

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
            self._metrics.time_to_first_token.labels(*self._asked).observe(self._began - self._tried_at)
        return True

    def _tell(self, data: bytes) -> None:
        self.log.append(data)
        if self._said.characters >= self._max_characters:
            self.end(TOO_LONG)

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
                tries=self._tried,
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
            server=self._asked[0] or None,
            tries=len(self._tried),
            token_count=token_count,
            inference_time_ms=milliseconds,
            first_token_ms=round((self._began - self._called) * 1000) if self._deltas else None,
        )
        # First: who sees the end finds it in the figures.
        count(self._metrics, self.summary, self._asked, self._deltas, self._heard - self._began)
        usage = asdict(outcome.usage) if outcome.usage else None
        done = events.done(stored.message_id, stored.finish_reason, token_count, milliseconds, usage)
        self.log.append(done, last=True)
        logger.info("generation_ended", conversation_id=str(self.log.conversation_id), **asdict(self.summary))

    def _model(self, outcome: Outcome) -> str:
        return (outcome.model or self._prompt.model_tag)[:100]
