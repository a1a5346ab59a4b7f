"""The door of the relay: logs are opened, found and closed here, and news of other workers comes in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from uuid import UUID

from chat_api.relay.follower import Follower
from chat_api.relay.hub import Hub
from chat_api.relay.journal import Journal, Slice
from chat_api.relay.notifications import Notifications
from chat_api.relay.watch import Watch

if TYPE_CHECKING:
    from chat_api.observe.metrics import Metrics
    from chat_api.postgres.database import Database
    from chat_api.relay.log import Log


class Owner(Protocol):
    """Who runs the generations of this worker."""

    def end_stopped(self, generation_id: UUID) -> None:
        """This generation is to stop; it may run on another worker, or have ended."""

    def end_lost(self, generation_id: UUID) -> None:
        """This generation no longer belongs to this worker."""


class Relay:
    """Every generation's events, in order, for readers on any worker.

    Logs of generations that run here are written to the journal as they grow; those of other workers, and of
    finished generations, are read from it. `watch` says which generations start in a conversation, and
    when else it changes.
    """

    def __init__(
        self,
        *,
        database: Database,
        worker_id: UUID,
        lease_seconds: float,
        start_seconds: float,
        abandoned_seconds: float | None,
        notify: bool,
        metrics: Metrics,
    ) -> None:
        """`notify`: whether workers tell each other what is new; else they find all by polling."""
        self._owner: Owner | None = None
        self._journal = Journal(
            database=database,
            worker_id=worker_id,
            lease_seconds=lease_seconds,
            start_seconds=start_seconds,
            abandoned_seconds=abandoned_seconds,
            notify=notify,
            metrics=metrics,
            on_stop=self._stop,
            on_lost=self._lose,
        )
        self._follower = Follower(database)
        self._hub = Hub(self._follower)
        self.watch = Watch(database, worker_id, self._journal.notices)
        self._notify = notify
        self._notifications = Notifications(
            database,
            {
                "chat_journal": self._hear,
                # The release before has a channel for each of these.
                "chat_started": lambda ids: self._hear(f"started {ids}"),
                "chat_changed": lambda change: self._hear(f"changed {change}"),
                "chat_stop": lambda generation_id: self._hear(f"stop {generation_id}"),
            },
        )

    def open(self, owner: Owner) -> None:
        """Start to write, to follow and to listen, and to call `owner`. Needs a running event loop."""
        self._owner = owner
        self._journal.open()
        self._follower.open()
        self.watch.open()
        if self._notify:
            self._notifications.open()

    async def close(self) -> None:
        """Stop all of that, and give the lease back."""
        await self._notifications.close()
        await self.watch.close()
        await self._follower.close()
        await self._journal.close()

    async def lease_held(self) -> None:
        """Wait until this worker holds its lease, see Journal. Raises DatabaseUnavailable."""
        await self._journal.lease_held()

    def open_log(self, generation_id: UUID, conversation_id: UUID) -> Log:
        """Make the log of a generation that starts here; what is appended to it is journalled."""
        log = self._hub.open(generation_id, conversation_id)
        self._journal.add(log)
        return log

    def unwritten(self, log: Log) -> Slice | None:
        """The log's events that aren't known to be in the journal, for the statement that ends it."""
        return self._journal.rest(log)

    def close_log(self, log: Log) -> None:
        """Forget the log of a generation that ran here: it grows no more."""
        self._journal.remove(log)
        self._hub.drop(log)

    def ended(self, generation_id: UUID) -> None:
        """A generation's end was stored by this worker: whoever reads it elsewhere may look."""
        self._follower.hear({str(generation_id)})
        self._journal.notices.ended(generation_id)

    def stop(self, generation_id: UUID) -> None:
        """Stop a generation of any worker. It is marked as such, or deleted: its worker sees that as well."""
        if self._hub.get(generation_id) is None:
            self._journal.notices.stop(generation_id)
        self._stop(generation_id)

    def running_log(self, generation_id: UUID) -> Log | None:
        """The log of a generation that runs here."""
        return self._hub.get(generation_id)

    def is_unread(self, generation_id: UUID, *, has_left: bool, is_read_elsewhere: bool) -> bool:
        """Whether nobody reads a running generation any more.

        From the database: whether the last reader on its own worker `has_left`, and whether one on another
        worker has lately been there.
        """
        log = self._hub.get(generation_id)
        if log is not None:
            return log.audience.has_left and not is_read_elsewhere
        return has_left and not is_read_elsewhere and not self._follower.is_read(generation_id)

    async def find_log(self, generation_id: UUID, conversation_id: UUID, seen: int = -1) -> Log:
        """Any generation's log, for a reader that has seen up to a number. Raises DatabaseUnavailable."""
        return await self._hub.find(generation_id, conversation_id, seen)

    async def send_readers_away(self) -> None:
        """Send the readers of other workers' generations to those workers, spread over a second."""
        await self._follower.leave()

    def _hear(self, payload: str) -> None:
        """Take notices of a worker, perhaps of this one. What a later release adds to them is passed over."""
        news: set[str] = set()
        for notice in payload.split(","):
            match notice.split(" "):
                case ["started", worker_id, conversation_id, generation_id]:
                    self.watch.hear_begun(UUID(worker_id), UUID(conversation_id), UUID(generation_id))
                case ["changed", conversation_id, version]:
                    self.watch.hear_changed(UUID(conversation_id), int(version))
                case ["stop", generation_id]:
                    self._stop(UUID(generation_id))
                case [generation_id]:
                    news.add(generation_id)
        self._follower.hear(news)

    def _stop(self, generation_id: UUID) -> None:
        if self._owner is not None:
            self._owner.end_stopped(generation_id)

    def _lose(self, generation_id: UUID) -> None:
        if self._owner is not None:
            self._owner.end_lost(generation_id)
