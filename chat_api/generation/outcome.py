"""How the model's part of an answer ended, and what that makes of the answer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from chat_api import errors
from chat_api.inference.refusal import refuses_messages

if TYPE_CHECKING:
    from chat_api.generation.endings import Status
    from chat_api.generation.said import Words
    from chat_api.inference import Usage


@dataclass(frozen=True, slots=True)
class Outcome:
    """How the model's part ended."""

    status: Status
    finish_reason: str
    error: errors.ChatError | None = None
    usage: Usage | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a generation, in words and figures that log, metrics and traces may tell: no text."""

    outcome: Status
    finish_reason: str
    error: str | None
    model: str
    server: str | None
    tries: int
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


def judged(outcome: Outcome, words: Words) -> Outcome:
    """An end in order: a success only if something was said. Thinking alone was cut off before the text."""
    if outcome.finish_reason == "length" and (not words or words.is_only_thinking):
        return replace(outcome, status="failed", error=errors.AnswerCutBeforeText())
    if words:
        return outcome
    if outcome.finish_reason == "content_filter":
        return replace(outcome, status="failed", error=errors.AnswerFiltered())
    return replace(outcome, status="failed", finish_reason="error", error=errors.AnswerEmpty())


def refuses_question(error: errors.ChatError | None) -> bool:
    """Whether it is the messages that the model server refused, and no other parameter."""
    reason = error.reason if isinstance(error, errors.InferenceRejected) else None
    return isinstance(error, errors.ConversationTooLong) or (reason is not None and refuses_messages(reason))


def failed(error: errors.ChatError) -> Outcome:
    """The end of a call to the model server that raised this error."""
    if isinstance(error, errors.InferenceInterrupted | errors.InferenceTimeout):
        return Outcome("interrupted", "interrupted", error)
    return Outcome("failed", "error", error)
