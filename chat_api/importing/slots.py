"""How many imports run at once: one for each user, and a few in each worker."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from chat_api import errors


class Slots:
    """The imports of a worker. Two at once for one user, on two workers, do no harm: the database decides."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._users: set[UUID] = set()

    @contextmanager
    def take(self, user_id: UUID) -> Iterator[None]:
        """Hold a slot for a user.

        Raises:
            ImportRunning: this user has one here already.
            TooManyImports: all are taken.
        """
        if user_id in self._users:
            raise errors.ImportRunning
        if len(self._users) >= self._most:
            raise errors.TooManyImports
        self._users.add(user_id)
        try:
            yield
        finally:
            self._users.discard(user_id)
