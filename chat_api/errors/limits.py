"""Errors of a caller who is over a limit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from chat_api.errors.base import ChatError

RESERVED_RETRY_SECONDS = 5


class LimitReached(ChatError):
    sentence = "Too much at once. Wait a moment."
    status, retry_after = 429, 1


class _Paced(LimitReached):
    """A limit that knows when it will let the next request through."""

    def __init__(self, seconds: float = 1) -> None:
        self.retry_after = max(1, math.ceil(seconds))
        super().__init__(f"{self.sentence.removesuffix('.')} in {in_words(self.retry_after)}.")


class RateLimited(_Paced):
    sentence = "You have sent too many commands in a short time. Try again."
    code, limit = "rate_limited", "commands_per_minute"


class SendingTooFast(_Paced):
    sentence = "You have sent too many messages in a short time. Try again."
    code, limit = "sending_too_fast", "sends_per_user"


class AddressSendingTooFast(_Paced):
    sentence = "Too many messages have come from your IP address in a short time. Try again."
    code, limit = "address_sending_too_fast", "sends_per_address"


class TooManySignInFailures(_Paced):
    sentence = "Too many sign-ins from your IP address have failed. Try again."
    code, limit = "too_many_sign_in_failures", "sign_in_failures_per_address"


class TooManyAnswers(LimitReached):
    sentence = "Too many answers are being written for you at once. Wait for one, or stop one."
    code, retry_after, limit = "too_many_answers", 5, "max_answers_per_user"


class BudgetExhausted(LimitReached):
    """`state`: the budget, as chat_budget_state makes it."""

    sentence = "Your budget is used up."
    code = "budget_exhausted"

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        if state is None:
            super().__init__()
            return
        is_spent = state["spent"] >= state["amount"]
        begins_anew = state["begins_anew"]
        whose = "The budget of all users" if state["scope"] == "everybody" else "Your budget"
        of = "" if state["model"] is None else f" for the model {state['model']}"
        self.retry_after = max(1, int(state["seconds"])) if is_spent else RESERVED_RETRY_SECONDS
        super().__init__(
            f"{whose}{of} is used up for this {state['period']}. It begins anew at {begins_anew}."
            if is_spent
            else f"Answers that are being written may use all that is left of it: {whose.lower()}{of}. "
            "Try again when they have ended.",
            begins_anew=begins_anew,
        )


class TooManyConversations(LimitReached):
    sentence = "You have reached the maximum number of conversations. Delete one first."
    code, retry_after, limit = "too_many_conversations", 60, "max_conversations_per_user"


class TooManySubscriptions(LimitReached):
    sentence = "This connection follows too many conversations. Unsubscribe from one first."
    code, retry_after, limit = "too_many_subscriptions", 60, "max_subscriptions"


def in_words(seconds: int) -> str:
    """A waiting time in words, rounded up so that waiting that long is enough."""
    for unit, length in (("hour", 3600), ("minute", 60)):
        if seconds > 2 * length:
            return f"{math.ceil(seconds / length)} {unit}s"
    return "a second" if seconds == 1 else f"{seconds} seconds"
