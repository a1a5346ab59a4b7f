"""How many exports a worker makes at once, and how many of them for one user."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from chat_api import errors


class ExportPlaces:
    """Each export holds a database connection and a snapshot, so they are few; nobody gets all of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._most_of_one = max(1, most // 2)
        self._held: Counter[UUID] = Counter()

    @contextmanager
    def place(self, user_id: UUID) -> Iterator[None]:
        """Hold a place for the block. Raises TooManyExports, ExportsBusy."""
        if self._held[user_id] >= self._most_of_one:
            raise errors.TooManyExports
        if self._held.total() >= self._most:
            raise errors.ExportsBusy
        self._held[user_id] += 1
        try:
            yield
        finally:
            self._held[user_id] -= 1
            self._held += Counter()  # forgets those of whom there is none
