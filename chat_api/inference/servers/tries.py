"""What became of one try, and what that says of the server and of the others."""

from __future__ import annotations

from chat_api import errors
from chat_api.inference.refusal import is_flagged, refuses_messages

DONE = "answered"
BUSY = "busy"  # all of the server's slots were taken
STOPPED = "stopped"  # by the caller, or by this service
EMPTY = errors.AnswerEmpty.code
OUTCOMES = (
    DONE,
    BUSY,
    STOPPED,
    EMPTY,
    errors.InferenceError.code,
    errors.InferenceUnavailable.code,
    errors.InferenceTimeout.code,
    errors.InferenceRejected.code,
    errors.InferenceBroken.code,
    errors.InferenceInterrupted.code,
)


def is_ill(error: errors.InferenceError) -> bool:
    """Whether the server itself failed. The request may be wrong instead, or the key."""
    return not isinstance(error, errors.InferenceRejected)


def may_help(error: errors.InferenceError) -> bool:
    """Whether another server may do better: not with messages that one has refused for what they say."""
    if isinstance(error, errors.ConversationTooLong):
        return True  # it may have a longer context
    return error.reason is None or not (
        (isinstance(error, errors.InferenceRejected) and refuses_messages(error.reason))
        or is_flagged(error.reason)
    )
