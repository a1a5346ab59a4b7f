"""Notices: what a worker tells the others of conversations and generations, once a tick."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

PAYLOAD_CHARACTERS = 7900  # PostgreSQL takes less than 8,000 bytes; all of them are ASCII
MOST_IDS, MANY = 200, "many"  # generations that are named, and the word for more
MOST_WAITING = 1000  # polling finds what is above


class Notices:
    """What happened here since the last tick, until a tick has told it.

    Each notice is a few words: `started`, the ids of the worker, the conversation and the generation;
    `changed`, the id of the conversation and its version; `stop`, the id of the generation that is to stop;
    or just the id of a generation with something new. While nobody is there to be told, nothing is kept: a
    worker that comes later finds all by polling.
    """

    def __init__(self, worker_id: UUID, *, is_on: bool, on_wait: Callable[[], None]) -> None:
        """`is_on`: False tells nobody anything. `on_wait` is called when there is something to tell."""
        self._worker_id = worker_id
        self._is_on = is_on
        self._on_wait = on_wait
        self.others_live = False  # at the last tick
        self._waiting: dict[str, None] = {}  # in their order

    @property
    def are_waiting(self) -> bool:
        """Whether there is something to tell."""
        return bool(self._waiting)

    def started(self, conversation_id: UUID, generation_id: UUID) -> None:
        """A generation starts here."""
        self._add(f"started {self._worker_id} {conversation_id} {generation_id}")

    def changed(self, conversation_id: UUID, version: int) -> None:
        """A conversation has this version now."""
        self._add(f"changed {conversation_id} {version}")

    def stop(self, generation_id: UUID) -> None:
        """A generation of another worker is to stop."""
        self._add(f"stop {generation_id}")

    def ended(self, generation_id: UUID) -> None:
        """A generation has ended, and what the journal and its row have of it is all."""
        self._add(str(generation_id))

    def for_tick(self, generation_ids: Iterable[UUID]) -> tuple[list[str], list[str]]:
        """The notices that wait, and payloads with them and with `generation_ids`, which said something."""
        if not (self._is_on and self.others_live):
            return [], []
        waiting = list(self._waiting)
        ids = list(dict.fromkeys([*map(str, generation_ids), *(each for each in waiting if " " not in each)]))
        told = [MANY] if len(ids) > MOST_IDS else []
        rest = [each for each in waiting if " " in each]
        return waiting, told + _joined(rest if told else ids + rest)

    def told(self, notices: Iterable[str], *, other_workers: int) -> None:
        """A tick has told these, and found so many other workers alive."""
        for each in notices:
            self._waiting.pop(each, None)
        self.others_live = other_workers > 0
        if not self.others_live:
            self._waiting.clear()

    def _add(self, notice: str) -> None:
        if self._is_on and self.others_live and len(self._waiting) < MOST_WAITING:
            self._waiting[notice] = None
            self._on_wait()


def _joined(notices: Iterable[str]) -> list[str]:
    """The notices, by commas, in as few payloads as they fit into."""
    payloads: list[str] = []
    for each in notices:
        if payloads and len(payloads[-1]) + 1 + len(each) <= PAYLOAD_CHARACTERS:
            payloads[-1] += f",{each}"
        else:
            payloads.append(each)
    return payloads
