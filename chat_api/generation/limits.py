"""What a user and an address may have of answers: told to the statement that begins one, which counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from chat_api.settings.rate import Rate

if TYPE_CHECKING:
    from chat_api.settings import Settings


class SendLimits:
    """The settings' limits, as `generations.start` takes them."""

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
        limits = []
        if self._per_address is not None and address is not None:
            limits.append(_limit("sends_per_address", address, self._per_address))
        if self._per_user is not None:
            limits.append(_limit("sends_per_user", str(user_id), self._per_user))
        return {
            "max_running": self._max_running,
            "limits": orjson.dumps(limits).decode() if limits else None,
        }


def _limit(name: str, subject: str, rate: Rate) -> dict[str, str]:
    every, period = (f"{time.total_seconds():f} s" for time in (rate.every, rate.period))
    return {"name": name, "subject": subject, "every": every, "period": period}
