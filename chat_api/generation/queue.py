"""Messages that wait until the answer that is being written has ended."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

import orjson
import structlog

from chat_api import errors
from chat_api.bodies import MessageCreate
from chat_api.generation.beginning import Request
from chat_api.generation.start import refuse_limited, refuse_reused_key

if TYPE_CHECKING:
    import asyncpg

    from chat_api.generation.limits import SendLimits
    from chat_api.generation.readers import Reading
    from chat_api.postgres.database import Database
    from chat_api.relay.watch import Watch

logger = structlog.get_logger(__name__)

MAX_WAITING = 10  # messages in a conversation
MAX_DUE = 100  # conversations that are looked at in a round
REST_SECONDS = 60  # at most, after a budget had nothing left: somebody may raise it
TRIES = 10  # each time something was stored in the conversation at the same moment
LATER = (
    errors.LimitReached,
    errors.GenerationRunning,
    errors.RequestRepeated,
    errors.DatabaseUnavailable,
    errors.ModelGone,
    errors.NotSupported,
)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that waits, as JSON: its `id`, `content` and `created_at`."""

    message: str


class Queue:
    """The queues of all conversations. The database keeps their order, and lets each message be sent once."""

    def __init__(self, database: Database, watch: Watch, limits: SendLimits) -> None:
        self._database = database
        self._watch = watch
        self._limits = limits
        self._resting: dict[UUID, float] = {}
        """Where a budget had nothing left, and until when nothing is tried there (time.monotonic)."""

    async def add(self, request: Request) -> Waiting | None:
        """Let a message wait. Returns None if there is nothing to wait for any more.

        Raises ConversationNotFound, QueueFull, LimitReached, Invalid (the key belongs to another message),
        RequestRepeated, DatabaseUnavailable.
        """
        given = request.asked.model_dump(
            mode="json", exclude={"stream", "when_running"}, exclude_none=True, exclude_unset=True
        )
        content = given.pop("content")
        for _ in range(TRIES):
            row = await self._database.row(
                "queue.add",
                conversation_id=request.conversation_id,
                user_id=request.user_id,
                content=content,
                request=orjson.dumps(given).decode(),
                idempotency_key=request.idempotency_key,
                max_waiting=MAX_WAITING,
                limits=self._limits.parameters(request.user_id, request.address)["limits"],
            )
            if row is None:
                raise errors.ConversationNotFound
            if row["outcome"] != "late":
                break
        else:
            raise errors.RequestRepeated
        self._watch.changed(request.conversation_id, row["new_version"])
        if row["outcome"] == "free":
            return None
        if row["outcome"] == "full":
            raise errors.QueueFull
        if row["outcome"] == "limited":
            refuse_limited(row)
        if row["is_other_content"]:
            refuse_reused_key()
        return Waiting(row["queued"])

    async def begin_next(
        self, conversation_id: UUID, start: Callable[[Request], Awaitable[Reading | None]]
    ) -> None:
        """Send the message whose turn it is, if one waits and no answer is being written.

        What can't begin now goes on waiting: `due` finds it, where a budget has nothing left, once a minute.
        """
        try:
            row = await self._database.row("queue.next", conversation_id=conversation_id)
            if row is not None and await _sent(row, start) is not None:
                # Gone already, unless its key belongs to an answer that has begun otherwise.
                for dropped in await self._database.rows("queue.drop", id=row["id"]):
                    self._watch.changed(conversation_id, dropped["new_version"])
        except errors.BudgetExhausted as error:
            is_told = conversation_id in self._resting
            rest = min(error.retry_after or REST_SECONDS, REST_SECONDS)
            self._resting[conversation_id] = time.monotonic() + rest
            if not is_told:
                logger.info("turn_put_off", conversation_id=str(conversation_id), reason=error.code)
        except LATER as error:
            logger.info("turn_put_off", conversation_id=str(conversation_id), reason=error.code)

    async def due(self) -> list[UUID]:
        """Where a message waits though no answer is being written. Raises DatabaseUnavailable.

        Left out are those that rest. They take nobody's place.
        """
        rows = await self._database.rows("queue.due", max_rows=MAX_DUE + len(self._resting))
        waiting = [row["conversation_id"] for row in rows]
        self._resting = {each: self._resting[each] for each in waiting if each in self._resting}
        now = time.monotonic()
        return [each for each in waiting if self._resting.get(each, now) <= now]

    async def clear(self, user_id: UUID, conversation_id: UUID) -> None:
        """Let nothing wait in a conversation. Raises ConversationNotFound, DatabaseUnavailable."""
        row = await self._database.row("queue.clear", conversation_id=conversation_id, user_id=user_id)
        if row is None:
            raise errors.ConversationNotFound
        self._watch.changed(conversation_id, row["new_version"])


async def _sent(row: asyncpg.Record, start: Callable[[Request], Awaitable[Reading | None]]) -> Reading | None:
    try:
        return await start(_turn(row, row["idempotency_key"]))
    except errors.Invalid:  # its key began another message at the moment when this one began to wait
        return await start(_turn(row, None))


def _turn(row: asyncpg.Record, idempotency_key: str | None) -> Request:
    given = {**orjson.loads(row["request"]), "content": row["content"]}
    return Request(
        row["user_id"],
        row["conversation_id"],
        MessageCreate.model_validate(given),
        idempotency_key,
        queued_id=row["id"],
        is_admin=True,  # what the user may use was checked when the message came
    )
