"""What a user and an address may have of answers: told to the statement that begins one, which counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from chat_api import errors
from chat_api.rate import Rate

if TYPE_CHECKING:
    import asyncpg

    from chat_api.settings import Settings


class SendLimits:
    """The settings' limits, as `generations.start` takes them, and its refusals as errors."""

    def __init__(self, settings: Settings) -> None:
        self._max_running = settings.max_answers_per_user
        self._per_address = Rate.parse(settings.sends_per_address)
        self._per_user = Rate.parse(settings.sends_per_user)

    @property
    def are_counted(self) -> bool:
        """Whether anything is written to the table of allowances."""
        return self._per_address is not None or self._per_user is not None

    def parameters(self, user_id: UUID, address: str | None) -> dict[str, Any]:
        """For a message of this user, from this address (None: one that isn't counted)."""
        rates = [
            ("sends_per_address", address, self._per_address),
            ("sends_per_user", str(user_id), self._per_user),
        ]
        counted = [(name, subject, rate) for name, subject, rate in rates if subject and rate]
        return {
            "max_running": self._max_running,
            "limits": [name for name, _, _ in counted],
            "subjects": [subject for _, subject, _ in counted],
            "everies": [rate.every for _, _, rate in counted],
            "periods": [rate.period for _, _, rate in counted],
        }


def refused(row: asyncpg.Record) -> errors.LimitReached:
    """Why `generations.start` said `limited`."""
    if row["limited_by"] == errors.TooManyAnswers.limit:
        return errors.TooManyAnswers()
    by_user = row["limited_by"] == errors.SendingTooFast.limit
    return (errors.SendingTooFast if by_user else errors.AddressSendingTooFast)(row["seconds_to_wait"])
